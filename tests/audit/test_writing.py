"""The ledger as the program writes it: durable before the work goes on, many for one fsync, never in the way."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event

import pytest

from tests.audit.ground import settled
from trimtab.audit.book import Book, Stamped
from trimtab.audit.reading import records
from trimtab.audit.record import Missed, Settled
from trimtab.audit.sealing import Seal
from trimtab.audit.verifying import verify
from trimtab.audit.writing import Ledger
from trimtab.base.clock import SystemClock
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry


class Sick(Book):
    """A double of a disk that can be made to fail, or to be slow."""

    full = False
    gate: Event | None = None
    batches: list[int]

    def append(self, entries: Sequence[Stamped]) -> int:
        if self.gate is not None:
            self.gate.wait(10)
        if self.full:
            raise OSError(28, "No space left on device")
        self.batches.append(len(entries))
        return super().append(entries)


class Ground:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.disk = type("Disk", (Sick,), {"batches": []})
        self.telemetry = Telemetry()
        self.tasks = Tasks("test")

    @asynccontextmanager
    async def ledger(self, **limits: float) -> AsyncIterator[Ledger]:
        ledger = Ledger(self.directory, SystemClock(), self.telemetry, make=self.disk, again_s=0.02, **limits)
        self.tasks.keep(ledger.run, name="ledger")
        try:
            yield ledger
        finally:
            await ledger.close()
            await self.tasks.close()

    def numbers(self) -> list[int]:
        events = [line.record.event for line in records(self.directory)]
        return [int(e.source.revision.rpartition(":")[2]) for e in events if isinstance(e, Settled)]

    async def metric(self, name: str) -> float:
        lines = (await self.telemetry.render()).decode().splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path / "ledger")


async def test_what_was_written_is_on_the_disk(ground: Ground) -> None:
    async with ground.ledger() as ledger:
        await ledger.write(settled(1))
        assert ground.numbers() == [1]
        ledger.add(settled(2))
    assert ground.numbers() == [1, 2]
    assert [report.broken for report in verify(ground.directory)] == [None]
    assert await ground.metric("trimtab_ledger_records_total") == 2


async def test_all_that_waits_goes_with_one_fsync_in_the_order_it_came(ground: Ground) -> None:
    async with ground.ledger() as ledger:
        await asyncio.gather(*(ledger.write(settled(number)) for number in range(200)))
    assert ground.numbers() == list(range(200))
    assert len(ground.disk.batches) <= 3


async def test_a_full_disk_stops_nobody_and_nothing_is_lost_that_has_room_in_memory(ground: Ground) -> None:
    async with ground.ledger() as ledger:
        ground.disk.full = True
        for number in range(5):
            await ledger.write(settled(number))
        assert "No space left" in ledger.problem
        assert ground.numbers() == []
        assert ledger.lag_s() > 0
        ground.disk.full = False
        async with asyncio.timeout(60):
            while ledger.problem:
                await asyncio.sleep(0.01)
        await ledger.write(settled(5))
    assert ground.numbers() == [0, 1, 2, 3, 4, 5]
    assert await ground.metric("trimtab_ledger_failures_total") >= 1
    assert await ground.metric("trimtab_ledger_lag_seconds") == 0


async def test_what_found_no_room_is_counted_where_it_is_missing(ground: Ground) -> None:
    async with ground.ledger(most_waiting=3) as ledger:
        ground.disk.full = True
        for number in range(10):
            await ledger.write(settled(number))
        ground.disk.full = False
        async with asyncio.timeout(60):
            while ledger.problem:
                await asyncio.sleep(0.01)
        await ledger.write(settled(10))
    assert ground.numbers() == [0, 1, 2, 10]
    [gap] = [line.record.event for line in records(ground.directory) if isinstance(line.record.event, Missed)]
    assert (gap.count, "No space left" in gap.why) == (7, True)
    assert await ground.metric("trimtab_ledger_missed_total") == 7
    [report] = verify(ground.directory)
    assert "7 records are missing" in report.notes[0]


async def test_a_disk_that_does_not_answer_is_not_waited_for_long(ground: Ground) -> None:
    async with ground.ledger(patience_s=0.05) as ledger:
        ground.disk.gate = Event()
        await ledger.write(settled(1))
        assert "has not answered" in ledger.problem
        await ledger.write(settled(2))
        ground.disk.gate.set()
    assert ground.numbers() == [1, 2]


async def test_both_threads_have_one_seal_also_where_its_key_cannot_be_kept(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Seal] = []

    def refused(_path: Path) -> Seal:
        if not found:
            found.append(Seal(b""))
            found[0] = ledger.seal()  # the other thread, in this very moment
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Seal, "of", refused)
    async with ground.ledger() as ledger:
        assert ledger.seal() is found[0]
