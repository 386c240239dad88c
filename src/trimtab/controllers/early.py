"""What need not be said yet: that an app waits for a source that is being fetched for the first time. Pure.

Apps are made together with their source, and a moment later it has its artifact. A status that says until then that it
has none would be a request for each app, of which nobody reads the answer.
"""

from typing import Final

from trimtab.api import names
from trimtab.api.kustomizestatus import KustomizationStatus
from trimtab.base.errors import TrimtabError, Waiting
from trimtab.controllers.offering import Offering
from trimtab.manifests.conditions import find

GRACE_S: Final = 5.0


def silent_s(failure: TrimtabError, told: KustomizationStatus, source: Offering | None, waited_s: float) -> float:
    """For how many seconds more nothing need be said of `failure`, by an app that has `told` something or nothing.

    A `source` that is not there, or could not be fetched, is told of at once.
    """
    if not isinstance(failure, Waiting) or failure.reason != names.Reason.ARTIFACT_FAILED or told.conditions:
        return 0.0
    if source is None:
        return 0.0
    ready = find(source.status.conditions, names.ConditionType.READY)
    if ready is not None and ready.status == "False":
        return 0.0
    return max(GRACE_S - waited_s, 0.0)
