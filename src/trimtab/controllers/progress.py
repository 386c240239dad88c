"""Status as a value: what a pass found, as conditions in the way kstatus reads them. Pure."""

from datetime import datetime
from typing import Literal, TypeVar

import msgspec

from trimtab.api.bucket import BucketStatus
from trimtab.api.generator import ArtifactGeneratorStatus
from trimtab.api.helm import HelmChartStatus, HelmRepositoryStatus
from trimtab.api.helmreleasestatus import HelmReleaseStatus
from trimtab.api.image import ImagePolicyStatus, ImageRepositoryStatus
from trimtab.api.imageupdate import ImageUpdateAutomationStatus
from trimtab.api.kustomizestatus import KustomizationStatus
from trimtab.api.names import ConditionType, Reason
from trimtab.api.oci import OCIRepositoryStatus
from trimtab.api.receiver import ReceiverStatus
from trimtab.api.source import GitRepositoryStatus
from trimtab.manifests.conditions import Condition, with_condition, without_condition

Status = TypeVar(
    "Status",
    KustomizationStatus,
    GitRepositoryStatus,
    OCIRepositoryStatus,
    BucketStatus,
    HelmRepositoryStatus,
    HelmChartStatus,
    HelmReleaseStatus,
    ArtifactGeneratorStatus,
    ReceiverStatus,
    ImageRepositoryStatus,
    ImagePolicyStatus,
    ImageUpdateAutomationStatus,
)


def ready(status: Status, generation: int, reason: str, message: str, now: datetime) -> Status:
    """Ready, nothing pending."""
    conditions = without_condition(status.conditions, ConditionType.RECONCILING)
    conditions = without_condition(conditions, ConditionType.STALLED)
    conditions = with_condition(conditions, _condition("Ready", "True", generation, reason, message), now)
    return msgspec.structs.replace(status, conditions=conditions, observed_generation=generation)


def working(status: Status, generation: int, message: str, now: datetime) -> Status:
    """On the way: what was ready before may not be any more."""
    conditions = without_condition(status.conditions, ConditionType.STALLED)
    conditions = with_condition(
        conditions, _condition("Reconciling", "True", generation, Reason.PROGRESSING, message), now
    )
    conditions = with_condition(
        conditions, _condition("Ready", "Unknown", generation, Reason.PROGRESSING, message), now
    )
    return msgspec.structs.replace(status, conditions=conditions)


def failed(status: Status, generation: int, reason: str, message: str, now: datetime, *, stalled: bool) -> Status:
    """Not ready. `stalled` says that trying again is pointless until somebody changes something."""
    conditions = status.conditions
    if stalled:
        conditions = without_condition(conditions, ConditionType.RECONCILING)
        conditions = with_condition(conditions, _condition("Stalled", "True", generation, reason, message), now)
    else:
        conditions = without_condition(conditions, ConditionType.STALLED)
        again = _condition("Reconciling", "True", generation, Reason.PROGRESSING_WITH_RETRY, message)
        conditions = with_condition(conditions, again, now)
    conditions = with_condition(conditions, _condition("Ready", "False", generation, reason, message), now)
    observed = generation if stalled else status.observed_generation
    return msgspec.structs.replace(status, conditions=conditions, observed_generation=observed)


def flagged(status: Status, kind: str, generation: int, reason: str, message: str, now: datetime) -> Status:
    """With one more condition set to True."""
    condition = _condition(kind, "True", generation, reason, message)
    return msgspec.structs.replace(status, conditions=with_condition(status.conditions, condition, now))


def denied(status: Status, kind: str, generation: int, reason: str, message: str, now: datetime) -> Status:
    """With one more condition set to False."""
    condition = _condition(kind, "False", generation, reason, message)
    return msgspec.structs.replace(status, conditions=with_condition(status.conditions, condition, now))


def unflagged(status: Status, kind: str) -> Status:
    """Without the condition `kind`."""
    return msgspec.structs.replace(status, conditions=without_condition(status.conditions, kind))


def _condition(
    kind: str, status: Literal["True", "False", "Unknown"], generation: int, reason: str, message: str
) -> Condition:
    return Condition(type=kind, status=status, observed_generation=generation, reason=reason, message=message)
