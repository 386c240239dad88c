"""How one of our objects is doing, for the metrics."""

from typing import NamedTuple


class ObjectState(NamedTuple):
    """`ready` is None while it is not known; `revision` is the one applied or offered, empty for none."""

    ready: bool | None
    revision: str
    suspended: bool
    interval_s: float
