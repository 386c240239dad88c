"""A commit, as what is rendered sees it: without what the source leaves out."""

import hashlib
from collections.abc import Mapping
from functools import cached_property

from trimtab.artifacts import tree as artifact
from trimtab.base.errors import Terminal
from trimtab.commits.snapshot import Snapshot
from trimtab.sources.ignore import IGNORE_FILE, rules


class GitFiles:
    """The files of a commit, with `edited` in place of some of them."""

    def __init__(self, snapshot: Snapshot, ignore: str | None, edited: Mapping[str, bytes] | None = None) -> None:
        self.revision = snapshot.commit
        self._snapshot = snapshot
        self._edited = edited or {}
        self._ignored = rules(ignore, snapshot.contents.get(IGNORE_FILE, b""))

    @cached_property
    def tree(self) -> artifact.Tree:
        """The listing."""
        entries: list[artifact.Entry] = []
        left_out: list[str] = []
        for path, entry in self._snapshot.entries.items():
            if self._ignored.excludes(path):
                continue
            if not entry.regular:
                left_out.append(path)
            elif (data := self._edited.get(path)) is not None:
                entries.append(artifact.Entry(path, hashlib.sha256(data).hexdigest(), len(data)))
            else:
                # Of a content, git's own name tells as much as a digest: it is only compared.
                entries.append(artifact.Entry(path, entry.oid, entry.size))
        return artifact.Tree.of(entries, left_out)

    def read(self, path: str, /) -> bytes:
        """The content of a file. Raises FileNotFoundError, Terminal for a link."""
        if self.tree.get(path) is None:
            if (link := self.tree.left_out_at(path)) is not None:
                raise Terminal("ArtifactFailed", f"{path} cannot be read: {link} is a link or a submodule")
            raise FileNotFoundError(path)
        return self._edited[path] if path in self._edited else self._snapshot.contents[path]
