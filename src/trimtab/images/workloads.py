"""What runs images, as it is written in a repository: workloads with their containers, and where each image is said."""

from collections.abc import Iterator
from collections.abc import Mapping as Dictionary
from typing import Final, NamedTuple, TypeAlias

from trimtab.images.named import Named
from trimtab.images.nodes import Mapping, Node, Scalar, Sequence, followed, objects
from trimtab.images.pauses import Pause, annotations_of, pause_of
from trimtab.images.places import HELM_RELEASE, LISTS, POD, InKustomization, InWorkload, Where
from trimtab.images.reaching import Files, Marked, Reached
from trimtab.images.reference import name_of

_DEEPEST: Final = 6
"""Levels of a chart's values in which images are looked for."""
_TAGS: Final = ("tag", "imageTag")


class Slot(NamedTuple):
    """Where an image is set: in which file, and what there. `name` is the image's name as it is written there."""

    path: str
    where: Where
    name: str


class Container(NamedTuple):
    """A container and its image, as it comes out; in a HelmRelease an image in the values, by the path to it."""

    name: str
    image: str
    line: int
    slot: Slot
    mark: Marked | None = None

    @property
    def version(self) -> str:
        """The tag, with the digest where there is one; empty where neither is said."""
        return self.image[len(name_of(self.image)) :].removeprefix(":").removeprefix("@")

    @property
    def is_pinned(self) -> bool:
        """Whether it is said by a digest."""
        return "@" in self.image


WorkloadKey: TypeAlias = tuple[str, str, int, str]
"""Tells containers apart: app, file, line of the workload, name."""


class Workload(NamedTuple):
    """Something that runs images, in one app. `top` is the directory of that."""

    top: str
    path: str
    line: int
    kind: str
    namespace: str
    name: str
    annotations: Dictionary[str, str]
    containers: tuple[Container, ...]

    @property
    def pause(self) -> Pause | None:
        """What keeps its images as they are."""
        return pause_of(self.annotations)

    def key(self, container: Container) -> WorkloadKey:
        """Tells one of its containers from all others."""
        return self.top, self.path, self.line, container.name

    def fits(self, named: Named) -> bool:
        """Whether it is called that."""
        return (
            self.name == named.name
            and (not named.kind or named.kind.lower() == self.kind.lower())
            and (not named.namespace or self.namespace in ("", named.namespace))
        )

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


def workloads(files: Files, within: str = "") -> list[Workload]:
    """What runs images below a directory, by app and file. Raises ValueError beyond the limits."""
    found: dict[tuple[object, ...], Workload] = {}
    for top in files.tops(within):
        for reached in files.reach(top):
            for one in _in_file(files, top, reached):
                slots = tuple(container.slot for container in one.containers)
                # two apps that set the same image at the same place are one to whoever releases it
                found.setdefault((one.path, one.line, one.namespace, slots), one)
    return list(found.values())


def _in_file(files: Files, top: str, reached: Reached) -> Iterator[Workload]:
    if b"image" not in files.contents[reached.path].lower():
        return
    stream = files.stream(reached.path)
    if stream is None:
        return
    for body in objects(stream.documents):
        kind, name = body.text("kind"), body.text("metadata", "name")
        if not kind or not name:
            continue
        namespace = reached.namespace or body.text("metadata", "namespace")
        found = tuple(_containers(files, body, reached))
        if found:
            yield Workload(top, reached.path, body.line, kind, namespace, name, annotations_of(body), found)


def _containers(files: Files, body: Mapping, reached: Reached) -> Iterator[Container]:
    kind, namespace, name = body.text("kind"), body.text("metadata", "namespace"), body.text("metadata", "name")

    def container(called: str, image: str, node: Node) -> Container:
        where = InWorkload(kind, namespace, name, called)
        parts = (node.get("tag"), node.get("repository")) if isinstance(node, Mapping) else ()
        slot = Slot(reached.path, where, name_of(image))
        made = Container(called, image, node.line, slot, files.mark(reached.path, node, *parts))
        return made if kind == HELM_RELEASE else _through(made, reached)

    if kind == HELM_RELEASE:
        for path, image, node in _in_values(_reach(body, ("spec", "values")), ()):
            yield container(path, image, node)
        return
    for pod in POD:
        for lists in LISTS:
            items = _reach(body, (*pod, lists))
            for item in items.items if isinstance(items, Sequence) else ():
                one = followed(item)
                said = followed(one.get("image")) if isinstance(one, Mapping) else None
                if isinstance(one, Mapping) and isinstance(said, Scalar) and said.value:
                    yield container(one.text("name"), said.value, said)


def _through(container: Container, reached: Reached) -> Container:
    """`container` as the kustomizations on the way leave it: said where the outermost sets its version."""
    name, version = name_of(container.image), container.image[len(name_of(container.image)) :]
    for entry in reversed(reached.entries):
        if entry.name != name:
            continue
        name = entry.new_name or name
        if entry.tag or entry.digest:
            tag = f":{entry.tag}" if entry.tag else ""
            version = f"{tag}@{entry.digest}" if entry.digest else tag
            slot = Slot(entry.path, InKustomization(entry.name), entry.new_name or entry.name)
            container = container._replace(slot=slot, line=entry.line, mark=entry.mark)
    return container._replace(image=f"{name}{version}")


def _in_values(node: Node | None, path: tuple[str, ...]) -> Iterator[tuple[str, str, Node]]:
    """The images in a chart's values: `image: name:tag`, `image: name` beside `tag`, or a mapping of the parts."""
    if not isinstance(node, Mapping) or len(path) >= _DEEPEST:
        return
    for key, value in node.values.items():
        called = ".".join((*path, key))
        match value:
            case Mapping() if value.text("repository") and value.get("tag") is not None:
                yield called, _composed(value), value
            case Scalar() if key == "image" and value.value and not node.get("repository"):
                tag = next((text for name in _TAGS if (text := node.text(name))), "")
                yield (
                    called,
                    f"{value.value}:{tag}" if tag and name_of(value.value) == value.value else value.value,
                    value,
                )
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
