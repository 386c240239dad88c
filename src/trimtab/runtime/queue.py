"""Which key is worked on next.

The semantics are those of controller-runtime's priority queue: a key is in the queue at most once and with one worker
at most; what is added again while it is in flight runs again afterwards; failures are retried with a growing delay.

A key is in one of these places:

    absent ──add──▶ ready ──take──▶ in flight ──done──▶ absent
       └─add(after)─▶ waiting ──time──▶ ready             └─ added meanwhile ─▶ ready or waiting

Adding never loses urgency: the earlier time and the more urgent priority win. Inside a priority, keys leave in the
order in which they became ready. Everything but `get` is synchronous; there is no await inside an invariant.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from trimtab.base.clock import Clock
from trimtab.base.tasks import Tasks

K = TypeVar("K", bound=Hashable)

_COMPACT_FLOOR = 64
_MAX_DOUBLINGS = 40
_NEVER = float("inf")


class Priority(IntEnum):
    """The usual priorities. Lower numbers go first; any other integer will do as well."""

    REQUEST = -10
    """A person or a webhook asked."""
    EVENT = 0
    """Something moved."""
    ASIDE = 5
    """Something moved that most likely changes nothing for it."""
    RETRY = 10
    """It failed before."""
    RESYNC = 20
    """It is time to look again."""


class Closed(Exception):
    """The queue hands out no keys any more."""


@dataclass(slots=True)
class _Item:
    """A key that is ready or waiting. Invariant: `due` is 0 exactly when the key is ready.

    `order` is its place in line, and names the one entry of the two heaps that counts.
    """

    priority: int
    due: float
    order: int
    since: float


class Queue(Generic[K]):
    """Keys with priorities, delays and backoff; `base_s` and `cap_s` bound the backoff, in seconds.

    Closing it stops the handing out, not the taking in: what is added meanwhile is there when it is opened again.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        base_s: float = 1.0,
        cap_s: float = 300.0,
        chance: Callable[[], float] = random.random,
        name: str = "queue",
    ) -> None:
        self.name = name
        self.base_s = base_s
        self.cap_s = cap_s
        self._clock = clock
        self._chance = chance
        self._items: dict[K, _Item] = {}
        self._in_flight: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        # Heaps with lazy deletion: an entry counts only while it agrees with the key's item.
        self._ready: list[tuple[int, int, K]] = []
        self._waiting: list[tuple[float, int, K]] = []
        self._ready_count = 0
        self._order = 0
        self._getters: deque[asyncio.Future[None]] = deque()
        self._tasks = Tasks(name)
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_due = _NEVER
        self._open = True

    def __len__(self) -> int:
        """How many keys are ready, those that wait for their own pass in flight to end included."""
        self._promote()
        return self._ready_count

    def __contains__(self, key: K) -> bool:
        """Whether `key` is ready or waiting (in flight alone does not count)."""
        return key in self._items

    def __iter__(self) -> Iterator[K]:
        """The keys that are ready or waiting, in no particular order."""
        return iter(tuple(self._items))

    @property
    def closed(self) -> bool:
        """Whether nothing is handed out: what is here is for whoever opens it next."""
        return not self._open

    @property
    def waiting(self) -> int:
        """How many keys wait for their time."""
        self._promote()
        return len(self._items) - self._ready_count

    @property
    def in_flight(self) -> frozenset[K]:
        """The keys that workers have now."""
        return frozenset(self._in_flight)

    def oldest(self) -> float:
        """Seconds that the key has waited which is ready for the longest time; 0 when none is."""
        self._promote()
        now = self._clock.monotonic()
        return max((now - item.since for item in self._items.values() if not item.due), default=0.0)

    def slowest(self) -> float:
        """Seconds that the longest pass in flight has taken so far; 0 when there is none."""
        now = self._clock.monotonic()
        return max((now - since for since in self._in_flight.values()), default=0.0)

    def failures(self, key: K) -> int:
        """How many retries in a row `key` has had."""
        return self._failures.get(key, 0)

    def add(self, key: K, *, priority: int = Priority.EVENT, after: float = 0.0) -> None:
        """Want a pass over `key`, in `after` seconds."""
        item = self._items.get(key)
        now = 0.0
        if item is None or item.due:
            now = self._clock.monotonic()
            self._promote(now)
        if item is not None and not item.due:
            if priority < item.priority:
                item.priority = priority
                self._offer(key, item)
            return
        due = now + after if after > 0 else 0.0
        if item is None:
            item = self._items[key] = _Item(priority, due, 0, now)
        else:
            item.priority = min(priority, item.priority)
            if due >= item.due:
                return
            item.due = due
        if not due:
            self._make_ready(key, item, now)
            return
        self._order += 1
        item.order = self._order
        heapq.heappush(self._waiting, (due, self._order, key))
        # A busy key leaves an entry per pass behind, until its interval is over.
        if len(self._waiting) > 2 * len(self._items) + _COMPACT_FLOOR:
            self._waiting = [entry for entry in self._waiting if self._is_due(*entry)]
            heapq.heapify(self._waiting)
        self._arm()

    def take(self) -> K | None:
        """The next key, now in flight until `done`; None when none is ready."""
        self._promote()
        while self._ready:
            priority, order, key = heapq.heappop(self._ready)
            if self._is_current(priority, order, key):
                del self._items[key]
                self._ready_count -= 1
                self._in_flight[key] = self._clock.monotonic()
                return key
        return None

    async def get(self) -> K:
        """The next key, now in flight until `done`. Raises Closed once the queue is closed."""
        while True:
            if not self._open:
                raise Closed(f"queue {self.name} is closed")
            if (key := self.take()) is not None:
                return key
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            self._arm()
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()  # the call was for somebody: pass it on
                elif getter in self._getters:  # it is not where a call in this very moment has found it cancelled
                    self._getters.remove(getter)
                raise

    def done(self, key: K) -> None:
        """The pass over `key` is over. If it was added meanwhile, it is up again."""
        if self._in_flight.pop(key, None) is None:
            raise ValueError(f"{key} is not in flight in queue {self.name}")
        item = self._items.get(key)
        if item is not None and not item.due:
            self._offer(key, item)

    def retry(self, key: K, *, cap: float | None = None, floor: float = 0.0, priority: int = Priority.RETRY) -> float:
        """Want another pass over `key` after a failure; the delay in seconds.

        It doubles from `base_s` with every failure in a row, up to `cap`, and is spread downwards by up to a quarter
        so that keys that failed together do not come back together. `floor` is what the other side asked for; it is
        bounded by `cap` too.
        """
        cap = self.cap_s if cap is None else cap
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(cap, self.base_s * 2.0 ** min(failures, _MAX_DOUBLINGS))
        delay = max(delay * (1 - self._chance() / 4), min(floor, cap))
        self.add(key, priority=priority, after=delay)
        return delay

    def forget(self, key: K) -> None:
        """Start the backoff of `key` anew. A retry that is already waiting stays."""
        self._failures.pop(key, None)

    def discard(self, key: K) -> None:
        """Want no pass over `key` any more; one in flight goes on."""
        self._failures.pop(key, None)
        item = self._items.pop(key, None)
        if item is not None and not item.due:
            self._ready_count -= 1

    def open(self) -> None:
        """Hand out keys (again)."""
        self._open = True

    def close(self) -> None:
        """Hand out no more keys: every `get` that waits, or comes later, raises Closed."""
        self._open = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._getters:
            self._wake()

    def _make_ready(self, key: K, item: _Item, since: float) -> None:
        self._order += 1
        item.due, item.order, item.since = 0.0, self._order, since
        self._ready_count += 1
        self._offer(key, item)

    def _offer(self, key: K, item: _Item) -> None:
        """Put a ready key where `take` finds it, unless it is in flight: then `done` does it."""
        if key in self._in_flight:
            return
        heapq.heappush(self._ready, (item.priority, item.order, key))
        if len(self._ready) > 2 * self._ready_count + _COMPACT_FLOOR:
            self._ready = [entry for entry in self._ready if self._is_current(*entry)]
            heapq.heapify(self._ready)
        self._wake()

    def _promote(self, now: float | None = None) -> None:
        """Make ready what waited for a time that has come."""
        if not self._waiting:
            return
        now = self._clock.monotonic() if now is None else now
        while self._waiting and self._waiting[0][0] <= now:
            due, order, key = heapq.heappop(self._waiting)
            if self._is_due(due, order, key):
                self._make_ready(key, self._items[key], due)

    def _is_current(self, priority: int, order: int, key: K) -> bool:
        item = self._items.get(key)
        return item is not None and not item.due and item.priority == priority and item.order == order

    def _is_due(self, due: float, order: int, key: K) -> bool:
        item = self._items.get(key)
        return item is not None and item.due == due and item.order == order

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _arm(self) -> None:
        """See to it that somebody who waits is called when the next key is due."""
        if not self._getters or not self._waiting or not self._open:
            return
        due = self._waiting[0][0]
        if self._alarm is not None:
            if self._alarm_due <= due:
                return
            self._alarm.cancel()
        self._alarm_due = due
        self._alarm = self._tasks.spawn(self._ring(due), name="alarm")

    async def _ring(self, due: float) -> None:
        await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
        self._alarm = None
        self._promote()
        self._arm()
