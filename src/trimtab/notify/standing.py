"""How an object stands, by its own status: which states it is in that people want to hear of, and since when.

Events come first, with better words. What is read here is for what no event tells of (nothing happens for too long),
for the end of states, and for what was missed while nobody listened.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from trimtab.api.meta import ObjectMeta
from trimtab.api.names import NOTIFICATION_MANAGER, ConditionType, Reason
from trimtab.base.durations import format_duration
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key
from trimtab.notify.event import Event, Involved, instant
from trimtab.notify.event import now as written
from trimtab.notify.meaning import ENDS, HELD, REVISION, SOURCES, TOPIC, Topic

FAILED_S: Final = 15.0
UNREACHABLE_S: Final = 120.0
WAITING_S: Final = 900.0
UNKNOWN_S: Final = 900.0
SUSPENDED_S: Final = 24 * 3600.0
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_LEFT: Final = frozenset({"reported", "yielded"})
_WAITS: Final[Mapping[str, float]] = {Reason.DEPENDENCY_NOT_READY: WAITING_S, Reason.ARTIFACT_FAILED: UNREACHABLE_S}
"""What waits for another object, which is told of by itself, is told as late: it is no failure of its own."""


class Patience(NamedTuple):
    """How long a state that only time makes worth telling lasts before it is told; 0 is for ever."""

    suspended_s: float = SUSPENDED_S
    unknown_s: float = UNKNOWN_S


USUAL: Final = Patience()


class _Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    suspend: bool = False


class _Artifact(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    revision: str = ""


class _Snapshot(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    last_reconciled: str = ""
    chart_version: str = ""


class _Field(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    path: str = ""
    found: str = ""
    declared: str = ""


class _Drift(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    object: str = ""
    change: str = ""
    fields: tuple[_Field, ...] = ()
    manager: str = ""
    changed_at: str = ""
    seen_at: str = ""
    answer: str = ""


class _Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    conditions: tuple[Condition, ...] = ()
    last_applied_revision: str = ""
    artifact: _Artifact | None = None
    history: tuple[_Snapshot, ...] = ()
    drift: tuple[_Drift, ...] = ()


class Live(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An object of ours, as much of it as is needed here."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta
    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def subject(self) -> str:
        """As the journal knows it."""
        return f"{self.kind}/{self.metadata.namespace}/{self.metadata.name}"

    @property
    def ready(self) -> Condition | None:
        """The condition Ready, if there is one."""
        return find(self.status.conditions, ConditionType.READY)

    @property
    def revision(self) -> str:
        """The revision whose success was told, or would have been; who a commit did not touch keeps its own."""
        newest = self.status.history[0] if self.status.history else None
        if self.kind == "HelmRelease":
            return newest.chart_version if newest is not None else ""
        if newest is not None and newest.metadata.get("revision"):
            return newest.metadata["revision"]
        artifact = self.status.artifact.revision if self.status.artifact is not None else ""
        return self.status.last_applied_revision or artifact


class State(NamedTuple):
    """A state an object is in, told from a moment on: until then it may pass by itself."""

    reason: str
    message: str
    due: datetime


def states(live: Live, *, suspended_since: datetime | None = None, patience: Patience = USUAL) -> dict[Topic, State]:
    """All of them; also those that are not due yet."""
    found: dict[Topic, State] = {}
    if live.spec.suspend:
        # Nobody looks after it, so that what its status says is of old.
        if suspended_since is not None:
            words = f"suspended since {written(suspended_since)}: nobody looks after it"
            found[Topic.SUSPENDED] = State("Suspended", words, _after(suspended_since, patience.suspended_s))
        return found
    ready = live.ready
    if ready is None or ready.status == "Unknown":
        found[Topic.UNKNOWN] = _unknown(live, ready, patience.unknown_s)
    elif ready.status == "False":
        topic, patience_s = _failure(live, ready)
        found[topic] = State(ready.reason, ready.message, _later(ready.last_transition_time, patience_s))
    held = find(live.status.conditions, ConditionType.PRUNE_HELD)
    if held is not None and held.true:
        found[Topic.PRUNE_HELD] = State("PruneHeld", held.message, _later(held.last_transition_time, 0.0))
    if (drift := _drift(live)) is not None:
        found[Topic.DRIFT] = drift
    return found


def event_of(live: Live, topic: Topic, state: State | None, now: datetime) -> Event:
    """The event that opens `topic`, or ends it where it is no more."""
    metadata = {TOPIC: topic.value}
    if live.revision:
        metadata["revision"] = live.revision
    return _event(
        live,
        severity="error" if state is not None else "info",
        reason=state.reason if state is not None else "Recovered",
        message=state.message if state is not None else ENDS[topic],
        metadata=metadata,
        now=now,
    )


def moved_of(live: Live, now: datetime) -> Event:
    """The event that tells that an app which a commit did not touch is at it now: required checks must not hang."""
    revision = live.status.last_applied_revision
    metadata = {TOPIC: REVISION, "revision": revision, "commit_status": "update"}
    return _event(
        live,
        severity="info",
        reason=Reason.RECONCILIATION_SUCCEEDED,
        message=f"Applied revision: {revision}",
        metadata=metadata,
        now=now,
    )


def success_of(live: Live, now: datetime) -> Event:
    """The event that tells that a revision stands, which nobody heard of."""
    message = f"Applied revision: {live.revision}"
    return _event(
        live, severity="info", reason="Succeeded", message=message, metadata={"revision": live.revision}, now=now
    )


def _event(
    live: Live, *, severity: str, reason: str, message: str, metadata: Mapping[str, str], now: datetime
) -> Event:
    about = live.metadata
    return Event(
        involved_object=Involved(
            kind=live.kind,
            namespace=about.namespace,
            name=about.name,
            uid=about.uid,
            api_version=live.api_version,
            resource_version=about.resource_version,
        ),
        severity=severity,
        timestamp=written(now),
        message=message or reason,
        reason=reason,
        metadata=metadata,
        reporting_controller=NOTIFICATION_MANAGER,
    )


def _failure(live: Live, ready: Condition) -> tuple[Topic, float]:
    verified = find(live.status.conditions, ConditionType.SOURCE_VERIFIED)
    if ready.reason in HELD or (verified is not None and verified.status == "False"):
        return Topic.REVISION_HELD, FAILED_S
    stalled = find(live.status.conditions, ConditionType.STALLED)
    if ready.reason in _WAITS and (stalled is None or not stalled.true):
        return Topic.FAILURE, _WAITS[ready.reason]
    return (Topic.SOURCE, UNREACHABLE_S) if live.kind in SOURCES else (Topic.FAILURE, FAILED_S)


def _unknown(live: Live, ready: Condition | None, patience_s: float) -> State:
    since = (ready.last_transition_time if ready is not None else "") or live.metadata.creation_timestamp or ""
    last = f": {ready.message}" if ready is not None and ready.message else ""
    words = f"not known for {format_duration(patience_s)} whether it is as declared{last}"
    return State("Unknown", words, _later(since, patience_s) if patience_s else _NEVER)


def _drift(live: Live) -> State | None:
    """Drift that was left as it is: of an app by its list, of a release by its condition."""
    flagged = find(live.status.conditions, ConditionType.DRIFTED)
    if flagged is not None and flagged.true:
        return State(flagged.reason, flagged.message, _later(flagged.last_transition_time, 0.0))
    applied = live.status.history[0].last_reconciled if live.status.history else ""
    latest: dict[str, _Drift] = {}
    for record in live.status.drift:
        latest.setdefault(record.object, record)
    left = [one for one in latest.values() if one.answer in _LEFT and one.seen_at >= applied]
    if not left:
        return None
    words = "; ".join(map(_told, left))
    return State(Reason.DRIFT_DETECTED, words, _later(max(one.seen_at for one in left), FAILED_S))


def _told(record: _Drift) -> str:
    fields = "; ".join(f"{one.path}: {one.declared or '(none)'} → {one.found or '(none)'}" for one in record.fields)
    who = f" by {record.manager}" if record.manager else ""
    when = f" at {record.changed_at or record.seen_at}"
    return f"{record.object} {fields or record.change}{who}{when}"


def _after(moment: datetime, patience_s: float) -> datetime:
    return moment + timedelta(seconds=patience_s) if patience_s else _NEVER


def _later(timestamp: str, seconds: float) -> datetime:
    since = instant(timestamp)
    if since is None:
        return datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    return since + timedelta(seconds=seconds)


def stood_since(live: Live, moment: datetime) -> bool:
    """Whether the status says that the object has become ready at `moment` or later."""
    ready = live.ready
    became = instant(ready.last_transition_time) if ready is not None and ready.true else None
    return became is not None and became >= moment
