"""How many requests are in flight, and who goes next."""

import asyncio
import heapq
from itertools import count
from types import TracebackType


class Limiter:
    """A semaphore with priorities: a lower number goes first, and within a number who came first.

    A request that waits for its turn again (after Retry-After) queues up again, so that a slow server is not kept
    busy by those it sent away.
    """

    def __init__(self, slots: int = 32) -> None:
        if slots < 1:
            raise ValueError("a limiter without slots would never let anything through")
        self._free = slots
        self._order = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    def __repr__(self) -> str:
        return f"<Limiter {self._free} free, {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return sum(not turn.done() for _, _, turn in self._waiting)

    def slot(self, priority: int = 5) -> "Slot":
        """One slot, for the length of an `async with`."""
        return Slot(self, priority)

    async def acquire(self, priority: int) -> None:
        """Wait for a slot. Invariant: nobody waits while a slot is free."""
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            # The slot may have been handed over in the very moment of the cancellation: pass it on.
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Hand the slot to the next in line, or put it back."""
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Slot:
    """A place among the requests in flight."""

    __slots__ = ("_limiter", "_priority")

    def __init__(self, limiter: Limiter, priority: int) -> None:
        self._limiter = limiter
        self._priority = priority

    async def __aenter__(self) -> None:
        await self._limiter.acquire(self._priority)

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limiter.release()
