"""Events of controllers in another process: posted to the one that tells of them, as Flux's controllers do.

It must never hold up the work it tells of: what cannot be posted is tried a few times, and what there is no room for is
dropped and counted. Does I/O.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from yarl import URL

from trimtab.base.clock import Clock
from trimtab.base.http import Request, Transport, TransportError
from trimtab.base.tasks import Tasks
from trimtab.notify.event import Event, cleaned, encode
from trimtab.notify.meaning import meaning

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 5.0
MOST: Final = 10_000
MOST_BYTES: Final = 16 << 20
_TRIES: Final = 180
_PAUSE_S: Final = (0.5, 5.0)
"""A quarter of an hour in all, and told within seconds once somebody listens again."""
_MOST_ANSWER: Final = 4096


class _Waiting(NamedTuple):
    body: bytes
    progress: bool


class Forwarding:
    """Posts events to `address`, in the order in which they happened. `dropped` counts what could not be posted."""

    def __init__(self, address: str, transport: Transport, clock: Clock, dropped: Callable[[str, int], None]) -> None:
        self._address = URL(address)
        self._transport = transport
        self._clock = clock
        self._dropped = dropped
        self._waiting: deque[_Waiting] = deque()
        self._size = 0
        self._progress = 0
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def hear(self, event: Event) -> None:
        """Post `event` when it is its turn. Returns at once and does not fail."""
        one = _Waiting(encode(cleaned(event)), meaning(event).progress)
        self._waiting.append(one)
        self._size += len(one.body)
        self._progress += one.progress
        while len(self._waiting) > MOST or self._size > MOST_BYTES:
            self._make_room()
            self._dropped("forwarding", 1)
        self._arrived.set()

    def start(self, tasks: Tasks) -> None:
        """Begin to post."""
        tasks.keep(self._work, name="forward-events")

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            if not self._waiting:
                self._arrived.clear()
                continue
            one = self._waiting[0]
            posted = await self._post(one.body)
            if self._waiting and self._waiting[0] is one:
                self._remove(0)
                if not posted:
                    self._dropped("forwarding", 1)

    def _make_room(self) -> None:
        """The oldest goes, of what only says that something goes on if there is such."""
        place = next(place for place, one in enumerate(self._waiting) if one.progress) if self._progress else 0
        self._remove(place)

    def _remove(self, place: int) -> None:
        one = self._waiting[place]
        del self._waiting[place]
        self._size -= len(one.body)
        self._progress -= one.progress

    async def _post(self, body: bytes) -> bool:
        low, high = _PAUSE_S
        for number in range(_TRIES):
            try:
                if (status := await self._send(body)) is not None:
                    # 429 is the answer to what was said a moment ago.
                    return status < 300 or status == 429
            except TransportError as failure:
                if number == 0:
                    log.info("events cannot be posted to %s yet: %s", self._address.host, failure)
            await self._clock.sleep(min(low * float(2 ** min(number, 10)), high))
        return False

    async def _send(self, body: bytes) -> int | None:
        """The status, or None for one that may be another the next time."""
        headers = {"Content-Type": "application/json"}
        response = await self._transport.send(Request("POST", self._address, headers, body, timeout=TIMEOUT_S))
        await response.read(_MOST_ANSWER)
        # A Pod that has just begun may not be known there yet.
        return None if response.status >= 500 or response.status == 403 else response.status
