"""Delivery: a worker for each provider, so that a dead one holds up nobody else.

About one object notices are delivered in order; among objects, one that is refused does not hold up the next. What
fails is tried again with growing pauses, at the earliest when the other side says. Does I/O.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec

from trimtab.base.clock import Clock
from trimtab.base.errors import TrimtabError
from trimtab.base.tasks import Tasks
from trimtab.notify.journal import Head, Journal
from trimtab.notify.notice import Notice
from trimtab.notify.provider import (
    Composed,
    Conversing,
    Delivered,
    NoAnswer,
    Outcome,
    Provider,
    Refused,
    Request,
    Retry,
    Settings,
    Wire,
)
from trimtab.notify.providers.table import unserved

log = logging.getLogger(__name__)

KEEP_S: Final = 24 * 3600.0
"""What could not be delivered for so long is given up, and counted."""
GONE_S: Final = 600.0
"""For a provider that does not exist notices are kept so long."""
BURST: Final = 20.0
PER_S: Final = 2.0
"""Notices that one provider may get at once, and more of them each second; of those that set no limit, more."""
LEAST_S: Final = 30.0
"""So long a conversation may take, however short the timeout of one exchange is."""
_FAST: Final = frozenset({"generic", "generic-hmac", "alertmanager", "otel", "nats"})
_FAST_TIMES: Final = 25.0
_HEADS: Final = 16
_PAUSE_S: Final = (1.0, 60.0)
_SUBJECT_PAUSE_S: Final = (1.0, 900.0)
_IDLE_S: Final = 30.0
_MOST_PAUSED: Final = 500
_PAUSED_S: Final = 3600.0
_SETTINGS_S: Final = 2.0
_SHORTEST_SECRET: Final = 5
"""What is shorter is found in other words as well."""

_decoder = msgspec.json.Decoder(Notice)


class Suspended(Exception):
    """Its owner wants silence: what waits is dropped, as in Flux."""


class Gone(Exception):
    """There is no such provider any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What the outbox asks of others.

    `settings` reads those of a provider (`namespace/name`): raises TrimtabError, Suspended and Gone. `wire` is the way
    out with them. `told` is told of every outcome, by provider; `complain` tells the owner what is wrong.
    """

    settings: Callable[[str], Awaitable[Settings]]
    wire: Callable[[Settings], Wire]
    table: Mapping[str, Provider]
    told: Callable[[str, Outcome], None]
    complain: Callable[[str, str, str], None]
    dropped: Callable[[str, int], None] = lambda _where, _count: None


@dataclass(slots=True)
class _Line:
    """What is known of the way to one provider, all of it lost with the process. Times are monotonic."""

    woken: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0
    resume_at: float = float("-inf")
    paused: dict[str, tuple[float, int]] = field(default_factory=dict)
    tokens: float = BURST
    tokens_at: float = 0.0
    settings: tuple[float, Settings] | None = None
    """What was read last, and when: a second is many notices of some."""
    unnoted: list[int] = field(default_factory=list)
    """What is delivered, or refused, and could not be noted in the journal yet."""
    task: asyncio.Task[None] | None = None


class Outbox:
    """Delivers what the journal has for providers. `pace` multiplies how many there may be in a second (for tests)."""

    def __init__(
        self,
        journal: Journal,
        post: Post,
        clock: Clock,
        *,
        pace: float = 1.0,
        pause_s: tuple[float, float] = _PAUSE_S,
        keep_s: float = KEEP_S,
        gone_s: float = GONE_S,
        idle_s: float = _IDLE_S,
    ) -> None:
        self._journal = journal
        self._post = post
        self._clock = clock
        self._pace = pace
        self._pause_s = pause_s
        self._keep_s = keep_s
        self._gone_s = gone_s
        self._idle_s = idle_s
        self._lines: dict[str, _Line] = {}
        self._new: set[str] = set()
        self._moved = asyncio.Event()
        self._random = random.Random()  # noqa: S311 - spreads retries

    def wake(self, providers: Iterable[str]) -> None:
        """There is something new for `providers`."""
        for provider in providers:
            if (line := self._lines.get(provider)) is not None:
                line.woken.set()
            else:
                self._new.add(provider)
                self._moved.set()

    def changed(self, provider: str) -> None:
        """The provider was changed: what failed before may work now."""
        if (line := self._lines.get(provider)) is not None:
            line.failures, line.resume_at = 0, float("-inf")
            line.paused.clear()
            line.settings = None
            line.woken.set()

    async def run(self, tasks: Tasks) -> None:
        """Deliver until cancelled: a worker is started for each provider that something waits for."""
        while True:
            self._new.update(await asyncio.to_thread(self._journal.providers))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_S):
                    while True:
                        self._moved.clear()
                        self._begin(tasks)
                        await self._moved.wait()

    def _begin(self, tasks: Tasks) -> None:
        for provider in self._new - self._lines.keys():
            line = self._lines[provider] = _Line(tokens_at=self._clock.monotonic())
            line.task = tasks.keep(self._worker(provider, line), name=f"tell-{provider}")
        self._new.clear()

    def _worker(self, provider: str, line: _Line) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            while True:
                line.woken.clear()
                wait_s = await self._step(provider, line)
                if wait_s is not None and wait_s <= 0:
                    continue
                try:
                    async with asyncio.timeout(self._idle_s if wait_s is None else wait_s):
                        await line.woken.wait()
                except TimeoutError:
                    if wait_s is not None or line.woken.is_set():
                        continue
                    # How many were ever named is up to tenants. The next notice begins a line anew.
                    del self._lines[provider]
                    return

        return work

    async def _step(self, provider: str, line: _Line) -> float | None:
        """Deliver what is due. Seconds until there may be more to do; None where nothing waits."""
        now = self._clock.monotonic()
        if (left := line.resume_at - now) > 0:
            return left
        while line.unnoted:
            # First of all: where the disk is full, what was told once would be told again and again.
            await asyncio.to_thread(self._journal.done, line.unnoted[0])
            line.unnoted.pop(0)
        line.paused = {subject: pause for subject, pause in line.paused.items() if pause[0] + _PAUSED_S > now}
        blocked = [subject for subject, pause in line.paused.items() if pause[0] > now]
        heads = await asyncio.to_thread(self._journal.heads, provider, _HEADS, blocked)
        if not heads:
            waits = [pause[0] - now for pause in line.paused.values() if pause[0] > now]
            return max(min(waits), 0.01) if waits else None
        try:
            settings = await self._settings(provider, line)
        except Gone:
            # It may come in a moment: whoever applies an Alert may apply its Provider after it.
            before = self._clock.now().timestamp() - self._gone_s
            if heads[0].since < before:
                count = await asyncio.to_thread(partial(self._journal.forget, provider, before=before))
                self._post.dropped("gone", count)
                log.warning("Provider %s does not exist: %d notices for it are dropped", provider, count)
            return min(_IDLE_S, self._gone_s)
        except Suspended:
            await asyncio.to_thread(self._journal.forget, provider)
            return 0.0
        except TrimtabError as failure:
            self._post.complain(provider, failure.reason, failure.message)
            for head in heads:
                if self._clock.now().timestamp() - head.since > self._keep_s:
                    await self._give_up(provider, line, head, failure.message)
            return self._pause(line, Retry(str(failure)))
        for head in heads:
            if (wait_s := self._admit(line, settings)) > 0:
                line.resume_at = self._clock.monotonic() + wait_s
                return wait_s
            outcome = _discreet(await self._deliver(provider, settings, head), settings)
            self._post.told(provider, outcome)
            match outcome:
                case Delivered():
                    line.failures = 0
                    line.paused.pop(head.subject, None)
                    await self._done(line, head)
                case Refused(why):
                    self._post.complain(provider, "NotificationRefused", why)
                    await self._done(line, head)
                case Retry(why):
                    self._hold(line, head)
                    await asyncio.to_thread(self._journal.tried, head.seq)
                    if self._clock.now().timestamp() - head.since > self._keep_s:
                        await self._give_up(provider, line, head, why)
                    elif line.failures == 0:
                        self._post.complain(provider, "NotificationFailed", why)
                    return self._pause(line, outcome)
        return 0.0

    async def _settings(self, provider: str, line: _Line) -> Settings:
        now = self._clock.monotonic()
        if line.settings is None or now - line.settings[0] > _SETTINGS_S:
            line.settings = None
            line.settings = (now, await self._post.settings(provider))
        return line.settings[1]

    async def _give_up(self, provider: str, line: _Line, head: Head, why: str) -> None:
        self._post.complain(provider, "NotificationGivenUp", f"not delivered for a day: {why}")
        self._post.dropped("old", 1)
        await self._done(line, head)

    async def _done(self, line: _Line, head: Head) -> None:
        line.unnoted.append(head.seq)
        await asyncio.to_thread(self._journal.done, head.seq)
        line.unnoted.remove(head.seq)

    async def _deliver(self, provider: str, settings: Settings, head: Head) -> Outcome:
        try:
            notice = _decoder.decode(head.body)
        except msgspec.DecodeError:
            return Refused("a notice in the journal cannot be read")
        known = self._post.table.get(settings.type)
        if known is None:
            return Refused(unserved(settings.type))
        try:
            return await tell(known, notice, settings, self._post.wire(settings))
        except (ValueError, LookupError, TypeError, AttributeError) as failure:
            # An answer that is not what a provider's module expects must not stop the line behind it.
            log.exception("the module of %s failed for Provider %s", settings.type, provider, exc_info=failure)
            return Refused(f"the answer makes no sense to us ({type(failure).__name__})")

    def _admit(self, line: _Line, settings: Settings) -> float:
        """Take a token; seconds until there is one."""
        times = (_FAST_TIMES if settings.type in _FAST else 1.0) * self._pace
        now = self._clock.monotonic()
        line.tokens = min(BURST * times, line.tokens + (now - line.tokens_at) * PER_S * times)
        line.tokens_at = now
        if line.tokens < 1:
            return (1 - line.tokens) / (PER_S * times)
        line.tokens -= 1
        return 0.0

    def _hold(self, line: _Line, head: Head) -> None:
        """The next try about this object comes later than the next try of the provider, and so holds up no other."""
        low, high = _SUBJECT_PAUSE_S
        _, times = line.paused.pop(head.subject, (0.0, 0))
        scale = self._pause_s[0] / _PAUSE_S[0]
        wait_s = min(low * float(2 ** min(times, 12)), high) * scale if times else 0.0
        if len(line.paused) < _MOST_PAUSED:
            line.paused[head.subject] = (self._clock.monotonic() + wait_s, times + 1)

    def _pause(self, line: _Line, outcome: Retry) -> float:
        low, high = self._pause_s
        wait_s = min(low * float(2 ** min(line.failures, 12)), high) * self._random.uniform(0.5, 1.0)
        line.failures += 1
        wait_s = max(wait_s, outcome.after or 0.0)
        line.resume_at = self._clock.monotonic() + wait_s
        return wait_s


def _discreet(outcome: Outcome, settings: Settings) -> Outcome:
    """The outcome without what is secret: who answers may repeat what was sent, and a Warning is read by many."""
    if isinstance(outcome, Delivered):
        return outcome
    why = outcome.why
    values = [settings.token, settings.password]
    values += [word for value in settings.headers.values() for word in (value, *value.split()[1:])]
    if "address" in settings.secret:
        # The host may be told: it is what cannot be reached.
        place, _, query = settings.address.partition("?")
        values += ["/" + place.partition("://")[2].partition("/")[2], query]
    for secret in sorted({value for value in values if len(value) >= _SHORTEST_SECRET}, key=len, reverse=True):
        why = why.replace(secret, "***")
    return Retry(why, outcome.after) if isinstance(outcome, Retry) else Refused(why)


async def tell(known: Provider, notice: Notice, settings: Settings, wire: Wire, *, least_s: float = LEAST_S) -> Outcome:
    """What comes of telling `notice`. A conversation is as many requests as it needs, and still has an end."""
    try:
        async with asyncio.timeout(max(4 * settings.timeout_s, least_s)):
            return await _told(known, notice, settings, wire)
    except NoAnswer as failure:
        return failure.outcome
    except TrimtabError as failure:
        return Retry(str(failure))
    except TimeoutError:
        return Retry("no end within the time of the Provider")


async def _told(known: Provider, notice: Notice, settings: Settings, wire: Wire) -> Outcome:
    match known:
        case Conversing(send):
            return await send(notice, settings, wire)
        case Composed(compose, judge, sign):
            made = compose(notice, settings)
            for request in (made,) if isinstance(made, Request) else made:
                outcome = judge(await wire.ask(sign(request, settings, wire.now())))
                if not isinstance(outcome, Delivered):
                    return outcome
            return Delivered()
