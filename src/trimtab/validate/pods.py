"""What the parts of a Pod have to agree on, wherever its spec stands. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from trimtab.manifests.openapi import is_open, shown
from trimtab.manifests.refs import Body

Complaint: TypeAlias = tuple[str, str]
"""The path of a part of an object, and what is wrong with it."""

_PATHS: Final = {
    ("", "Pod"): "spec",
    ("", "ReplicationController"): "spec.template.spec",
    ("apps", "Deployment"): "spec.template.spec",
    ("apps", "StatefulSet"): "spec.template.spec",
    ("apps", "DaemonSet"): "spec.template.spec",
    ("apps", "ReplicaSet"): "spec.template.spec",
    ("batch", "Job"): "spec.template.spec",
    ("batch", "CronJob"): "spec.jobTemplate.spec.template.spec",
}
_LABEL: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_SUBDOMAIN: Final = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)
_PORT_NAME: Final = re.compile(r"(?=.*[a-z])[a-z0-9](?:[-a-z0-9]{0,13}[a-z0-9])?", re.ASCII)
_PORTS: Final = range(1, 65536)
_CONTAINERS: Final = ("initContainers", "containers")
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc")
_SOURCES: Final = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_MOMENTS: Final = ("postStart", "preStop")
_TIMES: Final = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def pod_spec(body: Body, group: str, kind: str) -> tuple[str, Mapping[str, Any]] | None:
    """The spec of the Pods that `body` is or makes, and its path."""
    if (path := _PATHS.get((group, kind))) is None:
        return None
    part: Any = body
    for field in path.split("."):
        part = part.get(field) if isinstance(part, dict) else None
    return (path, part) if isinstance(part, dict) else None


def has_pods(group: str, kind: str) -> bool:
    """Whether objects of the kind are Pods, or make some."""
    return (group, kind) in _PATHS and kind != "ReplicationController"


def label(value: Any, path: str) -> Iterator[Complaint]:
    """What is wrong with a name that has to be a DNS label, if it is one at all."""
    yield from _name(value, path, _LABEL)


def maps(holder: Any, field: str) -> list[Mapping[str, Any]]:
    """The maps in a list. Their places count, so an item that is none is an empty one."""
    found = holder.get(field) if isinstance(holder, dict) else None
    return [one if isinstance(one, dict) else {} for one in found] if isinstance(found, list) else []


def complaints(pod: Mapping[str, Any], path: str, claimed: set[Any]) -> Iterator[Complaint]:
    """What is wrong with the spec of a Pod; `claimed` are volumes that are made for it."""
    volumes = maps(pod, "volumes")
    known = {one.get("name") for one in volumes} | claimed
    for index, volume in enumerate(volumes):
        yield from _name(volume.get("name"), f"{path}.volumes[{index}].name", _LABEL)
        config = volume.get("configMap")
        if isinstance(config, dict) and not config.get("name"):
            yield f"{path}.volumes[{index}].configMap", "lacks name, which is required"
    yield from _name(pod.get("serviceAccountName"), f"{path}.serviceAccountName", _SUBDOMAIN)
    if pod.get("containers") == []:
        yield f"{path}.containers", "is empty: a Pod has at least one container"
    for field in _CONTAINERS:
        for index, container in enumerate(maps(pod, field)):
            yield from _container(container, f"{path}.{field}[{index}]", known)


def port(value: Any, path: str, *, named: bool = False) -> Iterator[Complaint]:
    """What is wrong with the number of a port, or (`named`) with its name."""
    if type(value) is int and value not in _PORTS:
        yield path, f"must be between 1 and 65535, it is {value}"
    elif named and type(value) is str and value and not _PORT_NAME.fullmatch(value) and not is_open(value):
        yield path, f"is neither a number nor the name of a port: {shown(value)}"


def _container(container: Mapping[str, Any], path: str, volumes: set[Any]) -> Iterator[Complaint]:
    if container and not container.get("image"):
        yield path, "lacks image, which is required"
    yield from _name(container.get("name"), f"{path}.name", _LABEL)
    for index, one in enumerate(maps(container, "ports")):
        yield from port(one.get("containerPort"), f"{path}.ports[{index}].containerPort")
        yield from port(one.get("name"), f"{path}.ports[{index}].name", named=True)
    for index, mount in enumerate(maps(container, "volumeMounts")):
        name = mount.get("name")
        if isinstance(name, str) and name and name not in volumes and not is_open(name):
            yield f"{path}.volumeMounts[{index}].name", f"is no volume of the Pod: {shown(name)}"
    for index, one in enumerate(maps(container, "env")):
        source = one.get("valueFrom")
        for field in ("configMapKeyRef", "secretKeyRef"):
            yield from _referred(source, field, f"{path}.env[{index}].valueFrom")
        if isinstance(source, dict) and not any(source.get(field) is not None for field in _SOURCES):
            yield f"{path}.env[{index}].valueFrom", f"lacks one of {', '.join(_SOURCES)}"
        elif source is not None and one.get("value"):
            yield f"{path}.env[{index}]", "has value and valueFrom: only one of them may be there"
    for index, one in enumerate(maps(container, "envFrom")):
        if one.get("configMapRef") is None and one.get("secretRef") is None:
            yield f"{path}.envFrom[{index}]", "lacks configMapRef, or secretRef"
        for field in ("configMapRef", "secretRef"):
            yield from _referred(one, field, f"{path}.envFrom[{index}]")
    for field in _PROBES:
        yield from _probe(container.get(field), f"{path}.{field}")
    lifecycle = container.get("lifecycle")
    for field in _MOMENTS:
        handler = lifecycle.get(field) if isinstance(lifecycle, dict) else None
        if isinstance(handler, dict):
            if not any(handler.get(one) is not None for one in (*_HANDLERS, "sleep")):
                yield f"{path}.lifecycle.{field}", "lacks exec, httpGet, tcpSocket or sleep"
            yield from _command(handler, f"{path}.lifecycle.{field}")


def _referred(holder: Any, field: str, path: str) -> Iterator[Complaint]:
    """The name of what a part refers to."""
    ref = holder.get(field) if isinstance(holder, dict) else None
    if isinstance(ref, dict):
        if not ref.get("name"):
            yield f"{path}.{field}", "lacks name, which is required"
        yield from _name(ref.get("name"), f"{path}.{field}.name", _SUBDOMAIN)


def _command(handler: Mapping[str, Any], path: str) -> Iterator[Complaint]:
    if isinstance(run := handler.get("exec"), dict) and not run.get("command"):
        yield f"{path}.exec", "lacks command, which is required"


def _probe(probe: Any, path: str) -> Iterator[Complaint]:
    if not isinstance(probe, dict):
        return
    if not any(probe.get(field) is not None for field in _HANDLERS):
        yield path, f"lacks one of {', '.join(_HANDLERS)}"
    yield from _command(probe, path)
    for field in ("httpGet", "tcpSocket"):
        handler = probe.get(field)
        if isinstance(handler, dict):
            yield from port(handler.get("port"), f"{path}.{field}.port", named=True)
    for field in _TIMES:
        if type(value := probe.get(field)) is int and value < 0:
            yield f"{path}.{field}", f"must not be negative, it is {value}"


def _name(value: Any, path: str, pattern: re.Pattern[str]) -> Iterator[Complaint]:
    if isinstance(value, str) and value and not pattern.fullmatch(value) and not is_open(value):
        yield path, f"has to be lower case letters, digits and dashes: it is {shown(value)}"
