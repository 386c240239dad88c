"""Kinds that the reader may not watch: their objects are read at the app's interval instead. No I/O here."""

from collections.abc import Callable, Collection, Iterable, Mapping

from trimtab.base.durations import format_duration
from trimtab.manifests.refs import Gvk, Ref
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.notices import Notice
from trimtab.targets.kubernetes.tracking import Tracked

TOPIC = "unwatched"
_EARLY = 0.9
"""A pass that comes a little before the end of the interval counts, so that none is left out."""
_SHOWN = 5


def due(
    items: Iterable[Desired],
    tracked: Mapping[Ref, Tracked],
    forbidden: Callable[[Gvk], bool],
    interval_s: float,
    now: float,
) -> list[Desired]:
    """The items to be read now; they count as read. What was applied just now is known."""
    found = []
    for item in items:
        record = tracked[item.ref]
        if not item.watched or not forbidden(item.gvk) or not (record.baseline or record.left):
            continue
        if not record.looked_at:
            record.looked_at = now
        elif now - record.looked_at >= interval_s * _EARLY:
            record.looked_at = now
            found.append(item)
    return found


def notice(kinds: Collection[Gvk], why: str, interval_s: float) -> Notice:
    """What an app should know whose objects are not watched."""
    listed = ", ".join(sorted(kind.kind for kind in kinds)[:_SHOWN])
    more = f" and {len(kinds) - _SHOWN} more kinds" if len(kinds) > _SHOWN else ""
    words = f"drift of {listed}{more} is looked for every {format_duration(interval_s)} only, at the interval: {why}"
    return Notice("WatchForbidden", words)
