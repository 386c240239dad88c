"""How fast registries are asked: a few requests at a time for each host, and slower who was told to be.

What a registry says to somebody (`429`, or `Retry-After`) is about them: who asks with other credentials, or over
another proxy, goes on. What is asked for meanwhile is put off, and not sent to be refused.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from trimtab.base.clock import Clock
from trimtab.remotes.oci.wire import PullFailed, TooMany

AT_ONCE: Final = 4
"""Requests in flight, for one host."""
GAP_S: Final = 0.04
"""Between the beginnings of two requests to one host, in the long run."""
BURST: Final = 20
"""So many requests need no gap, after a time in which there were none."""
LONGEST_HOLD_S: Final = 300.0
"""So long at most nobody asks, whatever was said."""
_SLOWED_S: Final = 1.0
_LONGEST_GAP_S: Final = 30.0
_RECOVERY: Final = 0.9
_MOST_REMEMBERED: Final = 10_000


class Held(Exception):
    """The registry has asked for patience; nothing is sent to it for `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"asked for patience, {seconds:.0f} s more")
        self.seconds = seconds


@dataclass(slots=True)
class _Host:
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    due: float = 0.0  # when the next request would begin if all had kept their distance
    users: int = 0


@dataclass(slots=True)
class _Asker:
    """Somebody who asks a host; `gap_s` is 0 while nobody has complained of them."""

    gap_s: float = 0.0
    due: float = 0.0
    held_until: float = 0.0
    users: int = 0


class Pace:
    """One per process. Whoever wants to ask a host takes their turn."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hosts: dict[str, _Host] = {}
        self._askers: dict[tuple[str, str], _Asker] = {}

    @asynccontextmanager
    async def turn(self, host: str, identity: str = "") -> AsyncIterator[None]:
        """Wait until `host` may be asked; the request is what is done inside. Raises Held."""
        one, asker = self._host(host), self._asker(host, identity)
        one.users, asker.users = one.users + 1, asker.users + 1
        try:
            await self._keep_distance(asker, asker.gap_s, 0.0)
            async with one.slots:
                await self._keep_distance(one, GAP_S, BURST * GAP_S)
                if (left := asker.held_until - self._clock.monotonic()) > 0:
                    raise Held(left)
                try:
                    yield
                except PullFailed as failure:
                    self._heed(asker, failure)
                    raise
                asker.gap_s = asker.gap_s * _RECOVERY if asker.gap_s > GAP_S else 0.0
        finally:
            one.users, asker.users = one.users - 1, asker.users - 1

    def _heed(self, asker: _Asker, failure: PullFailed) -> None:
        if isinstance(failure, TooMany):
            asker.gap_s = min(max(asker.gap_s * 2, _SLOWED_S), _LONGEST_GAP_S)
        elif failure.retry_after is None:
            return
        hold_s = min(failure.retry_after or asker.gap_s, LONGEST_HOLD_S)
        asker.held_until = max(asker.held_until, self._clock.monotonic() + hold_s)

    async def _keep_distance(self, one: _Host | _Asker, gap_s: float, credit_s: float) -> None:
        now = self._clock.monotonic()
        begin = max(one.due, now - credit_s)
        one.due = begin + gap_s
        if begin > now:
            await self._clock.sleep(begin - now)

    def _host(self, name: str) -> _Host:
        if name not in self._hosts and len(self._hosts) >= _MOST_REMEMBERED:
            self._hosts = {host: one for host, one in self._hosts.items() if one.users}
        return self._hosts.setdefault(name, _Host())

    def _asker(self, host: str, identity: str) -> _Asker:
        known = (host, identity)
        if known not in self._askers and len(self._askers) >= _MOST_REMEMBERED:
            now = self._clock.monotonic()
            self._askers = {
                other: one for other, one in self._askers.items() if one.users or one.gap_s or one.held_until > now
            }
        return self._askers.setdefault(known, _Asker())
