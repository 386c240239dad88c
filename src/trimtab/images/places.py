"""Places without a marker, by name: the container of a workload, the image in a HelmRelease, an entry of `images:`.

They are looked for in the text as it is written. What an anchor or a merge shares with other places is refused: a
change there would change those as well.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from trimtab.images.nodes import Alias, Mapping, Node, Scalar, Sequence, Stream, objects
from trimtab.images.reference import Image
from trimtab.images.shapes import Misfit, Setting, beside, in_entry, in_values

HELM_RELEASE: Final = "HelmRelease"
POD: Final = (
    ("spec",),
    ("spec", "template", "spec"),
    ("spec", "jobTemplate", "spec", "template", "spec"),
)
LISTS: Final = ("containers", "initContainers")
_KUSTOMIZATIONS: Final = frozenset({"Kustomization", "Component"})
_IMAGE: Final = "image"


class InWorkload(NamedTuple):
    """A container of a workload; without a container's name, the only one. An empty kind or namespace: any.

    In a HelmRelease the containers are the images in its values, by the path to them, such as `sidecar.image`; without
    a name it is `image`.
    """

    kind: str
    namespace: str
    name: str
    container: str = ""

    def __str__(self) -> str:
        named = "/".join(part for part in (self.kind, self.namespace, self.name) if part)
        return f"{named}:{self.container}" if self.container else named


class InKustomization(NamedTuple):
    """The entries of `images:` with this `name`, in kustomizations and in Kustomizations of Flux."""

    name: str

    def __str__(self) -> str:
        return f"images {self.name}"


Where: TypeAlias = InWorkload | InKustomization


class Found(NamedTuple):
    """What is to be set at a place."""

    settings: list[Setting]
    line: int


def may_have(data: bytes, where: Where) -> bool:
    """Whether a file could have the place at all: a quick look before it is parsed."""
    return where.name.encode() in data


def find(stream: Stream, where: Where, image: Image) -> Iterator[Found | Misfit]:
    """The places in a text, each with what to set, or with why that cannot be done."""
    for body in objects(stream.documents):
        holders = _containers(body, where) if isinstance(where, InWorkload) else _entries(body, where)
        for holder in holders:
            if isinstance(holder, Misfit):
                yield holder
                continue
            try:
                yield Found(_settings(holder, where, image), holder.node.line)
            except Misfit as misfit:
                yield misfit


class _Holder(NamedTuple):
    """The mapping that an image is in, and under which key; an empty key: the mapping itself."""

    node: Mapping
    key: str = ""


def _settings(holder: _Holder, where: Where, image: Image) -> list[Setting]:
    if isinstance(where, InKustomization):
        return in_entry(holder.node, image)
    value = holder.node.get(holder.key)
    match value:
        case Scalar() if where.kind == HELM_RELEASE or holder.key != _IMAGE or holder.node.get("repository"):
            return beside(holder.node, holder.key, image)
        case Scalar():
            return [Setting(value, str(image))]
        case Mapping():
            return in_values(value, image)
        case None:
            raise Misfit(holder.node.line, "has no image: add the line `image: ...` for it to be set")
        case _:
            raise Misfit(value.line, "has its image in an alias or a list: write it there, or mark it at the anchor")


def _containers(body: Mapping, where: InWorkload) -> Iterator[_Holder | Misfit]:
    kind, namespace = body.text("kind"), body.text("metadata", "namespace")
    if body.text("metadata", "name") != where.name or (where.kind and where.kind != kind):
        return
    if where.namespace and namespace not in ("", where.namespace):
        return
    if kind == HELM_RELEASE:
        yield from _in_values(body, where)
        return
    found: list[_Holder] = []
    everything: list[_Holder] = []
    for path in POD:
        for name in LISTS:
            items = _reach(body, (*path, name))
            if isinstance(items, Misfit):
                yield items
                continue
            for item in items.items if isinstance(items, Sequence) else ():
                if isinstance(item, Alias):
                    yield Misfit(item.line, "is a container by an alias: write it out")
                elif isinstance(item, Mapping):
                    if name == LISTS[0]:
                        everything.append(_Holder(item, _IMAGE))
                    if where.container and item.text("name") == where.container:
                        found.append(_Holder(item, _IMAGE))
    if where.container:
        yield from found
    elif len(everything) == 1:
        yield everything[0]
    elif everything:
        names = ", ".join(holder.node.text("name") for holder in everything)
        yield Misfit(body.line, f"has {len(everything)} containers ({names}): name one of them")


def _in_values(body: Mapping, where: InWorkload) -> Iterator[_Holder | Misfit]:
    *path, key = (where.container or _IMAGE).split(".")
    holder = _reach(body, ("spec", "values", *path))
    if isinstance(holder, Misfit):
        yield holder
    elif isinstance(holder, Mapping) and holder.get(key) is not None:
        yield _Holder(holder, key)


def _entries(body: Mapping, where: InKustomization) -> Iterator[_Holder | Misfit]:
    if body.text("kind") not in ("", *_KUSTOMIZATIONS):
        return
    for path in (("images",), ("spec", "images")):
        items = _reach(body, path)
        if isinstance(items, Misfit):
            yield items
            continue
        for item in items.items if isinstance(items, Sequence) else ():
            if isinstance(item, Mapping) and item.text("name") == where.name:
                yield _Holder(item)


def _reach(body: Mapping, path: tuple[str, ...]) -> Node | Misfit | None:
    """What `path` leads to, unless it leads through an alias or what a `<<` brings along."""
    node: Node | None = body
    for key in path:
        if not isinstance(node, Mapping):
            return None
        value = node.get(key)
        if isinstance(value, Alias):
            return Misfit(value.line, f"has {key} by an alias, which other places share: write it out")
        if value is None and node.get("<<") is not None:
            return Misfit(node.line, f"may have {key} by a merge (<<), which other places share: write it out")
        node = value
    return node
