"""What a rollback restores: the files that an app is rendered from, then or now; whose else they are; which bumps end.

Pure, over commits that were read already.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Dictionary
from typing import Final, NamedTuple

from trimtab.api.kustomize import Kustomization
from trimtab.base.errors import TrimtabError
from trimtab.cli.git.gitfiles import GitFiles
from trimtab.commits.snapshot import Entry, Snapshot
from trimtab.images.events import Unreadable
from trimtab.images.marks import find_marks
from trimtab.images.nodes import Mapping, Scalar, parse
from trimtab.images.sweep import may_be_edited
from trimtab.manifests.refs import Key
from trimtab.render.closure import read
from trimtab.render.files import normal
from trimtab.render.options import Options

_MOST_HELD: Final = 100


def closure(files: GitFiles, app: Kustomization) -> set[str]:
    """The files that `app` is rendered from; all of its directory where they cannot be told."""
    directory = normal(app.spec.path)
    try:
        return set(read(files, app.spec.path, Options.from_spec(app.spec)).closure.files)
    except (TrimtabError, FileNotFoundError):
        return {entry.path for entry in files.tree.under(directory)}


class Reverted(NamedTuple):
    """What comes back (None: is taken away), and which of it other apps are rendered from too."""

    restored: Dictionary[str, Entry | None]
    shared: Dictionary[str, Sequence[Key]]
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


def _held(now: Snapshot, then: Snapshot, restored: Dictionary[str, Entry | None]) -> tuple[str, ...]:
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
    values = [(mark.policy, _value(mark.target)) for mark in marks]
    return [f"{policy} {value}" for policy, value in values if policy is not None and value]


def _value(target: Scalar | Mapping | None) -> str:
    """What a marker marks, in one word: what is written there, or the image that a mapping describes in parts."""
    match target:
        case Scalar():
            return target.value
        case Mapping():
            name = next(filter(None, map(target.text, ("newName", "repository", "name"))), "")
            registry, digest = target.text("registry"), target.text("digest")
            tag = next(filter(None, map(target.text, ("newTag", "tag", "imageTag"))), "")
            whole = f"{registry}/{name}" if registry else name
            return f"{whole}{f':{tag}' if tag else ''}{f'@{digest}' if digest else ''}" if name else ""
    return ""
