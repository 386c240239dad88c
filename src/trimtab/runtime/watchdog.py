"""The self-check for lost objects: nothing may drop out of the loop unnoticed.

A missed event, a timer that was not set, a pass that ended without planning the next: each leaves an object that is
never looked at again while everything seems well (fluxcd/flux2 #5607 is one that took months to be noticed). So the
watchdog asks which objects there are, and for each whether it was looked at within three of its intervals.
"""

import logging
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

from trimtab.base.clock import Clock
from trimtab.base.durations import format_duration
from trimtab.base.errors import Terminal
from trimtab.base.telemetry import Telemetry
from trimtab.runtime.controller import Controller, Pass
from trimtab.runtime.queue import Priority

K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)

TOLERATED_INTERVALS = 3
_SHORTEST_INTERVAL_S = 20.0
_NAMED_IN_LOG = 10


class Watchdog(Generic[K]):
    """Checks one controller every `every_s` seconds.

    `intervals` lists the objects that ought to be looked at, with their intervals in seconds: from the server rather
    than from the cache that may have lost them, and without the suspended ones. An object that failed terminally is
    left alone: somebody has to change it first.
    """

    def __init__(
        self,
        controller: Controller[K],
        intervals: Callable[[], Awaitable[Mapping[K, float]]],
        clock: Clock,
        *,
        every_s: float = 300.0,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._controller = controller
        self._intervals = intervals
        self._clock = clock
        self._every_s = every_s
        self._telemetry = telemetry
        self._seen: dict[K, float] = {}
        self._terminal: set[K] = set()
        self._lost: frozenset[K] = frozenset()
        self._checked_at = clock.monotonic()
        controller.on_pass(self._note)

    async def run(self) -> None:
        """Check for ever; to be kept by a supervisor."""
        # Time in which nobody was meant to work, such as on standby, is no neglect.
        self._seen.clear()
        self._checked_at = self._clock.monotonic()
        while True:
            await self._clock.sleep(self._every_s)
            await self.inspect()

    async def inspect(self) -> frozenset[K]:
        """Queue what was lost and tell it; the keys."""
        expected = await self._intervals()
        now = self._clock.monotonic()
        self._seen = {key: self._seen.get(key, now) for key in expected}
        self._terminal &= expected.keys()
        in_flight = self._controller.queue.in_flight
        self._lost = frozenset(
            key
            for key, interval in expected.items()
            if key not in in_flight
            and key not in self._terminal
            and now - self._seen[key] > TOLERATED_INTERVALS * max(interval, _SHORTEST_INTERVAL_S)
        )
        self._checked_at = now
        if self._lost:
            self._tell(now)
        for key in self._lost:
            self._controller.queue.add(key, priority=Priority.RETRY)
        return self._lost

    def check(self) -> str | None:
        """What is wrong, for /readyz: objects nobody looked at, or a watchdog that sleeps itself."""
        silence = self._clock.monotonic() - self._checked_at
        if silence > TOLERATED_INTERVALS * self._every_s:
            return f"the self-check of {self._controller.name} has not run for {format_duration(silence)}"
        if self._lost:
            return f"{len(self._lost)} objects of {self._controller.name} were not looked at for three intervals"
        return None

    def _note(self, done: Pass[K]) -> None:
        self._seen[done.key] = self._clock.monotonic()
        if isinstance(done.outcome, Terminal):
            self._terminal.add(done.key)
        else:
            self._terminal.discard(done.key)
        if done.key in self._lost:
            self._lost -= {done.key}

    def _tell(self, now: float) -> None:
        name = self._controller.name
        for key in sorted(self._lost, key=str)[:_NAMED_IN_LOG]:
            queued = "it is queued, but no worker came to it" if key in self._controller.queue else "it was not queued"
            age = format_duration(now - self._seen[key])
            log.error("%s %s was not looked at for %s: %s; it is queued again", name, key, age, queued)
        if len(self._lost) > _NAMED_IN_LOG:
            log.error("%s: %d more objects were not looked at", name, len(self._lost) - _NAMED_IN_LOG)
        if self._telemetry is not None:
            self._telemetry.lost(name, len(self._lost))
