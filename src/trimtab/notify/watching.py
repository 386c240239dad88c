"""Keeps the states that were told equal to those that are: opens what no event told of, and closes what has ended.

Does I/O: it asks the journal what was told.
"""

import asyncio
import heapq
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec

from trimtab.base.clock import Clock
from trimtab.notify import story as stories
from trimtab.notify.event import Event
from trimtab.notify.journal import Journal, StoryRow
from trimtab.notify.meaning import Topic
from trimtab.notify.standing import USUAL, Live, Patience, event_of, moved_of, states, stood_since, success_of

CLOSE_S: Final = 30.0
"""What an event told of a moment ago may be newer than what is seen."""
_SEEN_ONLY: Final = frozenset({Topic.PRUNE_HELD, Topic.SUSPENDED, Topic.UNKNOWN})
"""No event tells of these: what opened them is what is seen, and so is their end."""
_LOOK_EVERY_S: Final = 2.0
_AT_A_TIME: Final = 500
_MEMO: Final = ""
"""In the place of an Alert: what is remembered of an object itself."""


class _Memo(msgspec.Struct, frozen=True, kw_only=True):
    suspended_since: datetime


class Hearing(Protocol):
    """Who takes events."""

    def hear(self, event: Event) -> None:
        """Take one, without waiting."""
        ...


class Watching:
    """Looks at objects that changed, and again when something becomes due.

    `find` gives an object by its subject; `moves` says whether anybody wants to know of revisions that changed nothing;
    `patience` says how long an object may be suspended or unknown.
    """

    def __init__(
        self,
        journal: Journal,
        desk: Hearing,
        find: Callable[[str], Live | None],
        clock: Clock,
        moves: Callable[[], bool] = lambda: False,
        patience: Patience = USUAL,
    ) -> None:
        self._journal = journal
        self._desk = desk
        self._find = find
        self._moves = moves
        self._patience = patience
        self._applied: dict[str, str] = {}
        self._clock = clock
        self._dirty: dict[str, None] = {}
        self._due: list[tuple[datetime, str]] = []
        self._scheduled: dict[str, datetime] = {}
        self._said: dict[str, frozenset[tuple[Topic, str]]] = {}

    def changed(self, subject: str) -> None:
        """The object is not what it was."""
        self._dirty[subject] = None

    async def run(self, subjects: Callable[[], Iterable[str]]) -> None:
        """Look until cancelled, at all `subjects` first: what happened while nobody listened is told now."""
        for subject in list(subjects()):
            await self._look(subject, first=True)
        while True:
            now = self._clock.now()
            while self._due and self._due[0][0] <= now:
                moment, subject = heapq.heappop(self._due)
                if self._scheduled.get(subject) == moment:
                    del self._scheduled[subject]
                    self._dirty[subject] = None
            for subject in list(self._dirty)[:_AT_A_TIME]:
                del self._dirty[subject]
                await self._look(subject)
            await self._clock.sleep(_LOOK_EVERY_S)

    async def _look(self, subject: str, *, first: bool = False) -> None:
        live = self._find(subject)
        known = await asyncio.to_thread(self._journal.stories, subject)
        memo = known.pop(_MEMO, b"")
        told = {alert: stories.read(body) for alert, body in known.items()}
        if live is None or live.metadata.deleted:
            await self._leave(subject, told, memo)
            return
        now = self._clock.now()
        since = await self._suspended_since(subject, memo, now, suspended=live.spec.suspend)
        found = states(live, suspended_since=since, patience=self._patience)
        for state in found.values():
            if state.due > now:
                self._again(state.due, subject)
        due = {topic: state for topic, state in found.items() if state.due <= now}
        said = frozenset((topic, state.reason) for topic, state in due.items())
        for topic, state in due.items():
            open_already = bool(told) and all(topic in one.open for one in told.values())
            if (topic, state.reason) not in self._said.get(subject, frozenset()) and not open_already:
                self._desk.hear(event_of(live, topic, state, now))
        self._said[subject] = said
        self._close(live, subject, told, frozenset(found), now)
        stood = live.ready is not None and live.ready.true and not live.spec.suspend
        applied = live.status.last_applied_revision
        revisions = frozenset(one.revision for one in told.values()) - {""}
        if first and stood and revisions - {live.revision, applied}:
            self._desk.hear(success_of(live, now))
        if stood and applied:
            before = self._applied.get(subject, "")
            self._applied[subject] = applied
            # At first it is not known who was told of which: who was told of this one is not told again.
            missed = first and applied != live.revision and bool(revisions - {applied})
            if (missed or before not in ("", applied)) and self._moves():
                self._desk.hear(moved_of(live, now))

    def _close(
        self, live: Live, subject: str, told: dict[str, stories.Story], now_in: frozenset[Topic], now: datetime
    ) -> None:
        # On the way to a state nobody knows yet whether what had failed still does, and of what is suspended nobody
        # finds out.
        undecided = Topic.UNKNOWN in now_in or live.spec.suspend
        ended: dict[Topic, float] = {}
        for one in told.values():
            for name, state in one.open.items():
                if name not in frozenset(Topic):
                    continue  # of a version to come, which has written what is read here
                topic = Topic(name)
                if topic in now_in or (undecided and topic is not Topic.SUSPENDED):
                    continue
                ended[topic] = max(ended.get(topic, 0.0), state.since)
        for topic, since in ended.items():
            opened = datetime.fromtimestamp(since, now.tzinfo)
            ripe = opened + timedelta(seconds=CLOSE_S)
            if topic in _SEEN_ONLY or stood_since(live, opened) or ripe <= now:
                self._desk.hear(event_of(live, topic, None, now))
            else:
                self._again(ripe, subject)

    async def _suspended_since(self, subject: str, memo: bytes, now: datetime, *, suspended: bool) -> datetime | None:
        if not suspended:
            if memo:
                await self._remember(subject, b"", now)
            return None
        if memo:
            try:
                return msgspec.json.decode(memo, type=_Memo).suspended_since
            except msgspec.DecodeError:
                pass
        await self._remember(subject, msgspec.json.encode(_Memo(suspended_since=now)), now)
        return now

    async def _remember(self, subject: str, body: bytes, now: datetime) -> None:
        row = StoryRow(_MEMO, subject, body)
        await asyncio.to_thread(self._journal.dispatched, 0, (), (row,), now.timestamp())

    async def _leave(self, subject: str, told: dict[str, stories.Story], memo: bytes) -> None:
        """It is gone: nothing is told of it any more, and nothing is remembered."""
        self._said.pop(subject, None)
        self._applied.pop(subject, None)
        rows = [StoryRow(alert, subject, b"") for alert in told] + ([StoryRow(_MEMO, subject, b"")] if memo else [])
        if rows and self._find(subject) is None:
            await asyncio.to_thread(self._journal.dispatched, 0, (), rows, self._clock.now().timestamp())

    def _again(self, moment: datetime, subject: str) -> None:
        known = self._scheduled.get(subject)
        if known is None or moment < known:
            self._scheduled[subject] = moment
            heapq.heappush(self._due, (moment, subject))
