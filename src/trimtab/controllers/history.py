"""The last few states of an app, as its status shows them: what was tried, when, how it went, what changed. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from trimtab.api import names
from trimtab.api.kustomizestatus import HISTORY_LIMIT, Snapshot
from trimtab.api.source import Artifact
from trimtab.base.clock import rfc3339
from trimtab.base.durations import format_duration
from trimtab.manifests import codec
from trimtab.manifests.refs import Ref
from trimtab.targets.contract import Effect, Outcome

MOST_NAMED: Final = 6
"""So many changed objects are named, of all there is the number."""
_SIGNS: Final = {Effect.CREATED: "+", Effect.CONFIGURED: "~", Effect.DELETED: "-"}
_OF_COMMIT: Final = {
    "author": names.COMMIT_AUTHOR,
    "subject": names.COMMIT_SUBJECT,
    "committed": names.COMMIT_TIME,
    "originRevision": names.ORIGIN_REVISION,
}


@dataclass(slots=True)
class Trial:
    """How far an attempt came, over all its passes. `rendered` and `applied` are moments, empty before."""

    rendered: str = ""
    applied: str = ""
    changed: dict[Ref, Effect] = field(default_factory=dict)

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """Remember what became of objects. What was created and changed again is new all the same."""
        for outcome in outcomes:
            was_new = self.changed.get(outcome.ref) is Effect.CREATED and outcome.effect is Effect.CONFIGURED
            if outcome.effect in _SIGNS and not was_new:
                self.changed[outcome.ref] = outcome.effect


def described(artifact: Artifact, trial: Trial, requester: str = "") -> dict[str, str]:
    """What the history says of one attempt: where it came from, when it got how far, and what it changed."""
    counts = Counter(trial.changed.values())
    named = [f"{_SIGNS[effect]}{ref}" for ref, effect in sorted(trial.changed.items())[:MOST_NAMED]]
    told = {
        "revision": artifact.revision,
        **{key: artifact.metadata.get(name, "") for key, name in _OF_COMMIT.items()},
        "fetched": artifact.last_update_time,
        "rendered": trial.rendered,
        "applied": trial.applied,
        "changes": ", ".join(f"{counts[effect]} {effect.value}" for effect in _SIGNS if counts[effect]) or "none",
        "objects": " ".join(named),
        "requestedBy": requester,
    }
    return {key: text for key, text in told.items() if text}


def record(
    history: tuple[Snapshot, ...], digest: str, reason: str, described: Mapping[str, str], now: datetime, seconds: float
) -> tuple[Snapshot, ...]:
    """`history` with the state `digest` in front; a state that comes back keeps when it was first seen.

    However much fails after it, the newest success stays: it is what is in force, and where one goes back to.
    """
    before = next((snapshot for snapshot in history if snapshot.digest == digest), None)
    entry = Snapshot(
        digest=digest,
        first_reconciled=before.first_reconciled if before else rfc3339(now),
        last_reconciled=rfc3339(now),
        last_reconciled_duration=format_duration(seconds),
        last_reconciled_status=reason,
        total_reconciliations=(before.total_reconciliations if before else 0) + 1,
        metadata=described,
    )
    rest = [snapshot for snapshot in history if snapshot.digest != digest]
    kept = [entry, *rest][:HISTORY_LIMIT]
    if not any(map(_good, kept)) and (good := next(filter(_good, rest), None)) is not None:
        kept[-1] = good
    return tuple(kept)


def unbuilt(revision: str) -> str:
    """Stands in for the digest of a state that could not be built."""
    return codec.digest(["unbuilt", revision])


def _good(snapshot: Snapshot) -> bool:
    return snapshot.last_reconciled_status == names.Reason.RECONCILIATION_SUCCEEDED


def tells(history: tuple[Snapshot, ...], digest: str, reason: str) -> bool:
    """Whether the newest entry says already that the state `digest` ended so."""
    return bool(history) and (history[0].digest, history[0].last_reconciled_status) == (digest, reason)
