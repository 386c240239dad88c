"""The ledger, read: whatever is there, chain by chain and line by line. Blocks; raises OSError."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from trimtab.audit import files
from trimtab.audit.chain import Broken, taken_apart
from trimtab.audit.record import Record, read


class Line(NamedTuple):
    """A record and where it stands."""

    file: Path
    number: int
    hash: str
    record: Record


def records(directory: Path) -> Iterator[Line]:
    """All records of all chains, in the order of each. What is no line is left out: `verify` tells of it."""
    for chain in files.chains(directory):
        for file in files.files(chain):
            for line in files.lines(file):
                try:
                    said, data = taken_apart(line.data)
                    yield Line(file, line.number, said.hex(), read(data))
                except (Broken, msgspec.DecodeError):
                    continue
