"""Content on disk, named by its digest. A new commit in a repository of a thousand apps writes only what changed.

    blobs/ab/cdef…       the contents of files, by SHA-256
    trees/ab/cdef…       indexes: which path holds which content
    published/…          archives for other processes (publish.py)

Nothing is ever changed in place: files are written beside their name and renamed. There is no fsync: what a power cut
leaves half-written does not match its name, is noticed when it is read, and is fetched again.
"""

# Plain strings: twenty thousand files at a time, and Path objects cost more than the system calls.
# ruff: noqa: PTH104, PTH108, PTH110, PTH116, PTH123

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

import msgspec

from trimtab.artifacts.tree import Tree, decode_tree, encode_tree
from trimtab.base.errors import Transient

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = ".new-"
MIN_AGE_S = 3600.0


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
    """Blobs and trees below one directory. All methods block shortly; call those over many files in a thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs"
        self._trees = root / "trees"
        for kind in (self._blobs, self._trees):
            kind.mkdir(mode=0o700, parents=True, exist_ok=True)
            present = frozenset(entry.name for entry in kind.iterdir())
            for name in (f"{number:02x}" for number in range(256)):
                if name not in present:
                    (kind / name).mkdir(mode=0o700, exist_ok=True)

    def put(self, data: bytes | memoryview) -> str:
        """Keep `data` and return its SHA-256 (hex). Content that is here already is only marked as in use."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.keep(sha256, len(data)):
            _write(self._path(self._blobs, sha256), data)
        return sha256

    def keep(self, sha256: str, size: int | None = None) -> bool:
        """Whether the content is here (with `size` bytes, if given); if so, it is safe from collection for a while."""
        path = self._path(self._blobs, sha256)
        try:
            found = os.stat(path)
            if size is not None and found.st_size != size:
                return False
            if found.st_mtime < time.time() - MIN_AGE_S / 2:
                os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def read(self, sha256: str) -> bytes:
        """The content named `sha256`. Raises Corrupt if it is missing or is not what its name says."""
        path = self._path(self._blobs, sha256)
        try:
            with open(path, "rb", buffering=0) as file:
                data = file.read()
        except FileNotFoundError:
            raise Corrupt(f"content {sha256} is missing from {self.root}; it is fetched again") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            Path(path).unlink(missing_ok=True)
            raise Corrupt(f"content {sha256} in {self.root} was damaged on disk; it is fetched again")
        return data

    def save(self, tree: Tree) -> str:
        """Keep the index and return its digest."""
        _write(self._path(self._trees, tree.digest), encode_tree(tree))
        return tree.digest

    def load(self, digest: str) -> Tree:
        """The index named `digest`. Raises Corrupt."""
        path = self._path(self._trees, digest)
        try:
            tree = decode_tree(Path(path).read_bytes())
        except FileNotFoundError:
            raise Corrupt(f"tree {digest} is missing from {self.root}; it is fetched again") from None
        except (ValueError, msgspec.DecodeError) as failure:
            raise Corrupt(f"tree {digest} in {self.root} was damaged on disk: {failure}") from failure
        if tree.digest != digest:
            raise Corrupt(f"tree {digest} in {self.root} was damaged on disk; it is fetched again")
        return tree

    def touch(self, digest: str) -> None:
        """Keep a tree that is live no more, and its contents, for those who may still be reading it."""
        try:
            os.utime(self._path(self._trees, digest))
        except FileNotFoundError:
            return

    def collect(self, live: Iterable[str], *, min_age_s: float = MIN_AGE_S) -> Collected:
        """Remove what no tree in `live` refers to and nobody touched for `min_age_s` seconds.

        The age protects writers at work: their blobs are young, and a tree that was saved but not yet published, or
        retired a moment ago, is younger than that and counts as live.
        """
        deadline = time.time() - min_age_s
        kept = set(live)
        dead: list[os.DirEntry[str]] = []
        for found in self._files(self._trees):
            digest = Path(found.path).parent.name + found.name
            if digest not in kept and _older(found, deadline):
                dead.append(found)
            elif _SHA256.fullmatch(digest):
                kept.add(digest)
        # A live tree that cannot be read stops the collection: without it nobody knows what is garbage.
        used = {entry.sha256 for digest in kept if self._exists(digest) for entry in self.load(digest).entries}
        trees = [_remove(found, deadline) for found in dead]
        blobs = [
            _remove(found, deadline)
            for found in self._files(self._blobs)
            if Path(found.path).parent.name + found.name not in used
        ]
        removed = [size for size in blobs if size is not None]
        return Collected(len(removed), sum(size is not None for size in trees), sum(removed))

    def _exists(self, digest: str) -> bool:
        return os.path.exists(self._path(self._trees, digest))

    @staticmethod
    def _files(kind: Path) -> Iterator["os.DirEntry[str]"]:
        for directory in kind.iterdir():
            with os.scandir(directory) as found:
                yield from found

    @staticmethod
    def _path(kind: Path, digest: str) -> str:
        if not _SHA256.fullmatch(digest):
            raise ValueError(f"{digest!r} is not a SHA-256 in hex")
        return f"{kind}/{digest[:2]}/{digest[2:]}"


def _write(path: str, data: bytes | memoryview) -> None:
    directory, _, _ = path.rpartition("/")
    temporary = f"{directory}/{_TEMPORARY}{token_hex(8)}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
        os.rename(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _older(found: "os.DirEntry[str]", deadline: float) -> bool:
    try:
        return found.stat().st_mtime < deadline
    except FileNotFoundError:
        # A writer has renamed its temporary file since the directory was listed.
        return False


def _remove(found: "os.DirEntry[str]", deadline: float) -> int | None:
    try:
        # Looked at again, past the cache of the listing: a writer may have taken it into use meanwhile.
        status = os.stat(found.path)
        if status.st_mtime >= deadline:
            return None
        os.unlink(found.path)
    except FileNotFoundError:
        return None
    return status.st_size
