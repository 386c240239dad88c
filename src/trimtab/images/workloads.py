"""What runs images, as it is written in a repository: workloads with their containers, and where each image is said."""

from collections.abc import Iterator
from collections.abc import Mapping as Dictionary
from typing import NamedTuple, TypeAlias

from trimtab.images.containers import containers_of
from trimtab.images.named import Named
from trimtab.images.nodes import Mapping, objects
from trimtab.images.pauses import Pause, annotations_of, pause_of
from trimtab.images.places import HELM_RELEASE, InKustomization, InWorkload, Where
from trimtab.images.reaching import Files, Marked, Reached
from trimtab.images.reference import name_of


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

    for one in containers_of(body):
        where = InWorkload(kind, namespace, name, one.container)
        slot = Slot(reached.path, where, name_of(one.image))
        made = Container(one.container, one.image, one.node.line, slot, files.mark(reached.path, *one.parts))
        yield made if kind == HELM_RELEASE else _through(made, reached)


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
