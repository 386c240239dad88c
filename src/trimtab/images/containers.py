"""The containers of a workload as they are written, and the images in the values of a HelmRelease."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from trimtab.images.nodes import Mapping, Node, Scalar, Sequence, followed
from trimtab.images.places import HELM_RELEASE, LISTS, POD
from trimtab.images.reference import name_of

_DEEPEST: Final = 6
"""Levels of a chart's values in which images are looked for."""
_TAGS: Final = ("tag", "imageTag")


class Written(NamedTuple):
    """An image: the name of its container, or the path to it in the values; the image in full; and where it stands."""

    container: str
    image: str
    node: Scalar | Mapping

    @property
    def parts(self) -> tuple[Node | None, ...]:
        """The values at which a marker may stand."""
        if isinstance(self.node, Scalar):
            return (self.node,)
        return (self.node, self.node.get("tag"), self.node.get("repository"))


def containers_of(body: Mapping) -> Iterator[Written]:
    """The images in an object, as it is written: what an alias leads to counts."""
    if body.text("kind") == HELM_RELEASE:
        yield from _in_values(_reach(body, ("spec", "values")), ())
        return
    for pod in POD:
        for lists in LISTS:
            items = _reach(body, (*pod, lists))
            for item in items.items if isinstance(items, Sequence) else ():
                one = followed(item)
                said = followed(one.get("image")) if isinstance(one, Mapping) else None
                if isinstance(one, Mapping) and isinstance(said, Scalar) and said.value:
                    yield Written(one.text("name"), said.value, said)


def _in_values(node: Node | None, path: tuple[str, ...]) -> Iterator[Written]:
    """`image: name:tag`, `image: name` beside `tag`, or a mapping of the parts."""
    if not isinstance(node, Mapping) or len(path) >= _DEEPEST:
        return
    for key, value in node.values.items():
        called = ".".join((*path, key))
        match value:
            case Mapping() if value.text("repository") and value.get("tag") is not None:
                yield Written(called, _composed(value), value)
            case Scalar() if key == "image" and value.value and not node.get("repository"):
                tag = next((text for name in _TAGS if (text := node.text(name))), "")
                whole = f"{value.value}:{tag}" if tag and name_of(value.value) == value.value else value.value
                yield Written(called, whole, value)
            case Mapping():
                yield from _in_values(value, (*path, key))


def _composed(values: Mapping) -> str:
    registry, repository, tag, digest = (values.text(key) for key in ("registry", "repository", "tag", "digest"))
    name = f"{registry}/{repository}" if registry else repository
    return f"{name}{f':{tag}' if tag else ''}{f'@{digest}' if digest else ''}"


def _reach(body: Mapping, path: tuple[str, ...]) -> Node | None:
    node: Node | None = body
    for key in path:
        node = followed(node)
        node = node.get(key) if isinstance(node, Mapping) else None
    return followed(node)
