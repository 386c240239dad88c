"""A clock that tests turn by hand."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta


class ManualClock:
    """Time stands still until `advance`; nobody who sleeps on it waits in reality."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._now)

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._now + seconds, self._count, future))
        await future

    def jump(self, seconds: float) -> None:
        """Let time pass without anybody noticing: a process that was stopped, or code without a loop."""
        self._now += seconds

    async def advance(self, seconds: float) -> None:
        """Let time pass, and everybody whose sleep ends do what they do then."""
        await settle()
        until = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, future = heapq.heappop(self._sleepers)
            self._now = max(self._now, due)
            if not future.done():
                future.set_result(None)
                await settle()
        self._now = until
        await settle()


async def settle() -> None:
    """Let every task run until it waits for something that is not there yet."""
    for _ in range(30):
        await asyncio.sleep(0)
