"""A directory on disk as an artifact: for builds without a controller, and for tests."""

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree
from trimtab.base.errors import Terminal

REVISION: Final = "local"
_SKIPPED: Final = frozenset({".git"})

Ignored: TypeAlias = Callable[[str], bool]
"""Whether a path, relative to the root, stays out of the artifact."""


def _nothing(_: str) -> bool:
    return False


class LocalFiles:
    """The files below `root` as they are now. Nothing is copied, and only what a build asks for is read."""

    revision = REVISION

    def __init__(self, root: Path, *, ignored: Ignored = _nothing) -> None:
        self.root = root
        self._ignored = ignored
        self._entries: dict[str, Entry | None] = {}
        self._directories: dict[str, tuple[Entry, ...]] = {}

    @property
    def tree(self) -> "LocalFiles":
        """The listing, which is this object too."""
        return self

    @property
    def digest(self) -> str:
        """Names this view, not the content: nothing is read for it."""
        return f"{self.root}#{id(self)}"

    def read(self, path: str, /) -> bytes:
        """The content of the file at `path`. Raises FileNotFoundError, Terminal for a link."""
        if self.get(path) is None:
            if (link := self.left_out_at(path)) is not None:
                raise Terminal("ArtifactFailed", f"{path} cannot be read: {link} is a link; replace it by a plain file")
            raise FileNotFoundError(path)
        return (self.root / path).read_bytes()

    def get(self, path: str, /) -> Entry | None:
        """The file at exactly `path`."""
        if path not in self._entries:
            self._entries[path] = self._look(path)
        return self._entries[path]

    def under(self, directory: str, /) -> Sequence[Entry]:
        """All files below `directory`, at any depth, sorted by path."""
        if directory not in self._directories:
            found = (self.get(path) for path in _walk(self.root, directory))
            entries = sorted((entry for entry in found if entry is not None), key=lambda entry: entry.path)
            self._directories[directory] = tuple(entries)
        return self._directories[directory]

    def has_directory(self, directory: str, /) -> bool:
        """Whether there is at least one file below `directory`."""
        return not directory or (self.left_out_at(directory) is None and bool(self.under(directory)))

    def left_out_at(self, path: str, /) -> str | None:
        """The link that makes `path` unreadable: itself or a directory above it."""
        parts = path.split("/")
        above = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        return next((place for place in above if place and (self.root / place).is_symlink()), None)

    def left_out_under(self, directory: str, /) -> Sequence[str]:
        """The links below `directory`, at any depth."""
        found = _walk(self.root, directory)
        return tuple(path for path in found if not self._ignored(path) and (self.root / path).is_symlink())

    def _look(self, path: str) -> Entry | None:
        if not path or self._ignored(path) or self.left_out_at(path) is not None:
            return None
        try:
            status = os.lstat(self.root / path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        digest = hashlib.sha256((self.root / path).read_bytes()).hexdigest()
        return Entry(path, digest, status.st_size, bool(status.st_mode & 0o100))


def snapshot_of_directory(
    store: Store, directory: Path, *, revision: str = REVISION, ignored: Ignored = _nothing
) -> Snapshot:
    """Everything below `directory` as an immutable snapshot in `store`; links are left out, `.git` is not looked at."""
    entries: list[Entry] = []
    left_out: list[str] = []
    for path in _walk(directory, ""):
        if ignored(path):
            continue
        status = os.lstat(directory / path)
        if stat.S_ISREG(status.st_mode):
            data = (directory / path).read_bytes()
            entries.append(Entry(path, store.put(data), len(data), bool(status.st_mode & 0o100)))
        else:
            left_out.append(path)
    return Snapshot(store, Tree.of(entries, left_out), revision)


def _walk(root: Path, directory: str) -> list[str]:
    """Paths, relative to `root`, of everything below `directory` that is not a directory."""
    found: list[str] = []
    for place, directories, names in os.walk(root / directory):
        relative = Path(place).relative_to(root)
        links = [name for name in directories if (Path(place) / name).is_symlink()]
        directories[:] = [name for name in directories if name not in _SKIPPED and name not in links]
        found += [(relative / name).as_posix() for name in (*names, *links)]
    return found
