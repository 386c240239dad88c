"""What a Kustomization tells of drift: the list in its status, the condition DriftFight, events. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from trimtab.api import names
from trimtab.api.kustomize import Kustomization
from trimtab.api.kustomizestatus import DriftedField, DriftRecord, KustomizationStatus
from trimtab.base.clock import rfc3339
from trimtab.base.durations import format_duration
from trimtab.controllers import progress
from trimtab.controllers.app import App, Build
from trimtab.controllers.history import tells
from trimtab.diff.compare import Difference
from trimtab.manifests import codec
from trimtab.manifests.refs import Ref
from trimtab.runtime.events import EventType
from trimtab.targets.contract import Answer, Drift, Effect, Outcome

MOST_RECORDS = 10
_SETTLED = (Effect.CREATED, Effect.CONFIGURED, Effect.DELETED, Effect.RELEASED)
MOST_FIELDS = 5
_LONGEST_VALUE = 120
_LONGEST_PATH = 300


def mode_of(ks: Kustomization) -> str:
    """What happens to drift of objects that do not say so themselves."""
    return ks.metadata.annotations.get(names.Annotation.DRIFT, names.DriftMode.CORRECT)


def applied_before(app: App, build: Build) -> bool:
    """Whether the status says that exactly this was applied last, perhaps by a process before this one."""
    status = app.status
    return (
        tells(status.history, build.digest, names.Reason.RECONCILIATION_SUCCEEDED)
        and status.last_attempted_revision == status.last_applied_revision
    )


def event_of(outcome: Outcome) -> tuple[EventType, str]:
    """Type and reason of the event that tells of drift."""
    if outcome.drift is not None and outcome.drift.answer is Answer.RETURNED:
        return "Normal", "NoDriftDetected"
    return "Warning", "DriftDetected"


def told_with(outcome: Outcome, left: int) -> dict[str, str]:
    """What is told with the event: what was done about the drift, who did it, and how long it had been there.

    `left` is how many objects of the app differ now and stay so: one that returns is not the end of the others' drift.
    """
    drift = outcome.drift
    if drift is None:
        return {}
    told = {"drift-answer": drift.answer.value}
    if left:
        told["drift-left"] = str(left)
    if drift.writer is not None:
        told["drift-manager"] = drift.writer.manager
        try:
            age = drift.seen - datetime.fromisoformat(drift.writer.time)
            told["drift-age"] = format_duration(max(0.0, round(age.total_seconds())))
        except (ValueError, TypeError):
            pass
    return told


def remembered(known: tuple[DriftRecord, ...], outcomes: Iterable[Outcome]) -> tuple[DriftRecord, ...]:
    """`known` with what `outcomes` tell, newest first, and bounded."""
    return added(known, [_record(outcome.drift) for outcome in outcomes if outcome.drift is not None])


def added(known: tuple[DriftRecord, ...], fresh: Sequence[DriftRecord]) -> tuple[DriftRecord, ...]:
    """`known` with what came after it, newest first, and bounded."""
    return tuple([*reversed(fresh), *known][:MOST_RECORDS])


def unresolved(known: Mapping[Ref, float], outcomes: Iterable[Outcome]) -> dict[Ref, float]:
    """`known`, which says since when (Unix seconds) objects differ and stay so, after `outcomes`."""
    since = dict(known)
    for outcome in outcomes:
        if outcome.drift is not None and outcome.drift.answer in (Answer.REPORTED, Answer.YIELDED):
            since.setdefault(outcome.ref, outcome.drift.seen.timestamp())
        elif outcome.effect in _SETTLED or outcome.drift is not None:
            since.pop(outcome.ref, None)
    return since


def returned(
    known: Iterable[DriftRecord], unresolved: Collection[Ref], looked: Iterable[Ref], now: datetime
) -> tuple[DriftRecord, ...]:
    """What `known` says was only reported, and a pass over `looked` has found as it should be.

    It may have returned while nobody looked, as between two processes.
    """
    right = {str(ref) for ref in looked} - {str(ref) for ref in unresolved}
    latest: dict[str, DriftRecord] = {}
    for one in known:
        latest.setdefault(one.object, one)
    return tuple(
        DriftRecord(object=one.object, change=one.change, seen_at=rfc3339(now), answer=Answer.RETURNED)
        for one in latest.values()
        if one.answer == Answer.REPORTED and one.object in right
    )


def told(status: KustomizationStatus, app: App, generation: int, now: datetime) -> KustomizationStatus:
    """`status` with the list of drift, and with the condition DriftFight while there are fights."""
    fights = app.place.target.fights.words(app.key) if app.place is not None else ""
    status = msgspec.structs.replace(status, drift=app.drift)
    if not fights:
        return progress.unflagged(status, names.ConditionType.DRIFT_FIGHT)
    return progress.flagged(status, names.ConditionType.DRIFT_FIGHT, generation, "Yielded", fights, now)


def _record(drift: Drift) -> DriftRecord:
    writer = drift.writer
    return DriftRecord(
        object=str(drift.ref),
        change="deleted" if drift.gone else "hidden" if drift.hidden else "changed",
        fields=tuple(map(_field, drift.differences[:MOST_FIELDS])),
        more_fields=max(0, len(drift.differences) - MOST_FIELDS),
        manager=writer.manager if writer else "",
        operation=writer.operation if writer else "",
        changed_at=writer.time if writer else "",
        seen_at=rfc3339(drift.seen),
        answer=drift.answer,
    )


def _field(difference: Difference) -> DriftedField:
    return DriftedField(
        path=_cut(difference.path, _LONGEST_PATH), found=_text(difference.before), declared=_text(difference.after)
    )


def _text(value: Any) -> str:
    return "" if value is None else _cut(codec.encode(value).decode(), _LONGEST_VALUE)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
