"""What is asked for once, however many wait for it, and believed for a while."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from trimtab.base.clock import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class _Entry(Generic[V]):
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    value: V | None = None
    failure: Exception | None = None
    asked_at: float = float("-inf")
    waiting: int = 0


class Fresh(Generic[K, V]):
    """Values by key, each `good_s` seconds old at most; a failure of `expected` is believed for `bad_s` seconds.

    Whoever calls cannot make us ask more often than that. At most `most` values are kept.
    """

    def __init__(
        self, clock: Clock, *, good_s: float, bad_s: float, most: int, expected: tuple[type[Exception], ...]
    ) -> None:
        self._clock = clock
        self._good_s = good_s
        self._bad_s = bad_s
        self._most = most
        self._expected = expected
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()

    async def get(self, key: K, load: Callable[[], Awaitable[V]], *, within_s: float | None = None) -> V:
        """What `load` answers, or answered not long ago: `within_s` says how long, where it is less than usual.

        Raises what `load` raises, or raised.
        """
        entry = self._entry(key)
        entry.waiting += 1
        try:
            async with entry.lock:
                if not self._known(entry, within_s):
                    await self._load(entry, load)
                if entry.failure is not None:
                    raise entry.failure
                return entry.value  # type: ignore[return-value] # V may be None itself
        finally:
            entry.waiting -= 1

    def _known(self, entry: _Entry[V], within_s: float | None) -> bool:
        good_s = self._good_s if within_s is None else min(within_s, self._good_s)
        return self._clock.monotonic() - entry.asked_at <= (good_s if entry.failure is None else self._bad_s)

    async def _load(self, entry: _Entry[V], load: Callable[[], Awaitable[V]]) -> None:
        asked_at = self._clock.monotonic()
        try:
            entry.value, entry.failure = await load(), None
        except self._expected as failure:
            entry.value, entry.failure = None, failure
        entry.asked_at = asked_at

    def _entry(self, key: K) -> _Entry[V]:
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
            if len(self._entries) > self._most:
                idle = next((old for old, one in self._entries.items() if not one.waiting and one is not entry), None)
                if idle is not None:
                    del self._entries[idle]
        self._entries.move_to_end(key)
        return entry
