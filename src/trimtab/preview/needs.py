"""What an object needs to run: the objects it names, and its images; and what an object brings with it.

Bodies come from files, so nothing about their form is taken for granted: what is malformed needs nothing here, and the
server says what is wrong with it.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from trimtab.manifests.pointers import Keys, Part, format_path
from trimtab.manifests.refs import Body, Ref

_POD: Final = ("spec",)
_TEMPLATE: Final = ("spec", "template", "spec")
_CRON: Final = ("spec", "jobTemplate", "spec", "template", "spec")
_CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")
_OF_NAMESPACES: Final = (("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt"))
"""What the cluster makes in every namespace."""
_CLASSES: Final = {
    "priorityClassName": Ref("scheduling.k8s.io", "PriorityClass", "", ""),
    "runtimeClassName": Ref("node.k8s.io", "RuntimeClass", "", ""),
}
_SEALED: Final = ("bitnami.com", "SealedSecret")
_EXTERNAL: Final = ("external-secrets.io", "ExternalSecret")
_CERTIFICATE: Final = ("cert-manager.io", "Certificate")


class Need(NamedTuple):
    """An object that another names at `path`, and the entry of it that has to be there, if any."""

    ref: Ref
    path: str
    entry: str = ""


class Image(NamedTuple):
    """An image that an object names at `path`."""

    name: str
    path: str


class Pod(NamedTuple):
    """The specification of Pods in an object, and where it stands there."""

    spec: dict[str, Any]
    path: tuple[Part, ...]


def pod_of(body: Body) -> Pod | None:
    """What Pods an object is or makes; None if it makes none."""
    kind, api = body.get("kind"), str(body.get("apiVersion"))
    path = _POD if (kind, api) == ("Pod", "v1") else _CRON if kind == "CronJob" else _TEMPLATE
    spec: Any = body
    for name in path:
        spec = spec.get(name) if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(spec.get("containers"), list):
        return None
    return Pod(spec, path)


def images(body: Body) -> list[Image]:
    """The images of an object, each once, at the first place it stands."""
    pod = pod_of(body)
    if pod is None:
        return []
    found: dict[str, str] = {}
    for container, at in _containers(pod):
        if isinstance(name := container.get("image"), str) and name:
            found.setdefault(name, format_path((*at, "image")))
    for volume, at in _named(pod.spec, "volumes", pod.path):
        if isinstance(name := _map(volume.get("image")).get("reference"), str) and name:
            found.setdefault(name, format_path((*at, "image", "reference")))
    return [Image(name, path) for name, path in found.items()]


def pull_secrets(body: Body) -> tuple[list[str], str]:
    """The names of the Secrets that the images of an object are pulled with, and of its account, which may have more.

    All are in the object's own namespace.
    """
    pod = pod_of(body)
    if pod is None:
        return [], ""
    account = pod.spec.get("serviceAccountName") or "default"
    named = [_map(item).get("name") for item in _list(pod.spec.get("imagePullSecrets"))]
    return [name for name in named if isinstance(name, str) and name], account if isinstance(account, str) else ""


def needs(body: Body, namespace: str) -> list[Need]:
    """What an object of `namespace` names and cannot do without; what is optional is left out."""
    return list(dict.fromkeys(_needs(body, namespace)))


def brings(body: Body) -> list[Ref]:
    """What will be there besides `body` once it is: made by the cluster, or by an operator that reads it."""
    group = str(body.get("apiVersion")).rpartition("/")[0]
    kind, metadata = body.get("kind"), _map(body.get("metadata"))
    name, namespace = metadata.get("name"), metadata.get("namespace") or ""
    spec = _map(body.get("spec"))
    match (group, kind):
        case ("", "Namespace"):
            return [Ref("", made, str(name), known) for made, known in _OF_NAMESPACES]
        case one if one == _SEALED:
            made = _map(_map(spec.get("template")).get("metadata")).get("name") or name
        case one if one == _EXTERNAL:
            made = _map(spec.get("target")).get("name") or name
        case one if one == _CERTIFICATE:
            made = spec.get("secretName")
        case _:
            return []
    return [Ref("", "Secret", namespace, made)] if isinstance(made, str) and made else []


def always_there(ref: Ref) -> bool:
    """Whether the cluster itself makes `ref` in every namespace."""
    return not ref.group and (ref.kind, ref.name) in _OF_NAMESPACES


def _needs(body: Body, namespace: str) -> Iterator[Need]:
    if body.get("kind") == "Ingress":
        for place, item in enumerate(_list(_map(body.get("spec")).get("tls"))):
            yield from _need("Secret", namespace, _map(item).get("secretName"), ("spec", "tls", place, "secretName"))
    pod = pod_of(body)
    if pod is None:
        return
    if account := pod.spec.get("serviceAccountName"):
        yield from _need("ServiceAccount", namespace, account, (*pod.path, "serviceAccountName"))
    for field, ref in _CLASSES.items():
        if isinstance(name := pod.spec.get(field), str) and name:
            yield Need(ref._replace(name=name), format_path((*pod.path, field)))
    for item, at in _named(pod.spec, "imagePullSecrets", pod.path):
        yield from _need("Secret", namespace, item.get("name"), at)
    for volume, at in _named(pod.spec, "volumes", pod.path):
        yield from _of_volume(volume, namespace, at)
        claim = _map(volume.get("persistentVolumeClaim"))
        yield from _need("PersistentVolumeClaim", namespace, claim.get("claimName"), (*at, "persistentVolumeClaim"))
        for place, source in enumerate(_list(_map(volume.get("projected")).get("sources"))):
            yield from _of_volume(_map(source), namespace, (*at, "projected", "sources", place))
    for container, at in _containers(pod):
        for variable, where in _named(container, "env", at):
            chosen = _map(variable.get("valueFrom"))
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                source = _map(chosen.get(field))
                if source.get("optional") is not True:
                    key = source.get("key")
                    yield from _need(kind, namespace, source.get("name"), (*where, "valueFrom", field), key)
        for number, item in enumerate(_list(container.get("envFrom"))):
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                source = _map(_map(item).get(field))
                if source.get("optional") is not True:
                    yield from _need(kind, namespace, source.get("name"), (*at, "envFrom", number, field))


def _of_volume(volume: dict[str, Any], namespace: str, at: tuple[Part, ...]) -> Iterator[Need]:
    """A volume, or one source of a projected one, which calls a Secret by another field."""
    for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
        source = _map(volume.get(field))
        if source.get("optional") is True:
            continue
        name = source.get("secretName") or source.get("name")
        items = _list(source.get("items"))
        if not items:
            yield from _need(kind, namespace, name, (*at, field))
        for place, item in enumerate(items):
            yield from _need(kind, namespace, name, (*at, field, "items", place), _map(item).get("key"))


def _need(kind: str, namespace: str, name: Any, at: tuple[Part, ...], entry: Any = None) -> Iterator[Need]:
    if isinstance(name, str) and name:
        yield Need(Ref("", kind, namespace, name), format_path(at), entry if isinstance(entry, str) else "")


def _containers(pod: Pod) -> Iterator[tuple[dict[str, Any], tuple[Part, ...]]]:
    for field in _CONTAINERS:
        yield from _named(pod.spec, field, pod.path)


def _named(
    holder: dict[str, Any], field: str, at: tuple[Part, ...]
) -> Iterator[tuple[dict[str, Any], tuple[Part, ...]]]:
    """The maps in a list, each with its path, by its name where it has one."""
    for place, item in enumerate(_list(holder.get(field))):
        if isinstance(item, dict):
            name = item.get("name")
            part: Part = Keys((("name", name),)) if isinstance(name, str) else place
            yield item, (*at, field, part)


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
