"""How many requests are in flight, and who goes next.

Requests belong to flows (`base/flows.py`): those of one app are one flow. Inside a priority the flows take turns, one
request each, so that an app of ten thousand objects does not stand before one of three with all that it has to ask.

A flow that the server sends away goes on with half as many requests at a time, down to one, and with none while it
pauses; with every answer it may have a little more. So a server that takes ten requests a second gets about ten from
each that has something to say, whoever has more of it. What is nobody's is not slowed down: Leases, discovery, watches.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

from trimtab.base.flows import NOBODY

_CALM = 2
"""So many requests at a time are no work to speak of."""

_Turn: TypeAlias = "asyncio.Future[None]"


@dataclass(slots=True)
class Pace:
    """How many requests one flow may have in flight, `most` at best. Pure."""

    most: int
    allowed: float
    running: int = 0
    waiting: int = 0
    pausing: int = 0

    @property
    def may_go(self) -> bool:
        """Whether one more may go out now."""
        return not self.pausing and self.running < max(1, int(self.allowed))

    @property
    def idle(self) -> bool:
        """Whether nothing is known that would be missed."""
        return not (self.running or self.waiting or self.pausing)

    def answered(self) -> None:
        """The server took one: one more at a time after as many answers as there may be now."""
        self.allowed = min(float(self.most), self.allowed + 1 / self.allowed)

    def refused(self) -> None:
        """The server sent one away. Those that went out together with it say nothing new."""
        if not self.pausing:
            self.allowed = max(1.0, self.allowed / 2)


class Limiter:
    """A semaphore with priorities: a lower number goes first; within a number flows take turns, each in its order.

    A request that waits for its turn again (after Retry-After) queues up again, so that a slow server is not kept
    busy by those it sent away.
    """

    def __init__(self, slots: int = 32) -> None:
        if slots < 1:
            raise ValueError("a limiter without slots would never let anything through")
        self._slots = slots
        self._free = slots
        self._paces: dict[str, Pace] = {}
        self._lines: dict[int, OrderedDict[str, deque[_Turn]]] = {}

    def __repr__(self) -> str:
        return f"<Limiter {self._free} free, {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return sum(not turn.done() for line in self._lines.values() for turns in line.values() for turn in turns)

    @property
    def calm(self) -> bool:
        """Whether next to nothing is under way, so that what nobody waits for is in nobody's way."""
        return self._free >= self._slots - _CALM

    def slot(self, priority: int = 5, flow: str = NOBODY) -> "Slot":
        """One slot, for the length of an `async with`."""
        return Slot(self, priority, flow)

    async def acquire(self, priority: int, flow: str = NOBODY) -> None:
        """Wait for a slot. Invariant: nobody who may go waits while a slot is free."""
        pace = self._pace(flow)
        if self._free > 0 and pace.may_go:
            self._free -= 1
            pace.running += 1
            return
        turn: _Turn = asyncio.get_running_loop().create_future()
        self._lines.setdefault(priority, OrderedDict()).setdefault(flow, deque()).append(turn)
        pace.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The slot was handed over in the very moment of the cancellation: pass it on.
                self.release(flow)
            else:
                pace.waiting -= 1
                self._forget(flow)
            raise

    def release(self, flow: str = NOBODY) -> None:
        """Hand the slot to the next in line, or put it back."""
        self._free += 1
        self._paces[flow].running -= 1
        self._serve()
        self._forget(flow)

    def answered(self, flow: str) -> None:
        """The server took a request of `flow`."""
        self._pace(flow).answered()

    @contextmanager
    def pausing(self, flow: str) -> Iterator[None]:
        """The server sent a request of `flow` away: no other of it goes out during the block."""
        if flow == NOBODY:
            yield
            return
        pace = self._pace(flow)
        pace.refused()
        pace.pausing += 1
        try:
            yield
        finally:
            pace.pausing -= 1
            self._serve()
            self._forget(flow)

    def _pace(self, flow: str) -> Pace:
        pace = self._paces.get(flow)
        if pace is None:
            pace = self._paces[flow] = Pace(self._slots, self._slots)
        return pace

    def _forget(self, flow: str) -> None:
        if flow in self._paces and self._paces[flow].idle:
            del self._paces[flow]

    def _serve(self) -> None:
        while self._free > 0 and (found := self._next()) is not None:
            flow, turn = found
            pace = self._paces[flow]
            pace.waiting -= 1
            pace.running += 1
            self._free -= 1
            turn.set_result(None)

    def _next(self) -> tuple[str, _Turn] | None:
        """Who goes now, taken out of the line; its flow goes to the end of it."""
        for priority in sorted(self._lines):
            line = self._lines[priority]
            for flow in list(line):
                turns = line[flow]
                while turns and turns[0].done():
                    turns.popleft()  # who waited there has given up
                if not turns:
                    del line[flow]
                elif self._paces[flow].may_go:
                    turn = turns.popleft()
                    line.move_to_end(flow)
                    return flow, turn
            if not line:
                del self._lines[priority]
        return None


class Slot:
    """A place among the requests in flight."""

    __slots__ = ("_flow", "_limiter", "_priority")

    def __init__(self, limiter: Limiter, priority: int, flow: str) -> None:
        self._limiter = limiter
        self._priority = priority
        self._flow = flow

    async def __aenter__(self) -> None:
        await self._limiter.acquire(self._priority, self._flow)

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limiter.release(self._flow)
