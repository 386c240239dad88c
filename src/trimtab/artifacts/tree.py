"""The index of a snapshot: which file holds which content. Immutable, and cheap to compare."""

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

import msgspec

_PATH = attrgetter("path")
_STRANGE = re.compile(r"[\\\x00-\x1f\x7f]|\.\./")


class Entry(NamedTuple):
    """One regular file. `hint` is the remote's own name of the content (a git object id): it saves reading it again."""

    path: str
    sha256: str
    size: int
    executable: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Tree:
    """All files of a snapshot, sorted by path, and the paths that were left out: links, submodules, collisions."""

    entries: tuple[Entry, ...]
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[Entry], left_out: Iterable[str] = ()) -> "Tree":
        """The tree of `entries` in any order."""
        return cls(tuple(sorted(entries, key=_PATH)), tuple(sorted(set(left_out))))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of paths, contents, modes and what was left out; hints and sizes follow from those."""
        return _digest(self.entries, self.left_out)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    def get(self, path: str) -> Entry | None:
        """The file at exactly `path`."""
        at = bisect_left(self.entries, path, key=_PATH)
        if at < len(self.entries) and self.entries[at].path == path:
            return self.entries[at]
        return None

    def under(self, directory: str) -> Sequence[Entry]:
        """All files below `directory`, at any depth. The root is the empty string or a dot."""
        prefix = _prefix(directory)
        if not prefix:
            return self.entries
        first = bisect_left(self.entries, prefix, key=_PATH)
        return self.entries[first : bisect_left(self.entries, _after(prefix), lo=first, key=_PATH)]

    def has_directory(self, directory: str) -> bool:
        """Whether there is at least one file below `directory`."""
        prefix = _prefix(directory)
        at = bisect_left(self.entries, prefix, key=_PATH)
        return not prefix or (at < len(self.entries) and self.entries[at].path.startswith(prefix))

    def left_out_under(self, directory: str) -> Sequence[str]:
        """What was left out below `directory`."""
        prefix = _prefix(directory)
        return tuple(path for path in self.left_out if path.startswith(prefix))

    def left_out_at(self, path: str) -> str | None:
        """What was left out and makes `path` unreadable: `path` itself or a directory above it that was a link."""
        for missing in self.left_out:
            if path == missing or path.startswith(missing + "/"):
                return missing
        return None

    def closure(self, paths: Iterable[str]) -> str:
        """SHA-256 (hex) over everything at and below `paths`, files or directories.

        A path that is missing counts too: the digest changes when it appears.
        """
        whole = hashlib.sha256()
        for path in sorted(set(paths)):
            exact = self.get(path)
            entries = (exact,) if exact else tuple(self.under(path))
            missing = [one for one in self.left_out if one == path or one.startswith(_prefix(path))]
            whole.update(f"{path}\0{_digest(entries, missing)}\n".encode())
        return whole.hexdigest()


def touched(before: Tree, after: Tree) -> frozenset[str]:
    """The directories in or below which anything differs; the root is the empty string."""
    files = {entry[:4] for entry in before.entries} ^ {entry[:4] for entry in after.entries}
    found: set[str] = set()
    for path in {path for path, *_ in files} | set(before.left_out) ^ set(after.left_out):
        while path and (path := path.rpartition("/")[0]) not in found:
            found.add(path)
    return frozenset(found)


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    format: int
    entries: tuple[Entry, ...]
    left_out: tuple[str, ...]


_FORMAT = 1
_decoder = msgspec.json.Decoder(_Stored)


def encode_tree(tree: Tree) -> bytes:
    """`tree` as it is stored."""
    return msgspec.json.encode(_Stored(_FORMAT, tree.entries, tree.left_out))


def decode_tree(data: bytes) -> Tree:
    """The tree stored as `data`. Raises ValueError for anything else."""
    stored = _decoder.decode(data)
    if stored.format != _FORMAT:
        raise ValueError(f"format {stored.format} of the tree index is not known")
    return Tree(stored.entries, stored.left_out)


def _digest(entries: Iterable[Entry], left_out: Iterable[str]) -> str:
    # NUL cannot be part of a path, so nothing can be shifted from one field to the next.
    lines = [f"{'x' if entry.executable else '-'}\0{entry.sha256}\0{entry.path}\0" for entry in entries]
    lines += [f"l\0\0{path}\0" for path in left_out]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _prefix(directory: str) -> str:
    directory = directory.strip("/")
    return "" if directory in ("", ".") else directory + "/"


def _after(prefix: str) -> str:
    """The first string after all that start with `prefix`, which ends in a slash."""
    return prefix[:-1] + chr(ord("/") + 1)


def without_collisions(entries: Iterable[Entry]) -> tuple[list[Entry], list[str]]:
    """`entries` without those that are not one file everywhere, and the paths of those.

    Paths that differ only in case collide, also where one of them is a directory, and none of them is kept: which one
    would survive on another machine's disk is chance. A backslash is a slash on some machines, and with it, with a
    directory whose name ends in two dots, or with a control character other readers refuse the whole archive.
    """
    entries, strange = list(entries), list[str]()
    if any(_STRANGE.search(entry.path) for entry in entries):
        strange = [entry.path for entry in entries if _STRANGE.search(entry.path)]
        entries = [entry for entry in entries if not _STRANGE.search(entry.path)]
    files: dict[str, int] = {}
    for entry in entries:
        folded = entry.path.casefold()
        files[folded] = files.get(folded, 0) + 1
    clashes = {folded for folded, number in files.items() if number > 1}
    clashes |= files.keys() & _directories(entries)
    if not clashes:
        return entries, strange

    def collides(path: str) -> bool:
        folded = path.casefold()
        return folded in clashes or any(above in clashes for above in _above(folded))

    return [one for one in entries if not collides(one.path)], [
        *strange,
        *(one.path for one in entries if collides(one.path)),
    ]


def _directories(entries: Iterable[Entry]) -> set[str]:
    found: set[str] = set()
    for directory in {entry.path.rpartition("/")[0] for entry in entries} - {""}:
        found.update(_above(directory.casefold() + "/"))
    return found


def _above(path: str) -> Iterable[str]:
    """The directories that `path` lies in, the nearest first."""
    while path := path.rpartition("/")[0]:
        yield path
