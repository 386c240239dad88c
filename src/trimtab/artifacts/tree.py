"""The index of a snapshot: which file holds which content. Immutable, and cheap to compare."""

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

import msgspec

_PATH = attrgetter("path")


class Entry(NamedTuple):
    """One regular file. `hint` is the remote's own name of the content (a git object id): it saves reading it again."""

    path: str
    sha256: str
    size: int
    executable: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Tree:
    """All files of a snapshot, sorted by path, and the paths that were left out: links, submodules, case collisions."""

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
    """`entries` without those whose paths differ only in case, and the paths of those.

    None of them is kept: which one would survive on another machine's disk is chance.
    """
    entries = list(entries)
    seen: dict[str, int] = {}
    for entry in entries:
        folded = entry.path.casefold()
        seen[folded] = seen.get(folded, 0) + 1
    if len(seen) == len(entries):
        return entries, []
    kept = [entry for entry in entries if seen[entry.path.casefold()] == 1]
    return kept, [entry.path for entry in entries if seen[entry.path.casefold()] > 1]
