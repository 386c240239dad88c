"""How many passes may wait for the same other side: one that answers slowly must not hold the workers of all.

A pass that finds no room ends at once, and its key is queued again as soon as there is some: a worker is never held.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from trimtab.base.errors import Waiting

K = TypeVar("K", bound=Hashable)

_LOOK_AGAIN_S: Final = 5.0
"""If nobody says that there is room: it may have been there at one of two, and not at the other."""


class Crowded(Waiting):
    """Others wait for the same already. Nothing was asked, and nothing is wrong with who wanted to ask."""


class Shares(Generic[K]):
    """Of each side (a host, a namespace) `most` passes at a time. `wake` queues a key that found no room before."""

    def __init__(self, most: int, wake: Callable[[K], None]) -> None:
        self._most = most
        self._wake = wake
        self._taken: dict[str, int] = {}
        self._turned_away: dict[str, deque[K]] = {}

    @contextmanager
    def of(self, key: K, *sides: str) -> Iterator[None]:
        """Take part of the share of each of `sides`. Raises Crowded."""
        for side in sides:
            if self._taken.get(side, 0) >= self._most:
                line = self._turned_away.setdefault(side, deque())
                if key not in line:
                    line.append(key)
                raise Crowded("Crowded", f"{key}: {self._most} others wait for {side} already", after=_LOOK_AGAIN_S)
        for side in sides:
            self._taken[side] = self._taken.get(side, 0) + 1
        try:
            yield
        finally:
            for side in sides:
                self._leave(side)

    def _leave(self, side: str) -> None:
        self._taken[side] -= 1
        if not self._taken[side]:
            del self._taken[side]
        if line := self._turned_away.get(side):
            self._wake(line.popleft())
        if not line:
            self._turned_away.pop(side, None)
