"""How one of our objects is doing, for the metrics."""

from typing import NamedTuple


class ObjectState(NamedTuple):
    """`ready` is None while it is not known; `revision` is the one applied or offered, empty for none.

    `drift_since` (Unix seconds): the oldest drift that was found and is still there.
    """

    ready: bool | None
    revision: str
    suspended: bool
    interval_s: float
    drift_since: float | None = None
