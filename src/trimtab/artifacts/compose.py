"""One tree from parts of others. Contents are named, not copied: only what is merged or unpacked is written anew."""

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from trimtab.artifacts.archive import DEFAULT_LIMITS, BadArchive, Limits, Link, Member, read_archive
from trimtab.artifacts.merging import merge_files
from trimtab.artifacts.recipe import EXTRACT, MERGE, Step, Taken
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree, without_collisions
from trimtab.base.errors import Terminal

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Uncomposable(Terminal):
    """The rules and what they find do not make an artifact; nothing of it may be used."""

    def __init__(self, message: str) -> None:
        super().__init__("BuildFailed", message)


def compose(
    steps: Iterable[Step], sources: Mapping[str, Snapshot], store: Store, *, limits: Limits = DEFAULT_LIMITS
) -> Tree:
    """What the steps make of the sources, by alias, one after the other.

    Raises Uncomposable, and Corrupt if a content was lost. The same steps and trees give the same tree.
    """
    work = _Composition(store, limits)
    for number, step in enumerate(steps):
        try:
            work.apply(step, sources[step.alias])
        except Terminal as failure:
            raise Uncomposable(f"copy[{number}]: {failure.message}") from failure
        except ValueError as failure:
            raise Uncomposable(f"copy[{number}]: {failure}") from failure
    return work.tree()


class _Composition:
    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._files: dict[str, Entry] = {}
        self._left_out: set[str] = set()
        self._directories: set[str] = set()
        self._bytes = 0
        self._written_bytes = self._written_files = 0

    def apply(self, step: Step, source: Snapshot) -> None:
        for taken in step.select(source.tree, step.to in self._directories):
            if taken.entry is None:
                self._leave_out(taken.lands)
            elif step.strategy == EXTRACT:
                self._extract(source, taken)
            elif step.strategy == MERGE and taken.lands in self._files:
                self._merge(source, taken)
            else:
                self._place(taken.lands, taken.entry.sha256, taken.entry.size, taken.entry.executable)

    def tree(self) -> Tree:
        entries, collided = without_collisions(self._files.values())
        if not entries:
            # What renders to nothing would have everything pruned, which is never what a mistake may do.
            raise Uncomposable("nothing is left of it: an artifact without files is not published")
        return Tree.of(entries, [*collided, *(path for path in self._left_out if path not in self._files)])

    def _merge(self, source: Snapshot, taken: Taken) -> None:
        below = self._files[taken.lands]
        self._spend(below.size + (taken.entry.size if taken.entry else 0))
        merged = merge_files(
            self._store.read(below.sha256), source.read(taken.path), taken.lands, f"{taken.path} in the source"
        )
        self._place(taken.lands, self._store.put(merged), len(merged), below.executable)

    def _extract(self, source: Snapshot, taken: Taken) -> None:
        left = replace(self._limits, bytes=self._limits.bytes - self._bytes)
        try:
            for found in read_archive(io.BytesIO(source.read(taken.path)), left):
                lands = f"{taken.lands}/{found.path}" if taken.lands else found.path
                self._spend(len(found.data) if isinstance(found, Member) else 0)
                match found:
                    case Link():
                        self._leave_out(lands)
                    case Member(_, data, executable):
                        self._place(lands, self._store.put(data), len(data), executable)
        except BadArchive as failure:
            raise Uncomposable(f"{taken.path}: {failure.message}") from failure

    def _place(self, path: str, sha256: str, size: int, executable: bool) -> None:
        self._check(path)
        before = self._files.get(path)
        self._bytes += size - (before.size if before else 0)
        if self._bytes > self._limits.bytes:
            raise Uncomposable(f"it comes to more than {self._limits.bytes} bytes")
        self._files[path] = Entry(path, sha256, size, executable)
        if len(self._files) > self._limits.members:
            raise Uncomposable(f"it comes to more than {self._limits.members} files")

    def _spend(self, size: int) -> None:
        """Count what is unpacked or merged. What is overwritten later was work and disk all the same."""
        self._written_bytes += size
        self._written_files += 1
        if self._written_bytes > 2 * self._limits.bytes:
            raise Uncomposable(f"more than {2 * self._limits.bytes} bytes are unpacked and merged for it")
        if self._written_files > 2 * self._limits.members:
            raise Uncomposable(f"more than {2 * self._limits.members} files are unpacked and merged for it")

    def _leave_out(self, path: str) -> None:
        self._left_out.add(path)
        if len(self._left_out) > self._limits.members:
            raise Uncomposable(f"more than {self._limits.members} links are in it")

    def _check(self, path: str) -> None:
        parts = path.split("/")
        if len(parts) > self._limits.depth or len(path.encode()) > self._limits.path_bytes:
            raise Uncomposable(f"the path {path[:100]!a}… is too long, or too deep")
        if _CONTROL.search(path) or any(part in ("", ".", "..") for part in parts):
            raise Uncomposable(f"{path[:100]!a} is not a plain path")
        if path in self._directories:
            raise Uncomposable(f"{path!a} would be a file, and is a directory already: end it with a slash")
        for end in range(len(parts) - 1, 0, -1):
            directory = "/".join(parts[:end])
            if directory in self._directories:
                return
            if directory in self._files:
                raise Uncomposable(f"{directory!a} would be a directory, and is a file already")
            self._directories.add(directory)
