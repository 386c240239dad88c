"""One revision of a source: an index, and the store that holds its contents."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree
from trimtab.base.errors import Terminal


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a source was at `revision`. Immutable; readers need no lock."""

    store: Store
    tree: Tree
    revision: str

    def exists(self, path: str) -> bool:
        """Whether there is a file at `path`."""
        return self.tree.get(path) is not None

    def read(self, path: str) -> bytes:
        """The content of the file at `path`.

        Raises FileNotFoundError, Terminal for a path that was left out of the artifact, Corrupt for a damaged store.
        """
        return self.store.read(self._entry(path).sha256)

    def is_whole(self) -> bool:
        """Whether every content is still in the store; those that are, are safe from collection for a while. Blocks."""
        wanted = {entry.sha256: entry.size for entry in self.tree.entries}
        return len(self.store.keep_all(wanted.items())) == len(wanted)

    def materialise(self, dest: Path, paths: Iterable[str] = ("",)) -> None:
        """Write the files at and below `paths` as copies below `dest`, which must be a private directory.

        Raises what `read` raises; a path may be a directory. Left-out paths below a directory are passed over.
        """
        made: set[Path] = set()
        for entry in self._selected(paths):
            target = dest / entry.path
            if target.parent not in made:
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                made.add(target.parent)
            mode = 0o700 if entry.executable else 0o600
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.store.read(entry.sha256))

    def _selected(self, paths: Iterable[str]) -> list[Entry]:
        found: dict[str, Entry] = {}
        for path in paths:
            path = path.strip("/")
            whole = path in ("", ".")
            entries = self.tree.under(path) if whole or self.tree.has_directory(path) else (self._entry(path),)
            found.update((entry.path, entry) for entry in entries)
        return [found[path] for path in sorted(found)]

    def _entry(self, path: str) -> Entry:
        if entry := self.tree.get(path):
            return entry
        if (missing := self.tree.left_out_at(path)) is not None:
            raise Terminal(
                "ArtifactFailed",
                f"{path} cannot be read: {missing} is a link, a submodule, or a name that differs from another only "
                f"in case or is not portable, and was left out of the artifact; replace it by a plain file",
            )
        raise FileNotFoundError(path)
