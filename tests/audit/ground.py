"""What the tests of the ledger have in common: a clock that is set, events, a book on a directory."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trimtab.audit.book import Book, stamp
from trimtab.audit.record import Actor, Settled, Source, Subject
from trimtab.audit.sealing import Seal
from trimtab.base.clock import SystemClock

SHOP = Subject(kind="Kustomization", namespace="apps", name="shop", uid="1", generation=3)


class SetClock(SystemClock):
    """Shows the moment that it is set to."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 27, 1, 0, tzinfo=UTC)
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.seconds

    def turn(self, **by: float) -> None:
        step = timedelta(**by)
        self.moment += step
        self.seconds += step.total_seconds()


def settled(number: int) -> Settled:
    """An event that can be told from others."""
    return Settled(subject=SHOP, actor=Actor(author="Ada"), source=Source(revision=f"main@sha1:{number}"), result="ok")


@dataclasses.dataclass
class Desk:
    """A directory of a ledger, and books on it."""

    directory: Path
    clock: SetClock = dataclasses.field(default_factory=SetClock)

    def book(self, **limits: object) -> Book:
        seal = Seal(b"k" * 32)
        return Book(self.directory, self.clock, run="r1", version="0", host="h", seal=seal, **limits)

    def write(self, book: Book, *numbers: int) -> None:
        for number in numbers:
            self.clock.turn(seconds=1)
            book.append([stamp(settled(number), self.clock, "c")])

    @property
    def files(self) -> list[Path]:
        return sorted(self.directory.glob("chain-*/*.jsonl"))
