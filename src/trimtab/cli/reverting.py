"""What a rollback restores: the files that an app is rendered from, then or now; whose else they are; which bumps end.

Pure, over commits that were read already.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final, NamedTuple

from trimtab.api.kustomize import Kustomization
from trimtab.artifacts import tree as artifact
from trimtab.base.errors import TrimtabError
from trimtab.commits.snapshot import Entry, Snapshot
from trimtab.images.events import Unreadable
from trimtab.images.marks import find_marks
from trimtab.images.nodes import Scalar, parse
from trimtab.images.sweep import may_be_edited
from trimtab.manifests.refs import Key
from trimtab.render.closure import read
from trimtab.render.files import normal
from trimtab.render.options import Options
from trimtab.sources.ignore import IGNORE_FILE, rules

HELD: Final = "Trimtab-Held"
"""The trailer that tells image automation what it must not write again: `NAMESPACE/POLICY VALUE`."""

_MOST_HELD: Final = 100


class GitFiles:
    """A commit, as what is rendered sees it: without what the source leaves out."""

    def __init__(self, snapshot: Snapshot, ignore: str | None) -> None:
        ignored = rules(ignore, snapshot.contents.get(IGNORE_FILE, b""))
        self.revision = snapshot.commit
        self._snapshot = snapshot
        self._ignored = ignored

    @cached_property
    def tree(self) -> artifact.Tree:
        """The listing."""
        entries: list[artifact.Entry] = []
        left_out: list[str] = []
        for path, entry in self._snapshot.entries.items():
            if self._ignored.excludes(path):
                continue
            if entry.regular:
                # Of a content, git's own name tells as much as a digest: it is only compared.
                entries.append(artifact.Entry(path, entry.oid, entry.size))
            else:
                left_out.append(path)
        return artifact.Tree.of(entries, left_out)

    def read(self, path: str, /) -> bytes:
        """The content of a file. Raises FileNotFoundError."""
        if self.tree.get(path) is None or path not in self._snapshot.contents:
            raise FileNotFoundError(path)
        return self._snapshot.contents[path]


def closure(files: GitFiles, app: Kustomization) -> set[str]:
    """The files that `app` is rendered from; all of its directory where they cannot be told."""
    directory = normal(app.spec.path)
    try:
        return set(read(files, app.spec.path, Options.from_spec(app.spec)).closure.files)
    except (TrimtabError, FileNotFoundError):
        return {entry.path for entry in files.tree.under(directory)}


class Reverted(NamedTuple):
    """What comes back (None: is taken away), and which of it other apps are rendered from too."""

    restored: Mapping[str, Entry | None]
    shared: Mapping[str, Sequence[Key]]
    held: tuple[str, ...]


def reverted(
    now: Snapshot, then: Snapshot, ignore: str | None, app: Kustomization, others: Iterable[Kustomization]
) -> Reverted:
    """The way from `now` back to `then`, for `app` alone."""
    present, past = GitFiles(now, ignore), GitFiles(then, ignore)
    paths = closure(present, app) | closure(past, app)
    restored = {path: then.entries.get(path) for path in paths if then.entries.get(path) != now.entries.get(path)}
    shared: dict[str, list[Key]] = {}
    if restored:
        for other in others:
            for path in restored.keys() & closure(present, other):
                shared.setdefault(path, []).append(other.key)
    return Reverted(restored, shared, _held(now, then, restored))


def _held(now: Snapshot, then: Snapshot, restored: Mapping[str, Entry | None]) -> tuple[str, ...]:
    """What stands at markers now and did not then: the values that image automation wrote and that are undone."""
    found: dict[str, None] = {}
    for path in sorted(restored):
        if may_be_edited(path) and path in now.contents:
            before = set(_marked(then.contents.get(path, b"")))
            found.update(dict.fromkeys(value for value in _marked(now.contents[path]) if value not in before))
    return tuple(found)[:_MOST_HELD]


def _marked(data: bytes) -> list[str]:
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode()
        marks = find_marks(text, parse(text))
    except (Unreadable, UnicodeDecodeError):
        return []
    return [
        f"{mark.policy} {mark.target.value}"
        for mark in marks
        if mark.policy is not None and isinstance(mark.target, Scalar)
    ]
