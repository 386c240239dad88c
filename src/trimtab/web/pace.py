"""How often anybody may call, and how often an object is asked for a look. Plain numbers; the caller has the clock."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SHORTEST_S: Final = 0.25
_LONGEST_S: Final = 5.0


class Buckets(Generic[K]):
    """A bucket of tokens for each key: `burst` calls at once, and `per_s` more each second. The latest `most` count."""

    def __init__(self, *, burst: int, per_s: float, most: int) -> None:
        self._burst = burst
        self._per_s = per_s
        self._most = most
        self._levels: OrderedDict[K, tuple[float, float]] = OrderedDict()

    def take(self, key: K, now: float) -> bool:
        """Whether there was a token for `key` at `now`."""
        level, since = self._levels.get(key, (float(self._burst), now))
        level = min(float(self._burst), level + (now - since) * self._per_s)
        admitted = level >= 1
        self._levels[key] = (level - 1 if admitted else level, now)
        self._levels.move_to_end(key)
        while len(self._levels) > self._most:
            self._levels.popitem(last=False)
        return admitted


class Spacing(Generic[K]):
    """The first look is asked for at once, the next ones in growing distances, a few seconds at most.

    So one push is seen at once, two in a second are both, and a flood becomes one look every few seconds.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._last: OrderedDict[K, tuple[float, float]] = OrderedDict()

    def wait(self, key: K, now: float) -> float:
        """Seconds until `key` may be asked again."""
        asked_at, distance = self._last.get(key, (float("-inf"), 0.0))
        return max(0.0, distance - (now - asked_at))

    def asked(self, key: K, now: float) -> None:
        """`key` is being asked at `now`."""
        asked_at, distance = self._last.get(key, (float("-inf"), 0.0))
        busy = now - asked_at < 2 * distance
        self._last[key] = (now, min(2 * distance, _LONGEST_S) if busy else _SHORTEST_S)
        self._last.move_to_end(key)
        while len(self._last) > self._most:
            self._last.popitem(last=False)


class Seen(Generic[K]):
    """Remembers for `for_s` seconds what was there before; the latest `most`."""

    def __init__(self, *, for_s: float, most: int) -> None:
        self._for_s = for_s
        self._most = most
        self._at: OrderedDict[K, float] = OrderedDict()

    def knows(self, key: K, now: float) -> bool:
        """Whether `key` was remembered not long before `now`."""
        at = self._at.get(key)
        return at is not None and now - at <= self._for_s

    def remember(self, key: K, now: float) -> None:
        """`key` is there at `now`."""
        self._at[key] = now
        self._at.move_to_end(key)
        while len(self._at) > self._most:
            self._at.popitem(last=False)
