"""Where events arrive: kept on disk, matched against the Alerts one after the other, and made notices of.

Does I/O: the journal is asked in a thread, and what is known of the cluster by the functions it is given.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import msgspec

from trimtab.api.notification import Alert
from trimtab.base.clock import Clock
from trimtab.base.errors import TrimtabError
from trimtab.base.tasks import Tasks
from trimtab.notify import event as events
from trimtab.notify import meaning as meanings
from trimtab.notify import story as stories
from trimtab.notify.event import Event
from trimtab.notify.journal import Due, Entry, Journal, StoryRow, Waiting
from trimtab.notify.matching import Rule, Subject, admits, told
from trimtab.notify.meaning import Effect
from trimtab.notify.notice import Notice, Phase, key_of
from trimtab.notify.wording import BadTemplate, written

log = logging.getLogger(__name__)

MOST_ARRIVING: Final = 10_000
MOST_ARRIVING_BYTES: Final = 32 << 20
_BATCH: Final = 500
FOLD_S: Final = 300.0
"""Repeats of an error are counted so long, and then told."""
_LOOK_EVERY_S: Final = 10.0
_MOST_FOLDED: Final = 1000
_REFUSED_S: Final = 1.0


class Full(Exception):
    """Nothing more can be kept at the moment; who sends it may send it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the desk asks of others.

    `rules` are the Alerts; `across` says whether an Alert of one namespace may hear of another; `subject` looks at the
    object of an event; `template` reads the template of an Alert, None where it has none; `complain` tells the owner
    of an Alert what is wrong with it; `dropped` counts what had to go; `turned` is told whose story went
    on; `status_of` says whether the provider of an Alert sets commit statuses.
    """

    rules: Callable[[], Iterable[Rule]]
    across: Callable[[str, str], Awaitable[bool]]
    subject: Callable[[Event], Awaitable[Subject]]
    template: Callable[[Alert], Awaitable[str | None]]
    complain: Callable[[Alert, str, str], None]
    dropped: Callable[[str, int], None]
    turned: Callable[[str], None] = lambda _subject: None
    status_of: Callable[[Alert], bool] = lambda _alert: False


class _Folded:
    """An error and how often it was said again since it was told."""

    def __init__(self, event: Event, since: float) -> None:
        self.event = event
        self.since = since
        self.count = 1

    def told(self, now: datetime) -> Event:
        """The event that stands for all of them."""
        metadata = {**self.event.metadata, meanings.REPEATS: str(self.count)}
        return msgspec.structs.replace(self.event, metadata=metadata, timestamp=events.now(now))


class Desk:
    """Takes events. `moved` is told for whom there are notices."""

    def __init__(
        self, journal: Journal, world: World, clock: Clock, *, cluster: str = "", moved: Callable[[Iterable[str]], None]
    ) -> None:
        self._journal = journal
        self._world = world
        self._clock = clock
        self._cluster = cluster
        self._moved = moved
        self._arriving: deque[tuple[Entry, asyncio.Future[bool] | None]] = deque()
        self._size = 0
        self._arrived = asyncio.Event()
        self._kept = asyncio.Event()
        self._folded: dict[str, _Folded] = {}

    def start(self, tasks: Tasks) -> None:
        """Begin to keep what arrives. Looking at it begins with `dispatch`, once the Alerts are known."""
        tasks.keep(self._keep, name="keep-events")
        tasks.keep(self._unfold, name="unfold-events")

    async def take(self, event: Event) -> bool:
        """Return once the event is on disk: True, or False for one that was said a moment ago. Raises Full."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if not self._put(event, future):
            raise Full
        return await future

    def hear(self, event: Event) -> None:
        """Take an event without waiting. What there is no room for is dropped and counted."""
        if not self._put(events.cleaned(event), None):
            self._world.dropped("arriving", 1)

    async def dispatch(self) -> None:
        """Make notices of what was kept, in the order in which it came, until cancelled."""
        while True:
            self._kept.clear()
            batch = await asyncio.to_thread(self._journal.waiting, _BATCH)
            for waiting in batch:
                await self._dispatch(waiting)
            if not batch:
                await self._kept.wait()

    def _put(self, event: Event, future: asyncio.Future[bool] | None) -> bool:
        body = events.encode(event)
        if len(self._arriving) >= MOST_ARRIVING or self._size + len(body) > MOST_ARRIVING_BYTES:
            return False
        self._arriving.append((Entry(identity(event), rank(event), body), future))
        self._size += len(body)
        self._arrived.set()
        return True

    async def _keep(self) -> None:
        while True:
            await self._arrived.wait()
            batch = [self._arriving.popleft() for _ in range(min(len(self._arriving), _BATCH))]
            if not self._arriving:
                self._arrived.clear()
            if not batch:
                continue
            self._size -= sum(len(entry.body) for entry, _ in batch)
            entries = [entry for entry, _ in batch]
            try:
                kept = await asyncio.to_thread(self._journal.accept, entries, self._clock.now().timestamp())
            except OSError as failure:
                log.warning("events cannot be kept: %s", failure)
                self._refuse(batch)
                await self._clock.sleep(_REFUSED_S)
                continue
            if kept.dropped:
                self._world.dropped("journal", kept.dropped)
            for (_, future), new in zip(batch, kept.new, strict=True):
                if future is not None and not future.done():
                    future.set_result(new)
            for (entry, _), new in zip(batch, kept.new, strict=True):
                if not new and entry.rank:
                    self._fold(entry)
            self._kept.set()

    def _fold(self, entry: Entry) -> None:
        """Count an error that was said a moment ago. A courtesy: what is counted is lost with the process."""
        folded = self._folded.get(entry.id)
        if folded is not None:
            folded.count += 1
        elif len(self._folded) < _MOST_FOLDED and (event := events.parse(entry.body)).error:
            self._folded[entry.id] = _Folded(event, self._clock.monotonic())

    async def _unfold(self) -> None:
        while True:
            await self._clock.sleep(_LOOK_EVERY_S)
            now = self._clock.monotonic()
            for id_, folded in list(self._folded.items()):
                if now - folded.since >= FOLD_S:
                    del self._folded[id_]
                    self.hear(folded.told(self._clock.now()))

    def _refuse(self, batch: Sequence[tuple[Entry, asyncio.Future[bool] | None]]) -> None:
        """Who waits is told; what nobody waits for is tried again, as far as there is room."""
        again = [one for one in batch if one[1] is None]
        for _, future in batch:
            if future is not None and not future.done():
                future.set_exception(Full())
        room = MOST_ARRIVING - len(self._arriving)
        self._arriving.extendleft(reversed(again[:room]))
        self._size += sum(len(entry.body) for entry, _ in again[:room])
        if again[room:]:
            self._world.dropped("arriving", len(again) - room)
        if again:
            self._arrived.set()

    async def _dispatch(self, waiting: Waiting) -> None:
        try:
            event = events.parse(waiting.body)
        except TrimtabError as failure:
            log.warning("an event in the journal cannot be read, and is left out: %s", failure)
            await asyncio.to_thread(self._journal.dispatched, waiting.seq, (), (), 0.0)
            return
        now = self._clock.now()
        subject_id = subject_of(event)
        known = await asyncio.to_thread(self._journal.stories, subject_id)
        notices: list[Due] = []
        rows: list[StoryRow] = []
        subject: Subject | None = None
        meant = meanings.meaning(event)
        for rule in self._world.rules():
            alert = rule.alert
            own, other = alert.metadata.namespace, event.involved_object.namespace
            if not any(one.kind == event.involved_object.kind for one in alert.spec.event_sources):
                continue
            across = own == other or await self._world.across(own, other)
            if alert.spec.suspend or not across:
                continue
            if subject is None:
                subject = await self._world.subject(event)
            before = stories.read(known.get(str(alert.key), b""))
            news = not admits(rule, event, subject, across=across)
            if meant.effect is Effect.MOVES:
                news = news and self._world.status_of(alert)
            after, tellings = stories.turn(
                before,
                meant,
                kind=event.involved_object.kind,
                words=event.reason + event.message,
                revision=event.revision,
                now=now.timestamp(),
                news=news,
                times=_times(event),
                # What is derived from a status need not name the revision that fails.
                each=self._world.status_of(alert) and not event.value(meanings.TOPIC),
            )
            if after != before:
                rows.append(StoryRow(str(alert.key), subject_id, stories.write(after)))
            for telling in tellings:
                notice = await self._notice(alert, event, subject, telling, meant.effect)
                provider = f"{own}/{alert.spec.provider_ref.name}"
                rank_ = 0 if telling.topic is None and meant.progress else 1
                notices.append(Due(notice.key, provider, subject_id, rank_, msgspec.json.encode(notice)))
        dropped = await asyncio.to_thread(self._journal.dispatched, waiting.seq, notices, rows, now.timestamp())
        if dropped:
            self._world.dropped("outbox", dropped)
        if meant.effect in (Effect.SUCCEEDS, Effect.CLOSES):
            # What was said again before is of old.
            for id_, folded in list(self._folded.items()):
                if subject_of(folded.event) == subject_id:
                    del self._folded[id_]
        if rows:
            self._world.turned(subject_id)
        if notices:
            self._moved({one.provider for one in notices})

    async def _notice(
        self, alert: Alert, event: Event, subject: Subject, telling: stories.Telling, effect: Effect
    ) -> Notice:
        fields, summary, overridden = told(alert, event, subject.annotations)
        if overridden:
            self._world.complain(alert, "MetadataAppendFailed", "; ".join(overridden))
        uid = alert.metadata.uid or str(alert.key)
        topic = telling.topic.value if telling.topic is not None else ""
        notice = Notice(
            event=event,
            key=key_of(identity(event), event.timestamp, uid, alert.spec.provider_ref.name, topic, telling.phase),
            phase=telling.phase,
            state=key_of(uid, subject_of(event), topic, str(telling.since)) if topic else "",
            count=telling.times,
            over_s=telling.over_s,
            message=event.message,
            summary=summary,
            fields=fields,
            cluster=self._cluster,
            alert=str(alert.key),
            alert_labels=alert.metadata.labels,
        )
        if telling.phase is Phase.CLOSED and effect is Effect.CLOSES and telling.topic is not None and event.error:
            notice = replace(notice, message=meanings.ENDS[telling.topic])
        try:
            template = await self._world.template(alert)
            return notice if template is None else replace(notice, message=written(template, notice))
        except (BadTemplate, TrimtabError) as problem:
            self._world.complain(alert, "TemplateFailed", f"{problem}; the raw message is told instead")
            return notice


def identity(event: Event) -> str:
    """The same for events that say the same, as Flux has it: by object, message and revision, whenever that was."""
    involved = event.involved_object
    return key_of(
        *(involved.kind, involved.namespace, involved.name, event.severity, event.reason, event.message),
        *(event.value(name) for name in ("revision", "originRevision", "token")),
        event.value(meanings.TOPIC),
        *((event.timestamp,) if event.value(meanings.REPEATS) or event.value(meanings.TOPIC) else ()),
    )


def _times(event: Event) -> int:
    said = event.value(meanings.REPEATS)
    return int(said) if said.isdecimal() and 0 < len(said) < 8 else 1


def rank(event: Event) -> int:
    """0 for what may be left out first."""
    return 0 if meanings.meaning(event).progress else 1


def subject_of(event: Event) -> str:
    """The object, as the journal knows it."""
    involved = event.involved_object
    return f"{involved.kind}/{involved.namespace}/{involved.name}"
