"""What one step of a composition takes from a tree, and where that lands. Pure.

The rules are those of Flux's source-watcher, which are those of `cp -r`: a directory is copied as itself, `dir/**`
copies what is in it, a file goes into a destination that ends with a slash and else becomes it. What any other pattern
finds keeps its whole path. Links are in no tree; where one was left out of what is taken, that is passed on.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from trimtab.artifacts.archive import DEFAULT_LIMITS
from trimtab.artifacts.tree import Entry, Tree
from trimtab.manifests.wildcards import Wildcards, fixed_part, is_wild

OVERWRITE, MERGE, EXTRACT = "Overwrite", "Merge", "Extract"
_SOURCE = re.compile(r"@([a-z0-9](?:[a-z0-9_-]*[a-z0-9])?)/(.*)", re.DOTALL)
_TARGET = re.compile(r"@artifact/(.*)", re.DOTALL)
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\]")
_ARCHIVES = (".tar.gz", ".tgz")


class Taken(NamedTuple):
    """One file, or a path that was left out of the source (`entry` is None), and the path it gets."""

    path: str
    lands: str
    entry: Entry | None


class NothingFound(ValueError):
    """What is to be taken is not there."""


@dataclass(frozen=True, slots=True)
class Step:
    """One rule, read.

    `into`: the destination is a directory whatever there is. `more`: so many more patterns are in it than were written.
    """

    alias: str
    path: str
    wild: bool
    to: str
    into: bool
    strategy: str
    everywhere: Wildcards
    by_name: Wildcards
    more: int

    @classmethod
    def parse(cls, from_: str, to: str, exclude: Iterable[str] = (), strategy: str = "") -> "Step":
        """Raises ValueError for a rule that makes no sense, or would leave the artifact."""
        source, target = _SOURCE.fullmatch(from_), _TARGET.fullmatch(to)
        if source is None:
            raise ValueError(f"from {from_!a} is not of the form @alias/path")
        if target is None:
            raise ValueError(f"to {to!a} is not of the form @artifact/path")
        if strategy not in ("", OVERWRITE, MERGE, EXTRACT):
            raise ValueError(f"the strategy {strategy!a} is not known; it must be Overwrite, Merge or Extract")
        path, wild = _plain(source[2], "from", wild=True), is_wild(source[2])
        more = Wildcards([path]).more if wild else 0
        patterns = list(exclude)
        everywhere = Wildcards(patterns)
        return cls(
            source[1],
            path,
            wild,
            _plain(target[1], "to", wild=False),
            not target[1] or target[1].endswith("/"),
            strategy or OVERWRITE,
            everywhere,
            Wildcards(pattern for pattern in patterns if "/" not in pattern),
            more + everywhere.more,
        )

    def looks(self, tree: Tree) -> int:
        """How many files of `tree` are looked at to find what is taken."""
        return len(tree.under(fixed_part(self.path) if self.wild else self.path))

    def select(self, tree: Tree, has_directory: bool) -> list[Taken]:
        """What is taken from `tree`, by path. `has_directory`: there is one at the destination already.

        Raises NothingFound, and ValueError for what cannot be done so.
        """
        if self.wild and not self._is_one_path(tree):
            return self._matches(tree)
        entry = tree.get(self.path)
        if entry is not None:
            return self._file(entry, has_directory)
        if tree.has_directory(self.path) and (self.path or tree.entries):
            return self._directory(tree)
        if (missing := tree.left_out_at(self.path)) is not None:
            raise NothingFound(
                f"{missing} is a link, a submodule, or a name that differs from another only in case, and was left "
                "out of the source; replace it by a plain file"
            )
        raise NothingFound(f"there is no {self.path or 'file'!a} in @{self.alias}")

    def _is_one_path(self, tree: Tree) -> bool:
        """A name may have braces in it, which alone make no pattern to Flux."""
        braces = not any(char in self.path for char in "*?[")
        return braces and (tree.get(self.path) is not None or tree.has_directory(self.path))

    def _file(self, entry: Entry, has_directory: bool) -> list[Taken]:
        name = entry.path.rpartition("/")[2]
        if self.excludes(entry.path, ""):
            return []
        if self.strategy == EXTRACT:
            if not _is_archive(entry.path):
                raise ValueError(f"{entry.path} is not an archive: Extract takes .tar.gz and .tgz")
            return [Taken(entry.path, self.to, entry)]
        lands = _joined(self.to, name) if self.into or has_directory else self.to
        return [Taken(entry.path, lands, entry)]

    def _directory(self, tree: Tree) -> list[Taken]:
        if self.strategy == EXTRACT:
            raise ValueError(
                f"{self.path or 'the root'} is a directory: Extract takes files, such as {self.path}/*.tgz"
            )
        name = self.path.rpartition("/")[2]
        start = len(self.path) + 1 if self.path else 0
        found: list[Taken] = []
        inside = _Inside(self, self.path, everything=True)
        for path, entry in _under(tree, self.path):
            if inside.takes(path):
                found.append(Taken(path, _joined(self.to, name, path[start:]), entry))
        return found

    def _matches(self, tree: Tree) -> list[Taken]:
        base = fixed_part(self.path)
        # `dir/**` is what is in the directory; any other pattern leaves paths as they are
        cut = len(self.path) - 2 if self.path.endswith("/**") and not is_wild(self.path[:-3]) else 0
        inside = _Inside(self, base, everything=False)
        found = [
            Taken(path, self.to if self.strategy == EXTRACT else _joined(self.to, path[cut:]), entry)
            for path, entry in _under(tree, base)
            if inside.takes(path)
        ]
        if not found:
            others = f"what {self.path!a} finds" if inside.found else f"nothing matches {self.path!a}"
            words = f"{others} in @{self.alias} is excluded" if inside.found else f"{others} in @{self.alias}"
            raise NothingFound(words)
        if self.strategy == EXTRACT:
            return [taken for taken in found if taken.entry is not None and _is_archive(taken.path)]
        return found

    def excludes(self, path: str, base: str) -> bool:
        """By the whole path, by the path below `base`, or by the name alone."""
        if self.everywhere.match(path) or self.by_name.match(path.rpartition("/")[2]):
            return True
        return bool(base) and path.startswith(base + "/") and self.everywhere.match(path[len(base) + 1 :])


class _Inside:
    """Walks down to paths, and remembers of every directory on the way what became of it."""

    def __init__(self, step: Step, base: str, *, everything: bool) -> None:
        self._step = step
        self._base = base
        self._pattern = None if everything else Wildcards([step.path])
        self._files_only = step.strategy == EXTRACT
        # a directory is taken with all that is in it, or left with all that is in it, or neither
        self._known: dict[str, bool | None] = {base: True if everything else None}
        self.found = False

    def takes(self, path: str) -> bool:
        above = self._directory(path.rpartition("/")[0])
        return above is not False and self._judge(path, above, directory=False) is True

    def _directory(self, path: str) -> bool | None:
        if path not in self._known:
            above = self._directory(path.rpartition("/")[0])
            self._known[path] = False if above is False else self._judge(path, above, directory=True)
        return self._known[path]

    def _judge(self, path: str, above: bool | None, *, directory: bool) -> bool | None:
        taken = above
        if taken is None and not (directory and self._files_only):
            taken = True if self._pattern is not None and self._pattern.match(path) else None
        if taken is None:
            return None
        self.found = True
        return not self._step.excludes(path, self._base)


def _under(tree: Tree, base: str) -> Iterator[tuple[str, Entry | None]]:
    """Files and left-out paths below a directory, by path."""
    left_out = [(path, None) for path in tree.left_out_under(base)]
    entries: list[tuple[str, Entry | None]] = [(entry.path, entry) for entry in tree.under(base)]
    yield from sorted([*entries, *left_out], key=lambda found: found[0]) if left_out else entries


def _plain(path: str, field: str, *, wild: bool) -> str:
    """`path` without empty parts and dots. Raises ValueError if it leads elsewhere."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts:
        raise ValueError(f"{field} {path!a} leads out: a path may neither begin with a slash nor have .. in it")
    if not wild and _UNFIT.search(path):
        raise ValueError(f"{field} {path!a} has a backslash or a control character in it")
    if len(parts) > DEFAULT_LIMITS.depth:
        raise ValueError(f"{field} has {len(parts)} directories; the limit is {DEFAULT_LIMITS.depth}")
    return "/".join(parts)


def _joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _is_archive(path: str) -> bool:
    return path.lower().endswith(_ARCHIVES)
