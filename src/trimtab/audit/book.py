"""One chain on disk, written by us alone: begun or gone on with, line after line, file after file.

Blocks; every method may raise OSError, after which nothing of what was to be written counts as written: what reached
the file is cut off again before the next try. Belongs to one thread at a time.
"""

import hashlib
import itertools
import os
import platform
import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from trimtab.audit import files
from trimtab.audit.chain import Broken, Link, forge, taken_apart
from trimtab.audit.record import Began, Event, Header, Removed, Torn, Written
from trimtab.audit.sealing import Seal
from trimtab.base.clock import Clock
from trimtab.manifests import codec

FILE_BYTES: Final = 16 << 20
FILE_AGE: Final = timedelta(days=31)
"""A file is ended also when it is this old, so that what is too old can go."""
KEPT: Final = timedelta(days=396)
"""Thirteen months: a year that is audited, and what is needed at both ends of it."""
_LOOK_EVERY_S: Final = 24 * 3600.0

_header = msgspec.json.Decoder(Header).decode


class Stamped(NamedTuple):
    """An event that waits to be written: its JSON, when it was (wall time as text, monotonic seconds), whereabouts."""

    event: bytes
    time: str
    mono: float
    cluster: str


def stamp(event: Event, clock: Clock, cluster: str) -> Stamped:
    """`event` as of now."""
    return Stamped(codec.canonical(event), moment(clock.now()), round(clock.monotonic(), 6), cluster)


def moment(time: datetime) -> str:
    """`time` with microseconds, so that texts are in the order of moments."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Book:
    """The chain that this process writes, below `directory`. `run` is the id of the process."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        *,
        run: str,
        version: str,
        host: str,
        seal: Seal,
        file_bytes: int = FILE_BYTES,
        file_age: timedelta = FILE_AGE,
        kept: timedelta = KEPT,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._run = run
        self._version = version
        self._host = host
        self._seal = seal
        self._file_bytes = file_bytes
        self._file_age = file_age
        self._kept = kept
        self._lock: int | None = None
        self._chain = Path()
        self._file: Path | None = None
        self._descriptor: int | None = None
        self._size = 0
        self._link = Link()
        self._began = ""
        self._uncertain = False
        self._looked: float | None = None
        self._ahead: list[Event] = []
        self._leaving: list[Path] = []

    def append(self, entries: Sequence[Stamped]) -> int:
        """Write `entries`, and return when they are on the disk; the bytes it took."""
        if self._lock is None:
            self._take_up()
        self._turn()
        ahead = [stamp(event, self._clock, entries[0].cluster if entries else "") for event in self._ahead]
        data, link = self._forged([*ahead, *entries])
        self._put(data)
        self._link, self._size = link, self._size + len(data)
        self._began = self._began or (ahead or entries)[0].time
        self._ahead.clear()
        self._remove()
        return len(data)

    def close(self) -> None:
        """Let others have the chain."""
        for descriptor in (self._descriptor, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._descriptor = self._lock = self._file = None

    # --- the chain

    def _take_up(self) -> None:
        """Go on with a chain that nobody writes any more, or begin one. What is broken is left as it is found."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        note = ""
        for chain in files.chains(self._directory):
            descriptor = files.lock(chain)
            if descriptor is None:
                continue
            with ExitStack() as failing:
                failing.callback(os.close, descriptor)
                try:
                    tail = files.tail(chain)
                except Broken as failure:
                    note = note or f"{failure}: that chain is left as it is, and not gone on with"
                    continue
                self._ahead = [*self._mend(tail), self._introduced(chain, note)]
                self._settle(chain, descriptor, tail)
                failing.pop_all()
                return
        chain = self._directory / f"chain-{secrets.token_hex(8)}"
        chain.mkdir(mode=0o700)
        files.persist(self._directory)
        descriptor = files.lock(chain)
        if descriptor is None:
            raise OSError(f"{chain} was made just now, and somebody else has locked it")
        self._ahead = [self._introduced(chain, note)]
        self._settle(chain, descriptor, files.Tail(None, 0, Link(), "", b""))

    def _settle(self, chain: Path, descriptor: int, tail: files.Tail) -> None:
        self._chain, self._lock = chain, descriptor
        self._file, self._size, self._link, self._began = tail.file, tail.size, tail.link, tail.began

    def _mend(self, tail: files.Tail) -> list[Event]:
        """Set apart what a crash has left of a line."""
        if tail.file is None or not tail.torn:
            return []
        digest = hashlib.sha256(tail.torn).hexdigest()
        apart = tail.file.with_name(f"{tail.file.name}.torn-{digest[:16]}")
        _write_new(apart, tail.torn)
        descriptor = os.open(tail.file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, tail.size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        files.persist(tail.file.parent)
        return [Torn(file=apart.name, size=len(tail.torn), sha256=digest)]

    def _introduced(self, chain: Path, note: str) -> Began:
        return Began(
            chain=chain.name,
            host=self._host,
            pid=os.getpid(),
            python=platform.python_version(),
            key=self._seal.id,
            note=note,
        )

    # --- its files

    def _turn(self) -> None:
        """Begin a new file where it is time to, and look now and then for files that are too old."""
        now = moment(self._clock.now() - self._file_age)
        full = self._size >= self._file_bytes or (self._size and self._began and self._began < now)
        if full or self._file is None:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
            self._file, self._size, self._began = files.named(self._chain, self._link.seq + 1), 0, ""
            self._looked = None
        if self._descriptor is None:
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            files.persist(self._chain)
            self._uncertain = True
        if self._looked is None or self._clock.monotonic() - self._looked >= _LOOK_EVERY_S:
            self._looked = self._clock.monotonic()
            self._look_for_old()

    def _look_for_old(self) -> None:
        """Files all of whose records are too old leave, the oldest first; before, the ledger says so."""
        limit = moment(self._clock.now() - self._kept)
        known = files.files(self._chain)
        for file, following in itertools.pairwise(known):
            record = _first(following)
            if record is None or record.time >= limit or file in self._leaving or file == self._file:
                break
            self._leaving.append(file)
            removed = Removed(
                file=file.name, first=files.first_of(file), last=record.seq - 1, head=record.prev, until=record.time
            )
            self._ahead.append(removed)

    def _remove(self) -> None:
        leaving, self._leaving = self._leaving, []
        for file in leaving:
            file.unlink(missing_ok=True)

    # --- its lines

    def _forged(self, entries: Sequence[Stamped]) -> tuple[bytes, Link]:
        link, data = self._link, []
        for one in entries:
            record = Written(
                seq=link.seq + 1,
                prev=link.hash.hex(),
                time=one.time,
                mono=one.mono,
                run=self._run,
                version=self._version,
                cluster=one.cluster,
                event=msgspec.Raw(one.event),
            )
            line, link = forge(link, record)
            data.append(line)
        return b"".join(data), link

    def _put(self, data: bytes) -> None:
        assert self._descriptor is not None  # noqa: S101 - it was opened just now
        if self._uncertain:
            # what an earlier try has left here nobody was told of
            os.ftruncate(self._descriptor, self._size)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
        self._uncertain = True
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.fsync(self._descriptor)
        self._uncertain = False


def _first(file: Path) -> Header | None:
    """What the first record of `file` says of itself; None where that cannot be told."""
    line = next(files.lines(file), None)
    try:
        return _header(taken_apart(line.data)[1]) if line is not None else None
    except (Broken, msgspec.DecodeError):
        return None


def _write_new(path: Path, data: bytes) -> None:
    """Make `path`, on the disk when this returns. One of the same content may be there from an earlier try."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
