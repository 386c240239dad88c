"""Which images the workloads of a cluster run, and which of them a name means. Pure."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from trimtab.base.errors import Terminal
from trimtab.images import naming
from trimtab.images.reference import name_of
from trimtab.manifests.refs import Body, Gvk

WORKLOADS: Final = (
    Gvk("apps", "v1", "Deployment"),
    Gvk("apps", "v1", "StatefulSet"),
    Gvk("apps", "v1", "DaemonSet"),
    Gvk("batch", "v1", "CronJob"),
)
_CONTAINERS: Final = ("initContainers", "containers")


class Running(NamedTuple):
    """A container of a workload: `version` is what is behind the name of its image, a tag, a digest, or both."""

    namespace: str
    workload: str
    container: str
    image: str
    version: str

    @property
    def tag(self) -> str:
        """The tag alone; empty where there is only a digest. Without both it is `latest`, as everywhere."""
        return self.version.partition("@")[0] if self.version else "latest"


def containers(body: Body) -> Iterator[Running]:
    """The containers of a workload, those that run before the others first."""
    metadata = body["metadata"]
    spec = body.get("spec") or {}
    if body["kind"] == "CronJob":
        spec = _at(_at(spec, "jobTemplate"), "spec")
    template = _at(_at(spec, "template"), "spec")
    for field in _CONTAINERS:
        for container in template.get(field) or ():
            reference = str(container.get("image", ""))
            name = name_of(reference)
            yield Running(
                namespace=str(metadata.get("namespace", "")),
                workload=f"{body['kind']}/{metadata['name']}",
                container=str(container.get("name", "")),
                image=name,
                version=reference[len(name) :].lstrip(":"),
            )


def canonical(image: str) -> str:
    """The name in full, so that two that mean the same are the same; as it is if it is none."""
    try:
        return naming.parse(image).canonical
    except Terminal:
        return image


def _at(body: Any, key: str) -> Any:
    return body.get(key) or {}
