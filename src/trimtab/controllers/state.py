"""How one of our objects is doing, for the metrics."""

from typing import NamedTuple


class ObjectState(NamedTuple):
    """`ready` is None while it is not known; `revision` is the one applied or offered, empty for none.

    `drift_since` (Unix seconds): the oldest drift that was found and is still there. `prune_held`: deletions wait.
    `revision_held`: what is offered is not verified; `unverified` says what the last pass refused it for, if it did.
    """

    ready: bool | None
    revision: str
    suspended: bool
    interval_s: float
    drift_since: float | None = None
    prune_held: bool = False
    revision_held: bool = False
    unverified: str = ""
