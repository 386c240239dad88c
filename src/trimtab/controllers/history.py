"""The last few states of an app, as its status shows them. Pure."""

from datetime import datetime

from trimtab.api.kustomize import HISTORY_LIMIT, Snapshot
from trimtab.base.clock import rfc3339
from trimtab.base.durations import format_duration


def record(
    history: tuple[Snapshot, ...], digest: str, revision: str, now: datetime, seconds: float
) -> tuple[Snapshot, ...]:
    """`history` with the state `digest` in front; a state that comes back keeps when it was first seen."""
    before = next((snapshot for snapshot in history if snapshot.digest == digest), None)
    entry = Snapshot(
        digest=digest,
        first_reconciled=before.first_reconciled if before else rfc3339(now),
        last_reconciled=rfc3339(now),
        last_reconciled_duration=format_duration(seconds),
        last_reconciled_status="ReconciliationSucceeded",
        total_reconciliations=(before.total_reconciliations if before else 0) + 1,
        metadata={"revision": revision},
    )
    return (entry, *(snapshot for snapshot in history if snapshot.digest != digest))[:HISTORY_LIMIT]
