"""What an event means: something began, it ended, a revision stands, or only that something goes on."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from trimtab.api.names import NOTIFICATION_MANAGER, Reason
from trimtab.notify.event import Event

ANSWER: Final = "drift-answer"
"""Key in the metadata of our events about drift: what was done about it."""
LEFT: Final = "drift-left"
"""Key in the metadata of our events about drift: how many objects of the same app differ still, and stay so."""
TOPIC: Final = "topic"
"""Key in the metadata of events that are derived from a status: which state it is."""
REVISION: Final = "revision"
"""In the place of a topic: an app that a commit did not touch is at it now."""
REPEATS: Final = "repeats"
"""Key in the metadata of an event that stands for so many that said the same."""


class Topic(StrEnum):
    """The states that are opened and closed, each for itself."""

    FAILURE = "failure"
    DRIFT = "drift"
    PRUNE_HELD = "prune-held"
    REVISION_HELD = "revision-held"
    SOURCE = "source-unreachable"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"


class Effect(StrEnum):
    """What an event does to a state."""

    OPENS = "opens"
    CLOSES = "closes"
    SUCCEEDS = "succeeds"
    """A revision stands: told once, and the end of what had failed."""
    MOVES = "moves"
    """A revision stands that changed nothing: told to those alone who set commit statuses."""
    HAPPENS = "happens"


class Meaning(NamedTuple):
    """The effect, and on which state; `progress` is what may be left out first when there is too much.

    `derived`: it was read in a status, and says nothing new of a state that was told.
    """

    effect: Effect
    topic: Topic | None = None
    progress: bool = False
    derived: bool = False


_SUCCESS: Final = frozenset(
    {
        Reason.RECONCILIATION_SUCCEEDED,
        Reason.INSTALL_SUCCEEDED,
        Reason.UPGRADE_SUCCEEDED,
        Reason.SUCCEEDED,
        Reason.NEW_ARTIFACT,
        Reason.ARTIFACT_UP_TO_DATE,
        Reason.GIT_OPERATION_SUCCEEDED,
        Reason.BUCKET_OPERATION_SUCCEEDED,
        Reason.CHART_PULL_SUCCEEDED,
        Reason.CHART_PACKAGE_SUCCEEDED,
        "ReconcileSucceeded",
    }
)
_DRIFTED: Final = frozenset({Reason.DRIFT_DETECTED})
_RETURNED: Final = frozenset({Reason.NO_DRIFT_DETECTED, "DriftCorrected"})
HELD: Final = frozenset({Reason.VERIFICATION_ERROR, "GitVerificationFailed"})
_NOTES: Final = frozenset(
    {
        *("UnknownAnnotation", "PlaintextSecret", "Orphaned", "EmptyCABundle", "ReplicasYielded", "WatchForbidden"),
        *(Reason.SHARED_CREDENTIAL, Reason.NON_DETERMINISTIC_RENDER, Reason.LOOKUP_UNSUPPORTED, Reason.REVERTED),
        *(Reason.HISTORY_REWRITTEN, Reason.TAGS_MISSING),
    }
)
"""Warnings beside which an object can be as it should be: they have no end."""
_LEFT: Final = frozenset({"reported", "yielded"})
SOURCES: Final = frozenset(
    {"GitRepository", "OCIRepository", "Bucket", "HelmRepository", "HelmChart", "ExternalArtifact", "ImageRepository"}
)
ENDS: Final[Mapping[Topic, str]] = {
    Topic.FAILURE: "it stands again",
    Topic.DRIFT: "the drift is gone",
    Topic.PRUNE_HELD: "deletions are no longer held",
    Topic.REVISION_HELD: "the revision is no longer held",
    Topic.SOURCE: "the source is reachable again",
    Topic.SUSPENDED: "it is looked after again",
    Topic.UNKNOWN: "its state is known again",
}
"""How the end of a state is told where no event has words for it."""


def meaning(event: Event) -> Meaning:
    """What `event` means. What is not known to begin or end anything just happens."""
    topic = event.value(TOPIC) if event.reporting_controller == NOTIFICATION_MANAGER else ""
    if topic == REVISION:
        return Meaning(Effect.MOVES, progress=True)
    if topic in frozenset(Topic):
        effect = Effect.OPENS if event.error else Effect.CLOSES
        return Meaning(effect, Topic(topic), derived=True)
    if event.reason in _DRIFTED:
        # What was corrected at once has no end to wait for.
        answer = event.value(ANSWER)
        corrected = answer not in _LEFT if answer else event.message.endswith(", corrected")
        return Meaning(Effect.HAPPENS) if corrected else Meaning(Effect.OPENS, Topic.DRIFT)
    if event.reason in _RETURNED:
        return Meaning(Effect.HAPPENS) if event.value(LEFT) else Meaning(Effect.CLOSES, Topic.DRIFT)
    if event.reason in _NOTES:
        return Meaning(Effect.HAPPENS)
    if event.error:
        return Meaning(Effect.OPENS, _topic_of(event))
    if event.reason in _SUCCESS:
        return Meaning(Effect.SUCCEEDS, _standing(event))
    return Meaning(Effect.HAPPENS, progress=True)


def without_ours(event: Event) -> Event:
    """An event of another process: what only the process says that tells of events is taken from it."""
    kept = {key: value for key, value in event.metadata.items() if key.rpartition("/")[2] not in (TOPIC, REPEATS)}
    return msgspec.structs.replace(event, metadata=kept)


def closed_by_success(kind: str) -> tuple[Topic, ...]:
    """The states that end when an object of `kind` is as it should be."""
    if kind in SOURCES:
        return (Topic.SOURCE, Topic.REVISION_HELD, Topic.UNKNOWN)
    return (Topic.FAILURE, Topic.UNKNOWN)


def _topic_of(event: Event) -> Topic:
    if event.reason in HELD:
        return Topic.REVISION_HELD
    return Topic.SOURCE if event.involved_object.kind in SOURCES else Topic.FAILURE


def _standing(event: Event) -> Topic:
    return Topic.SOURCE if event.involved_object.kind in SOURCES else Topic.FAILURE
