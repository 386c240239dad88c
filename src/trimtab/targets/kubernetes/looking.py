"""What is read beside the watches: what no event tells of, or what time alone makes another."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from trimtab.base.abreast import abreast
from trimtab.base.clock import Clock
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, UnknownKind, Unreachable
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes import patrol
from trimtab.targets.kubernetes.apply import read
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.judging import Judges
from trimtab.targets.kubernetes.notices import Notices
from trimtab.targets.kubernetes.planning import is_out_of_sight
from trimtab.targets.kubernetes.sighting import sight
from trimtab.targets.kubernetes.tracking import Tracked, Tracker
from trimtab.targets.kubernetes.watches import Watches
from trimtab.targets.kubernetes.wish import Wish

_AFTER_S = 0.05
"""So much later than a verdict is due it is looked at, so that it is not too early."""


@dataclass(frozen=True, slots=True)
class Looking:
    """Reads what the `watches` do not show, for the `tracker`."""

    tracker: Tracker
    watches: Watches
    judges: Judges
    notices: Notices
    clock: Clock

    async def again(self, client: Client, app: Key, items: Sequence[Desired], *, unwatched: bool) -> None:
        """Read anew those of `items` whose verdict may be another now though nothing happened to them.

        Time may have passed, or the rules of the app changed; and `unwatched` includes what no event tells of.
        """
        stale = [item for item in items if self._stale(app, item, unwatched=unwatched)]
        await abreast(partial(self.look, client), stale)
        self.judges.settled(app)

    def next_s(self, items: Sequence[Desired], unwatched_s: float) -> float:
        """Seconds until `again` may find something new; what no event tells of is read every `unwatched_s`."""
        now, soonest = self.clock.now(), float("inf")
        for item in items:
            tracked = self.tracker.get(item.ref)
            if tracked is None or tracked.verdict.good:
                continue
            if not self._told(item):
                soonest = min(soonest, unwatched_s)
            if tracked.seen is not None and tracked.seen.due is not None:
                soonest = min(soonest, max((tracked.seen.due - now).total_seconds(), 0.0) + _AFTER_S)
        return soonest

    def _stale(self, app: Key, item: Desired, *, unwatched: bool) -> bool:
        if self.judges.changed(app, item.gvk):
            return True
        tracked = self.tracker.get(item.ref)
        if tracked is None or tracked.verdict.good:
            return False
        due = tracked.seen.due if tracked.seen else None
        return (due is not None and due <= self.clock.now()) or (unwatched and not self._told(item))

    def _told(self, item: Desired) -> bool:
        """Whether events tell of `item`."""
        return item.watched and self.watches.covers(item.gvk)

    async def look(self, client: Client, item: Desired) -> None:
        """Read `item` under the account of its app; where that cannot be, what is known of it stays."""
        tracked = self.tracker.get(item.ref)
        if tracked is None:
            return
        with contextlib.suppress(ApiError, Unreachable, UnknownKind, StaleGroup):
            live = await read(client, item)
            if live is not None:
                closely = self.tracker.closely(item.ref)
                tracked.look(sight(live, self.clock.now(), item.manager, self.judges.assess, closely=closely))
            elif is_out_of_sight(item, tracked) or self.watches.forbidden(item.gvk):
                tracked.observe(None)
            return
        if self.watches.forbidden(item.gvk):
            # it can be neither watched nor read: only an apply, or its rehearsal, tells
            tracked.doubt()

    def unwatched(self, wish: Wish, tracked: Mapping[Ref, Tracked]) -> list[Desired]:
        """What has to be read because no watch tells of it; the app is told that it is so."""
        kinds = {item.gvk: why for item in wish.items if item.watched and (why := self.watches.forbidden(item.gvk))}
        if not kinds:
            self.notices.over(wish.owner.key, patrol.TOPIC)
            return []
        told = patrol.notice(kinds, next(iter(kinds.values())), wish.interval_s)
        self.notices.say(wish.owner.key, patrol.TOPIC, told)
        return patrol.due(wish.items, tracked, kinds.__contains__, wish.interval_s, self.clock.monotonic())
