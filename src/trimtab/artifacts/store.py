"""Content on disk, named by its digest. A new commit in a repository of a thousand apps writes only what changed.

    contents.sqlite      blobs: the contents of files, by SHA-256; trees: indexes, which path holds which content
    published/…          archives for other processes (publish.py)

Nothing is ever changed in place. What does not match its name is noticed when it is read, and is fetched again: all of
this may be lost at any time.
"""

import errno
import hashlib
import logging
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from trimtab.artifacts.database import Damaged, Database
from trimtab.artifacts.tree import Tree, decode_tree, encode_tree
from trimtab.base.errors import Transient

log = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")
MIN_AGE_S = 3600.0
_MARKED_S = MIN_AGE_S / 2  # a mark that is younger is not renewed
_AT_ONCE = 1000  # rows of one transaction of a collection
CONTENTS = "contents.sqlite"
# The index answers what is old without reading contents.
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS blobs (sha256 BLOB PRIMARY KEY, size INTEGER, used REAL, data BLOB);
    CREATE INDEX IF NOT EXISTS blobs_by_use ON blobs (used, sha256, size);
    CREATE TABLE IF NOT EXISTS trees (sha256 BLOB PRIMARY KEY, used REAL, data BLOB);
"""


class Corrupt(Transient):
    """Content in the store is gone or does not match its name. It heals when the source is fetched again."""

    def __init__(self, message: str) -> None:
        super().__init__("ReadOperationFailed", message)


class Collected(NamedTuple):
    """What one collection of garbage removed."""

    blobs: int
    trees: int
    bytes: int


class Store:
    """Blobs and trees below one directory. All methods block shortly; call those over many files in a thread.

    Each raises OSError where the disk is full or fails, and Corrupt where the whole file was damaged on it. `losses`
    counts how often something was found to be missing or damaged: until it moves, what was here is here.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root = root
        self.losses = 0
        self._database = Database(root / CONTENTS, _SCHEMA)

    def put(self, data: bytes | memoryview) -> str:
        """Keep `data` and return its SHA-256 (hex). Content that is here already is only marked as in use."""
        return self.put_all([data])[0]

    def put_all(self, contents: Sequence[bytes | memoryview]) -> list[str]:
        """Keep all of `contents`, or none, and return the SHA-256 (hex) of each: one `put` for many."""
        digests = [hashlib.sha256(data) for data in contents]
        now = time.time()
        with self._writing() as transaction:
            transaction.executemany(
                "INSERT INTO blobs VALUES (?1, ?2, ?3, ?4) "
                "ON CONFLICT (sha256) DO UPDATE SET used = ?3 WHERE used < ?5",
                (
                    (digest.digest(), len(data), now, data, now - _MARKED_S)
                    for digest, data in zip(digests, contents, strict=True)
                ),
            )
        return [digest.hexdigest() for digest in digests]

    def keep(self, sha256: str, size: int) -> bool:
        """Whether the content is here, with `size` bytes; if so, it is safe from collection for a while."""
        return bool(self.keep_all([(sha256, size)]))

    def keep_all(self, wanted: Iterable[tuple[str, int]]) -> set[str]:
        """Which of the contents (SHA-256 and size) are here: one `keep` for many."""
        here, now = set[str](), time.time()
        fading: list[bytes] = []
        with self._reading() as connection:
            for sha256, size in wanted:
                name = _binary(sha256)
                row = connection.execute("SELECT size, used FROM blobs WHERE sha256 = ?", (name,)).fetchone()
                if row is not None and row[0] == size:
                    here.add(sha256)
                    if row[1] < now - _MARKED_S:
                        fading.append(name)
        if fading:
            with self._writing() as transaction:
                for name in fading:
                    marked = transaction.execute("UPDATE blobs SET used = ? WHERE sha256 = ?", (now, name))
                    if not marked.rowcount:
                        here.discard(name.hex())  # collected a moment ago
        return here

    def read(self, sha256: str) -> bytes:
        """The content named `sha256`. Raises Corrupt if it is missing or is not what its name says."""
        name = _binary(sha256)
        with self._reading() as connection:
            row = connection.execute("SELECT data FROM blobs WHERE sha256 = ?", (name,)).fetchone()
        if row is None:
            self.losses += 1
            raise Corrupt(f"content {sha256} is missing from {self.root}; it is fetched again")
        data: bytes = row[0]
        if hashlib.sha256(data).digest() != name:
            with self._writing() as transaction:
                transaction.execute("DELETE FROM blobs WHERE sha256 = ?", (name,))
            self.losses += 1
            raise Corrupt(f"content {sha256} in {self.root} was damaged on disk; it is fetched again")
        return data

    def save(self, tree: Tree) -> str:
        """Keep the index and return its digest."""
        with self._writing() as transaction:
            transaction.execute(
                "INSERT INTO trees VALUES (?1, ?2, ?3) ON CONFLICT (sha256) DO UPDATE SET used = ?2, data = ?3",
                (_binary(tree.digest), time.time(), encode_tree(tree)),
            )
        return tree.digest

    def load(self, digest: str) -> Tree:
        """The index named `digest`. Raises Corrupt."""
        with self._reading() as connection:
            row = connection.execute("SELECT data FROM trees WHERE sha256 = ?", (_binary(digest),)).fetchone()
        if row is None:
            raise Corrupt(f"tree {digest} is missing from {self.root}; it is fetched again")
        try:
            tree = decode_tree(row[0])
        except (ValueError, msgspec.DecodeError) as failure:
            raise Corrupt(f"tree {digest} in {self.root} was damaged on disk: {failure}") from failure
        if tree.digest != digest:
            raise Corrupt(f"tree {digest} in {self.root} was damaged on disk; it is fetched again")
        return tree

    def touch(self, digest: str) -> None:
        """Keep a tree that is live no more, and its contents, for those who may still be reading it."""
        with self._writing() as transaction:
            transaction.execute("UPDATE trees SET used = ? WHERE sha256 = ?", (time.time(), _binary(digest)))

    def collect(self, live: Iterable[str], *, contents: Iterable[str] = (), min_age_s: float = MIN_AGE_S) -> Collected:
        """Remove what no tree in `live` refers to, nor `contents` has, and nobody touched for `min_age_s` seconds.

        The age protects writers at work: their blobs are young, and a tree that was saved but not yet published, or
        retired a moment ago, is younger than that and counts as live.
        """
        try:
            return self._collect(frozenset(live), frozenset(contents), time.time() - min_age_s)
        except OSError as problem:
            if problem.errno != errno.ENOSPC:
                raise
            # Nothing can be removed from a file that cannot grow. All of it can be fetched again.
            log.warning("the disk is full, and everything in %s is let go: %s", self.root / CONTENTS, problem)
            self._database.begin_anew()
            self.losses += 1
            return Collected(0, 0, 0)

    def _collect(self, live: frozenset[str], contents: frozenset[str], deadline: float) -> Collected:
        kept = {_binary(digest) for digest in live}
        with self._reading() as connection:
            trees = connection.execute("SELECT sha256, used FROM trees").fetchall()
        dead = [name for name, used in trees if name not in kept and used < deadline]
        # A live tree that cannot be read stops the collection: without it nobody knows what is garbage.
        living = [name for name, used in trees if name in kept or used >= deadline]
        used = {entry.sha256 for name in living for entry in self.load(name.hex()).entries} | contents
        with self._reading() as connection:
            old = connection.execute("SELECT sha256, size FROM blobs WHERE used < ?", (deadline,)).fetchall()
        sizes = {name: size for name, size in old if name.hex() not in used}
        blobs, trees = self._removed("blobs", list(sizes), deadline), self._removed("trees", dead, deadline)
        self._shrink()
        return Collected(len(blobs), len(trees), sum(sizes[name] for name in blobs))

    def _removed(self, table: str, names: Sequence[bytes], deadline: float) -> list[bytes]:
        """Remove the rows, as far as nobody marked them meanwhile; a few at a time, for the sake of writers."""
        removed: list[bytes] = []
        for at in range(0, len(names), _AT_ONCE):
            with self._writing() as transaction:
                for name in names[at : at + _AT_ONCE]:
                    row = transaction.execute(
                        f"DELETE FROM {table} WHERE sha256 = ? AND used < ?",  # noqa: S608 (one of two names)
                        (name, deadline),
                    )
                    if row.rowcount:
                        removed.append(name)
        return removed

    def _shrink(self) -> None:
        """Give room back to the disk where much of the file is empty. The rest is used again by what comes."""
        with self._reading() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            if free > pages // 4:
                connection.executescript("PRAGMA incremental_vacuum")  # execute would free one page only

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._database.reading() as connection:
                yield connection
        except Damaged as problem:
            self.losses += 1
            raise Corrupt(f"{problem}; what was in it is fetched again") from problem

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._database.writing() as transaction:
                yield transaction
        except Damaged as problem:
            self.losses += 1
            raise Corrupt(f"{problem}; what was in it is fetched again") from problem


def _binary(digest: str) -> bytes:
    if not _SHA256.fullmatch(digest):
        raise ValueError(f"{digest!r} is not a SHA-256 in hex")
    return bytes.fromhex(digest)
