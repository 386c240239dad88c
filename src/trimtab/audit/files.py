"""Where lines lie: a directory with a key, and in it a directory for each chain with its files and its lock.

A file is named by the number of its first record, so names tell the order. A chain is written by the one process that
holds its lock; a second process begins a chain of its own. Blocks; raises OSError.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from trimtab.audit.chain import LONGEST, START, Broken, Checked, Link, check

KEY: Final = "key"
LOCK: Final = "lock"
SUFFIX: Final = ".jsonl"
_CHAIN: Final = re.compile(r"chain-[0-9a-f]{16}", re.ASCII)
_FILE: Final = re.compile(r"[0-9]{12}\.jsonl", re.ASCII)


class Numbered(NamedTuple):
    """A line without its end, where it begins in its file, and whether it has an end: without one it is torn."""

    number: int
    offset: int
    data: bytes
    whole: bool


class Tail(NamedTuple):
    """The end of a chain: its last file and how much of that is whole lines; `torn` is what comes after."""

    file: Path | None
    size: int
    link: Link
    began: str
    torn: bytes


def chains(directory: Path) -> list[Path]:
    """The chains in `directory`; a directory of a chain may be given itself."""
    if _CHAIN.fullmatch(directory.name) and not any(_CHAIN.fullmatch(one.name) for one in directory.iterdir()):
        return [directory]
    return sorted(one for one in directory.iterdir() if _CHAIN.fullmatch(one.name) and one.is_dir())


def files(chain: Path) -> list[Path]:
    """The files of a chain, in order."""
    return sorted(one for one in chain.iterdir() if _FILE.fullmatch(one.name))


def named(chain: Path, first: int) -> Path:
    """The file that begins with the record `first`."""
    return chain / f"{first:012d}{SUFFIX}"


def first_of(file: Path) -> int:
    """The number of the record that `file` begins with."""
    return int(file.name.removesuffix(SUFFIX))


def lines(file: Path) -> Iterator[Numbered]:
    """The lines of `file`. One that is longer than any is cut, and fits nowhere."""
    with file.open("rb") as stream:
        number = offset = 0
        while data := stream.readline(LONGEST):
            number += 1
            yield Numbered(number, offset, data.removesuffix(b"\n"), data.endswith(b"\n"))
            offset += len(data)


def lock(chain: Path) -> int | None:
    """Hold `chain` until the returned descriptor is closed; None while another process does."""
    with ExitStack() as failing:
        descriptor = os.open(chain / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        failing.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        failing.pop_all()
        return descriptor


def persist(directory: Path) -> None:
    """Have the names in `directory` outlive a crash."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tail(chain: Path) -> Tail:
    """Where `chain` ends, by its last file that has a line, every one of which is checked. Raises Broken.

    What a crash left behind is the rest of one line; a line that only lacks its end is torn all the same, since nobody
    was told that it is written.
    """
    torn, size = b"", 0
    last: Path | None = None
    for file in reversed(files(chain)):
        link: Link | None = None
        began, end = "", 0
        for line in lines(file):
            if not line.whole:
                if last is not None:
                    raise Broken(f"{file}:{line.number}: the line has no end, and is not the last one")
                torn = line.data
                break
            checked = _checked(link, line, file)
            link, began = checked.link, began or checked.header.time
            end = line.offset + len(line.data) + 1
        if last is None:
            last, size = file, end
        if link is not None:
            # a file that has no line yet begins with the next one
            return Tail(last, size, link, began if file is last else "", torn)
    return Tail(last, size, Link(), "", torn)


def _checked(after: Link | None, line: Numbered, file: Path) -> Checked:
    if after is None and first_of(file) == 1:
        after = Link(0, START)
    try:
        return check(after, line.data)
    except Broken as failure:
        raise Broken(f"{file}:{line.number}: {failure}") from None
