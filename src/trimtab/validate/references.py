"""What objects refer to, and whether anything of that name is declared beside them: warnings, for it may be elsewhere.

Nobody can tell from files what a cluster has already, so only what is likely to be a mistake is told: what nothing in
the whole set declares or makes, and what is not said to be optional.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from trimtab.api.gvk import HELM_GROUP, KUSTOMIZE_GROUP, SOURCE_GROUP
from trimtab.manifests.openapi import is_open
from trimtab.manifests.refs import Body
from trimtab.validate.pods import maps, pod_spec
from trimtab.validate.reading import Item

_GIVEN: Final = frozenset(
    {("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt"), ("PriorityClass", "system-node-critical")}
)
"""What every namespace has."""
_MAKERS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "SealedSecret": ("Secret", ("spec.template.metadata.name", "metadata.name")),
    "ExternalSecret": ("Secret", ("spec.target.name", "metadata.name")),
    "Certificate": ("Secret", ("spec.secretName",)),
    "VaultStaticSecret": ("Secret", ("spec.destination.name",)),
    "VaultDynamicSecret": ("Secret", ("spec.destination.name",)),
    "InfisicalSecret": ("Secret", ("spec.managedSecretReference.secretName",)),
    "OnePasswordItem": ("Secret", ("metadata.name",)),
}
"""Kinds whose controllers make another object, and where its name stands."""


class Reference(NamedTuple):
    """An object that another one needs, and the path at which it says so. The namespace may be empty: any."""

    kind: str
    namespace: str
    name: str
    path: str


class Known:
    """What a set of objects declares, or has made."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._names: dict[tuple[str, str], set[str]] = {}
        for item in items:
            body = item.body
            self._add(body["kind"], body["metadata"]["name"], _namespace(body))
            if (maker := _MAKERS.get(body["kind"])) is not None:
                kind, paths = maker
                name = next((found for path in paths if isinstance(found := _at(body, path), str)), "")
                self._add(kind, name, _namespace(body))
            if body["kind"] == "ArtifactGenerator":
                for made in maps(body.get("spec"), "artifacts"):
                    self._add("ExternalArtifact", _text(made.get("name")), _namespace(body))

    def has(self, wanted: Reference) -> bool:
        """Whether there is one, or nobody can tell. An object that names no namespace may be in any."""
        if (wanted.kind, wanted.name) in _GIVEN or is_open(wanted.name):
            return True
        namespaces = self._names.get((wanted.kind, wanted.name))
        if namespaces is None:
            return False
        return not wanted.namespace or wanted.namespace in namespaces or "" in namespaces

    def _add(self, kind: str, name: str, namespace: str) -> None:
        self._names.setdefault((kind, name), set()).add(namespace)


def missing(items: Iterable[Item], known: Known) -> Iterator[tuple[Item, Reference]]:
    """What `items` refer to and `known` does not have, each with the one that needs it."""
    for item in items:
        for reference in references(item.body):
            if not known.has(reference):
                yield item, reference


def references(body: Body) -> Iterator[Reference]:
    """What `body` refers to, as far as it is needed."""
    group, kind = body["apiVersion"].rpartition("/")[0], body["kind"]
    if group in (KUSTOMIZE_GROUP, HELM_GROUP, SOURCE_GROUP):
        yield from _of_ours(body, group, kind)
    elif (found := pod_spec(body, group, kind)) is not None:
        path, pod = found
        yield from _of_pod(pod, path, _namespace(body))


def _of_ours(body: Body, group: str, kind: str) -> Iterator[Reference]:
    namespace = _namespace(body)
    for path in ("spec.sourceRef", "spec.chart.spec.sourceRef", "spec.chartRef"):
        ref = _at(body, path)
        if isinstance(ref, dict) and isinstance(ref.get("kind"), str) and isinstance(ref.get("name"), str):
            yield Reference(ref["kind"], _text(ref.get("namespace")) or namespace, ref["name"], path)
    if group == SOURCE_GROUP and isinstance(name := _at(body, "spec.secretRef.name"), str):
        yield Reference("Secret", namespace, name, "spec.secretRef")
    depends = _at(body, "spec.dependsOn")
    for index, one in enumerate(depends if isinstance(depends, list) else ()):
        if isinstance(one, dict) and isinstance(name := one.get("name"), str):
            yield Reference(kind, _text(one.get("namespace")) or namespace, name, f"spec.dependsOn[{index}]")
    for path in ("spec.postBuild.substituteFrom", "spec.valuesFrom"):
        values = _at(body, path)
        for index, one in enumerate(values if isinstance(values, list) else ()):
            if isinstance(one, dict) and not one.get("optional") and isinstance(one.get("name"), str):
                yield Reference(_text(one.get("kind")), namespace, one["name"], f"{path}[{index}]")


def _of_pod(pod: Mapping[str, Any], path: str, namespace: str) -> Iterator[Reference]:
    account = pod.get("serviceAccountName")
    if isinstance(account, str) and account:
        yield Reference("ServiceAccount", namespace, account, f"{path}.serviceAccountName")
    for index, one in enumerate(maps(pod, "imagePullSecrets")):
        if isinstance(name := one.get("name"), str):
            yield Reference("Secret", namespace, name, f"{path}.imagePullSecrets[{index}]")
    for index, volume in enumerate(maps(pod, "volumes")):
        place = f"{path}.volumes[{index}]"
        yield from _needed(volume.get("configMap"), "name", "ConfigMap", namespace, f"{place}.configMap")
        yield from _needed(volume.get("secret"), "secretName", "Secret", namespace, f"{place}.secret")
        yield from _needed(
            volume.get("persistentVolumeClaim"),
            "claimName",
            "PersistentVolumeClaim",
            namespace,
            f"{place}.persistentVolumeClaim",
        )
        projected = volume.get("projected")
        for at, source in enumerate(maps(projected, "sources")):
            inner = f"{place}.projected.sources[{at}]"
            yield from _needed(source.get("configMap"), "name", "ConfigMap", namespace, f"{inner}.configMap")
            yield from _needed(source.get("secret"), "name", "Secret", namespace, f"{inner}.secret")
    for field in ("initContainers", "containers"):
        for index, container in enumerate(maps(pod, field)):
            yield from _of_container(container, f"{path}.{field}[{index}]", namespace)


def _of_container(container: Mapping[str, Any], path: str, namespace: str) -> Iterator[Reference]:
    for index, one in enumerate(maps(container, "env")):
        source = one.get("valueFrom")
        if isinstance(source, dict):
            place = f"{path}.env[{index}].valueFrom"
            yield from _needed(
                source.get("configMapKeyRef"), "name", "ConfigMap", namespace, f"{place}.configMapKeyRef"
            )
            yield from _needed(source.get("secretKeyRef"), "name", "Secret", namespace, f"{place}.secretKeyRef")
    for index, one in enumerate(maps(container, "envFrom")):
        place = f"{path}.envFrom[{index}]"
        yield from _needed(one.get("configMapRef"), "name", "ConfigMap", namespace, f"{place}.configMapRef")
        yield from _needed(one.get("secretRef"), "name", "Secret", namespace, f"{place}.secretRef")


def _needed(holder: Any, field: str, kind: str, namespace: str, path: str) -> Iterator[Reference]:
    if isinstance(holder, dict) and not holder.get("optional") and isinstance(name := holder.get(field), str) and name:
        yield Reference(kind, namespace, name, path)


def _at(body: Any, path: str) -> Any:
    for field in path.split("."):
        body = body.get(field) if isinstance(body, dict) else None
    return body


def _namespace(body: Body) -> str:
    return _text(body["metadata"].get("namespace"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
