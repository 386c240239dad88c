"""Which files of a repository an app consists of, by what its kustomizations say; nothing is built for that.

`resources`, `bases` and `components` lead to files and directories. A directory without a kustomization consists of
all the YAML below it. What `images:` and `namespace:` say holds for all that is reached.
"""

from collections.abc import Iterator
from collections.abc import Mapping as Dictionary
from typing import Final, NamedTuple

from trimtab.images.events import Unreadable
from trimtab.images.marks import TOKEN, Mark, find_marks
from trimtab.images.nodes import Mapping, Node, Scalar, Sequence, Stream, parse
from trimtab.images.sweep import may_be_edited
from trimtab.manifests.refs import Key

KUSTOMIZATIONS: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_BOM: Final = b"\xef\xbb\xbf"
_LEADING: Final = ("resources", "bases", "components")
_DEEPEST: Final = 64
MOST_REACHED: Final = 50_000
"""Files and directories, counted once for each way to them."""


class Marked(NamedTuple):
    """The policy that a marker names, and what stands at the marker."""

    policy: Key
    value: str


class Entry(NamedTuple):
    """An entry of `images:` of a kustomization. What it does not set is empty."""

    path: str
    line: int
    name: str
    new_name: str
    tag: str
    digest: str
    mark: Marked | None = None


class Reached(NamedTuple):
    """A file that an app reads, with what kustomizations on the way to it set: the outermost first."""

    path: str
    entries: tuple[Entry, ...]
    namespace: str


class Files:
    """The YAML files of a commit, parsed once each."""

    def __init__(self, contents: Dictionary[str, bytes]) -> None:
        self.contents = {path: data for path, data in contents.items() if may_be_edited(path)}
        self.unread: dict[str, str] = {}
        """Files that are no YAML, and why."""
        self._streams: dict[str, Stream | None] = {}
        self._marks: dict[str, dict[int, Mark]] = {}
        self._directories = {path.rpartition("/")[0] for path in self.contents if _is_kustomization(path)}

    def stream(self, path: str) -> Stream | None:
        """The nodes of a file, if it can be read."""
        if path not in self._streams:
            self._streams[path] = self._parsed(path)
        return self._streams[path]

    def mark(self, path: str, *nodes: Node | None) -> Marked | None:
        """The marker at the first of `nodes` that has one."""
        stream = self.stream(path)
        if stream is None or TOKEN.encode() not in self.contents[path]:
            return None
        if path not in self._marks:
            marks = find_marks(self.contents[path].removeprefix(_BOM).decode(), stream)
            self._marks[path] = {id(mark.target): mark for mark in marks if mark.target is not None}
        for node in nodes:
            mark = self._marks[path].get(id(node))
            if mark is not None and mark.policy is not None:
                return Marked(mark.policy, mark.target.value if isinstance(mark.target, Scalar) else "")
        return None

    def tops(self, within: str) -> list[str]:
        """The directories that apps are made of: those below `within` that no other of them leads to, and itself."""
        if within in self._directories:
            return [within]
        below = [place for place in self._directories if _inside(place, within)]
        led = {target for place in self._directories for target in self._led(place) if target != place}
        tops = sorted(place for place in below if place not in led)
        return [*tops, within] if self._loose(within) else tops

    def reach(self, top: str) -> Iterator[Reached]:
        """The files that an app at `top` reads, once for each way that leads to them. Raises ValueError."""
        for count, one in enumerate(self._reach(top, (), "", frozenset()), 1):
            if count > MOST_REACHED:
                raise ValueError(
                    f"{top or 'the repository'} leads to more than {MOST_REACHED:,} files: name a smaller path"
                )
            if one is not None:
                yield one

    def _reach(
        self, place: str, entries: tuple[Entry, ...], namespace: str, seen: frozenset[str]
    ) -> Iterator[Reached | None]:
        yield None  # a way counts also if there is nothing at its end
        if place in seen or len(seen) > _DEEPEST:
            return  # a circle, which no build gets through
        if place not in self._directories:
            for path in self._loose(place):
                yield Reached(path, entries, namespace)
            return
        path, body = self._kustomization(place)
        if body is None:
            return
        entries = (*entries, *self._entries(path, body))
        namespace = namespace or body.text("namespace")
        for target in self._targets(place, body):
            if target in self.contents and not _is_kustomization(target):
                yield Reached(target, entries, namespace)
            elif target not in self.contents:
                yield from self._reach(target, entries, namespace, seen | {place})

    def _loose(self, place: str) -> list[str]:
        """The files below a directory that no kustomization there is in charge of."""
        return sorted(
            path
            for path in self.contents
            if _inside(path, place) and not _is_kustomization(path) and not self._is_governed(path, place)
        )

    def _is_governed(self, path: str, place: str) -> bool:
        above = path.rpartition("/")[0]
        while above != place and len(above) > len(place):
            if above in self._directories:
                return True
            above = above.rpartition("/")[0]
        return place in self._directories

    def _led(self, place: str) -> Iterator[str]:
        _, body = self._kustomization(place)
        if body is not None:
            yield from self._targets(place, body)

    def _targets(self, place: str, body: Mapping) -> Iterator[str]:
        for name in _LEADING:
            items = body.get(name)
            for item in items.items if isinstance(items, Sequence) else ():
                if isinstance(item, Scalar) and (target := _joined(place, item.value)) is not None:
                    yield target

    def _kustomization(self, place: str) -> tuple[str, Mapping | None]:
        for name in KUSTOMIZATIONS:
            path = f"{place}/{name}" if place else name
            if path in self.contents:
                stream = self.stream(path)
                document = stream.documents[0] if stream is not None and stream.documents else None
                return path, document if isinstance(document, Mapping) else None
        return "", None

    def _entries(self, path: str, body: Mapping) -> Iterator[Entry]:
        images = body.get("images")
        for item in images.items if isinstance(images, Sequence) else ():
            if isinstance(item, Mapping):
                name, new_name, tag, digest = (item.text(key) for key in ("name", "newName", "newTag", "digest"))
                mark = self.mark(path, item.get("newTag"), item, item.get("digest"))
                yield Entry(path, item.line, name, new_name, tag, digest, mark)

    def _parsed(self, path: str) -> Stream | None:
        try:
            return parse(self.contents[path].removeprefix(_BOM).decode())
        except Unreadable as problem:
            self.unread[path] = str(problem)
        except UnicodeDecodeError:
            self.unread[path] = "is not UTF-8"
        return None


def _is_kustomization(path: str) -> bool:
    return path.rpartition("/")[2] in KUSTOMIZATIONS


def _inside(path: str, place: str) -> bool:
    return not place or path == place or path.startswith(f"{place}/")


def _joined(place: str, said: str) -> str | None:
    """Where `said` leads from `place`; nothing for what is not in the repository."""
    if "://" in said or said.startswith("/") or "?" in said:
        return None
    parts = place.split("/") if place else []
    for part in said.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            return None
    return "/".join(parts)
