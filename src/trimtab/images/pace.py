"""How fast registries are asked: a few requests at a time for each host, and slower where one complains.

Beside what a registry asks for with `Retry-After`, which is honoured where requests leave (`remotes/outbound.py`).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from trimtab.base.clock import Clock
from trimtab.remotes.oci.wire import TooMany

AT_ONCE: Final = 4
"""Requests in flight, for one host."""
GAP_S: Final = 0.04
"""Between the beginnings of two requests to one host, in the long run."""
BURST: Final = 20
"""So many requests need no gap, after a time in which there were none."""
_LONGEST_GAP_S: Final = 30.0
_RECOVERY: Final = 0.9
_MOST_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class _Host:
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    gap_s: float = GAP_S
    due: float = 0.0  # when the next request would begin if all had kept their distance
    users: int = 0


class Pace:
    """One per process. Whoever wants to ask a host takes its turn."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hosts: dict[str, _Host] = {}

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Wait until `host` may be asked; the request is what is done inside."""
        one = self._host(host)
        one.users += 1
        try:
            async with one.slots:
                await self._keep_distance(one)
                try:
                    yield
                except TooMany as failure:
                    one.gap_s = min(max(one.gap_s * 2, 2 * GAP_S), _LONGEST_GAP_S)
                    one.due = max(one.due, self._clock.monotonic() + (failure.retry_after or one.gap_s))
                    raise
                one.gap_s = max(GAP_S, one.gap_s * _RECOVERY)
        finally:
            one.users -= 1

    async def _keep_distance(self, one: _Host) -> None:
        now = self._clock.monotonic()
        credit = BURST * GAP_S if one.gap_s == GAP_S else 0.0
        one.due = max(one.due, now - credit) + one.gap_s
        if (wait := one.due - now) > 0:
            await self._clock.sleep(wait)

    def _host(self, name: str) -> _Host:
        if name not in self._hosts and len(self._hosts) >= _MOST_REMEMBERED:
            self._hosts = {host: one for host, one in self._hosts.items() if one.users}
        return self._hosts.setdefault(name, _Host())
