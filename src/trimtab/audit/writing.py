"""The ledger as the program writes it: whoever has something to record hands it over, one thread puts it on the disk.

All that waits goes with one write and one fsync, so that many apps at a time pay for one. Where the disk is full, or
does not answer, the work goes on: records wait in memory, within bounds, they are counted where even that is full, and
metrics and the log say so. Then the ledger itself says how many are missing.
"""

import asyncio
import logging
import secrets
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import trimtab
from trimtab.audit import files
from trimtab.audit.book import Book, Stamped, moment, stamp
from trimtab.audit.record import Event, Missed
from trimtab.audit.sealing import Seal
from trimtab.base.clock import Clock
from trimtab.base.telemetry import Telemetry

log = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
"""So long an intent waits for the disk before the work goes on without it."""
MOST_WAITING: Final = 20_000
MOST_BYTES: Final = 32 << 20
"""Of what waits in memory."""
_BATCH_BYTES: Final = 4 << 20
_AGAIN_S: Final = 5.0
_GRACE_S: Final = 10.0


class _Waiting(NamedTuple):
    stamped: Stamped
    written: asyncio.Future[None] | None


@dataclass(slots=True)
class _Gap:
    """What found no room to wait in."""

    count: int
    since: str
    why: str


@dataclass(slots=True)
class Ledger:
    """One per process. `cluster` is the id of the cluster that records are about, as soon as it is known.

    `problem` is why nothing can be written at the moment; empty while it can.
    """

    directory: Path
    clock: Clock
    telemetry: Telemetry
    make: Callable[..., Book] = Book
    most_waiting: int = MOST_WAITING
    most_bytes: int = MOST_BYTES
    again_s: float = _AGAIN_S
    patience_s: float = PATIENCE_S
    cluster: str = ""
    problem: str = ""
    _run: str = field(default_factory=lambda: secrets.token_hex(8))
    _attempts: int = 0
    _seal: Seal | None = None
    _passing: Seal = field(default_factory=Seal.passing)
    _book: Book | None = None
    _queue: deque[_Waiting] = field(default_factory=deque)
    _bytes: int = 0
    _gap: _Gap | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: bool = False
    _closed: asyncio.Event = field(default_factory=asyncio.Event)
    _hand: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="ledger"))

    def __post_init__(self) -> None:
        self.telemetry.watch_ledger(self.lag_s)

    def seal(self) -> Seal:
        """What makes digests of objects; the same for both threads, also where they ask for the first time at once."""
        if self._seal is None:
            try:
                self._seal = Seal.of(self.directory / files.KEY)
            except OSError as failure:
                log.warning("the ledger's digests can be compared within this run only: %s", failure)
                self._seal = self._passing
        return self._seal

    def attempt(self) -> str:
        """A name for what is about to be tried, which its intent and its outcome have in common."""
        self._attempts += 1
        return f"{self._run}-{self._attempts}"

    def add(self, event: Event) -> None:
        """Record `event`, without waiting for the disk."""
        self._take(event, None)

    async def write(self, event: Event) -> None:
        """Record `event`, and return when it is on the disk. Where that cannot be, the work has to go on: see above."""
        if self.problem:
            self._take(event, None)
            return
        written = asyncio.get_running_loop().create_future()
        self._take(event, written)
        try:
            async with asyncio.timeout(self.patience_s):
                await written
        except TimeoutError:
            self._fail(f"the disk has not answered for {self.patience_s:g} s")

    def lag_s(self) -> float:
        """For how long the oldest record that is not on the disk has waited."""
        try:
            oldest = self._queue[0]  # metrics are asked for in a thread of their own: it may be gone by now
        except IndexError:
            return 0.0
        return max(0.0, self.clock.monotonic() - oldest.stamped.mono)

    async def run(self) -> None:
        """Write what is handed over, until closed."""
        try:
            while not (self._closing and not self._queue):
                self._wake.clear()
                if self._queue and not await self._flush():
                    if self._closing:
                        break
                    await self.clock.sleep(self.again_s)
                elif not self._queue and not self._closing:
                    await self._wake.wait()
        finally:
            if self._closing:
                self._closed.set()

    async def close(self) -> None:
        """Write what waits, if it can be, and let go of the files."""
        self._closing = True
        self._wake.set()
        try:
            async with asyncio.timeout(_GRACE_S):
                await self._closed.wait()
        except TimeoutError:
            pass
        if self._queue:
            log.error("the ledger ends with %d records that could not be written", len(self._queue))
        if self._book is not None:
            self._hand.submit(self._book.close)
        self._hand.shutdown(wait=False)

    def _take(self, event: Event, written: asyncio.Future[None] | None) -> None:
        stamped = stamp(event, self.clock, self.cluster)
        full = len(self._queue) >= self.most_waiting or self._bytes + len(stamped.event) > self.most_bytes
        if full or (self._gap is not None and self._queue):
            # what came first is kept, so that what is missing is missing in one place
            self._gap = self._gap or _Gap(0, stamped.time, self.problem or "more at once than can wait in memory")
            self._gap.count += 1
            self.telemetry.ledger_missed(1)
            if written is not None:
                written.set_result(None)
            return
        self._queue.append(_Waiting(stamped, written))
        self._bytes += len(stamped.event)
        self._wake.set()

    async def _flush(self) -> bool:
        """Put on the disk what waits, or as much of it as goes at a time. Says whether it could."""
        batch: list[_Waiting] = []
        size = 0
        for one in self._queue:
            if batch and size + len(one.stamped.event) > _BATCH_BYTES:
                break
            batch.append(one)
            size += len(one.stamped.event)
        try:
            written = await asyncio.get_running_loop().run_in_executor(
                self._hand, self._append, [one.stamped for one in batch]
            )
        except OSError as failure:
            self._fail(str(failure))
            return False
        for one in batch:
            self._queue.popleft()
            self._bytes -= len(one.stamped.event)
            if one.written is not None and not one.written.done():
                one.written.set_result(None)
        self.telemetry.ledger_written(len(batch), written)
        if self.problem:
            log.warning("the ledger is written again; it could not be: %s", self.problem)
            self.problem = ""
        if self._gap is not None and not self._queue:
            gap, self._gap = self._gap, None
            self.add(Missed(count=gap.count, since=gap.since, until=moment(self.clock.now()), why=gap.why))
        return True

    def _append(self, entries: list[Stamped]) -> int:
        if self._book is None:
            host = socket.gethostname()
            self._book = self.make(
                self.directory, self.clock, run=self._run, version=trimtab.__version__, host=host, seal=self.seal()
            )
        return self._book.append(entries)

    def _fail(self, why: str) -> None:
        """Nobody waits for a disk that does not do its work."""
        self.telemetry.ledger_failed()
        if not self.problem:
            log.error("the ledger cannot be written, what happens is kept in memory for now: %s", why)
        self.problem = why
        for one in self._queue:
            if one.written is not None and not one.written.done():
                one.written.set_result(None)
