"""Whether a ledger is what was written: the first line of each chain that does not fit, and what else is worth knowing.

Blocks; raises OSError.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from trimtab.audit import files
from trimtab.audit.chain import START, Broken, Checked, Link, check
from trimtab.audit.record import Header, Missed, Removed, read

_JITTER_S: Final = 1.0


class Break(NamedTuple):
    """Where a chain breaks first, and how."""

    file: Path
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.why}"


class Report(NamedTuple):
    """A chain: its records from `first` to `last`, and the hash of the last, which has to be compared with what was
    written down elsewhere to know that the end is there. `notes` are no breaks.
    """

    chain: str
    records: int
    first: int
    last: int
    began: str
    until: str
    head: str
    broken: Break | None
    notes: tuple[str, ...]


def verify(directory: Path) -> list[Report]:
    """Every chain below `directory`."""
    return [_verify(chain) for chain in files.chains(directory)]


def _verify(chain: Path) -> Report:
    walk = _Walk()
    found = files.files(chain)
    try:
        for file in found:
            walk.file(file, last=file == found[-1])
        walk.end(found)
    except _Stop as stop:
        return walk.report(chain, stop.broken)
    return walk.report(chain, None)


class _Stop(Exception):
    def __init__(self, file: Path, line: int, why: str) -> None:
        super().__init__(why)
        self.broken = Break(file, line, why)


class _Walk:
    def __init__(self) -> None:
        self.link: Link | None = None
        self.count = 0
        self.start: Checked | None = None
        self.last: Checked | None = None
        self.notes: list[str] = []
        self.removed: dict[int, Removed] = {}

    def file(self, file: Path, *, last: bool) -> None:
        if self.link is None and files.first_of(file) == 1:
            self.link = Link(0, START)
        for line in files.lines(file):
            if not line.whole:
                if last:
                    self.notes.append(f"{file}:{line.number}: the last line is torn, or is being written")
                    return
                raise _Stop(file, line.number, "the line has no end, and is not the last one")
            try:
                checked = check(self.link, line.data)
            except Broken as failure:
                raise _Stop(file, line.number, str(failure)) from None
            if line.number == 1 and checked.header.seq != files.first_of(file):
                raise _Stop(file, 1, f"the file begins with record {checked.header.seq}: it has another name")
            self._take(checked, f"{file}:{line.number}")

    def _take(self, checked: Checked, where: str) -> None:
        before = self.last
        if before is not None and _went_back(before.header, checked.header):
            self.notes.append(f"{where}: the clock went back from {before.header.time} to {checked.header.time}")
        self.start, self.last, self.link = self.start or checked, checked, checked.link
        self.count += 1
        if b'"kind":"missed"' in checked.record or b'"kind":"removed"' in checked.record:
            self._heed(checked, where)

    def _heed(self, checked: Checked, where: str) -> None:
        try:
            match read(checked.record).event:
                case Missed() as gap:
                    self.notes.append(
                        f"{where}: {gap.count} records are missing between {gap.since} and {gap.until}: {gap.why}"
                    )
                case Removed() as gone:
                    self.removed[gone.last + 1] = gone
        except msgspec.DecodeError:
            return

    def end(self, found: Iterable[Path]) -> None:
        """What the chain begins with must be its beginning, or what followed a file that was removed for its age."""
        start, first = self.start, next(iter(found), None)
        if start is None or first is None or start.header.seq == 1:
            return
        gone = self.removed.get(start.header.seq)
        if gone is None or gone.head != start.header.prev:
            why = f"it begins with record {start.header.seq}, and nothing says that what was before was removed"
            raise _Stop(first, 1, why)
        self.notes.append(f"records up to {gone.last} were removed for their age (until {gone.until})")

    def report(self, chain: Path, broken: Break | None) -> Report:
        start, last = self.start, self.last
        return Report(
            chain=chain.name,
            records=self.count,
            first=start.header.seq if start else 0,
            last=last.header.seq if last else 0,
            began=start.header.time if start else "",
            until=last.header.time if last else "",
            head=last.link.hash.hex() if last else "",
            broken=broken,
            notes=tuple(self.notes),
        )


def _went_back(before: Header, after: Header) -> bool:
    """Whether the clock was set back between two records. What waited is written later than what did not."""
    try:
        passed = (datetime.fromisoformat(after.time) - datetime.fromisoformat(before.time)).total_seconds()
    except ValueError:
        return False
    return passed - (after.mono - before.mono if before.run == after.run else 0.0) < -_JITTER_S
