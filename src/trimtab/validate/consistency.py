"""What the parts of an object have to agree on: usual mistakes that no schema tells, and any server refuses. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from trimtab.manifests.openapi import is_open, shown
from trimtab.manifests.refs import Body
from trimtab.validate import pods
from trimtab.validate.pods import Complaint, maps, pod_spec

_SELECTING: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"})
_JOB_POLICIES: Final = ("OnFailure", "Never")
_RBAC: Final = "rbac.authorization.k8s.io"
_SUBJECTS: Final = ("ServiceAccount", "User", "Group")
_ROLES: Final = {"RoleBinding": ("Role", "ClusterRole"), "ClusterRoleBinding": ("ClusterRole",)}
_CRON_FIELDS: Final = 5
_CRON: Final = re.compile(r"@(?:yearly|annually|monthly|weekly|daily|midnight|hourly|every .+)", re.ASCII)
_HOST: Final = re.compile(r"(?:\*\.)?[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_WITH_SPEC: Final = frozenset({("", "Service"), ("networking.k8s.io", "Ingress"), ("", "PersistentVolumeClaim")})
_PERCENT: Final = re.compile(r"[0-9]+%", re.ASCII)
_PERCENTS: Final = frozenset({"maxUnavailable", "maxSurge", "minAvailable"})
_COUNTS: Final = frozenset(
    {"replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds", "backoffLimit", "parallelism",
     "completions", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "successfulJobsHistoryLimit",
     "failedJobsHistoryLimit", "startingDeadlineSeconds", "maxUnavailable", "maxSurge", "minAvailable"}
)  # fmt: skip
"""Numbers in the specs of workloads that cannot be negative."""
_DEEPEST_COUNT: Final = 4


def complaints(body: Body, group: str, kind: str) -> Iterator[Complaint]:
    """Pairs of a path in `body` and what is wrong there. What has the wrong type is the schema's business."""
    if group == _RBAC:
        yield from _rights(body, kind)
        return
    spec = body.get("spec")
    if not isinstance(spec, dict):
        if pods.has_pods(group, kind) or (group, kind) in _WITH_SPEC:
            yield "", "lacks spec, which is required"
        return
    match group, kind:
        case "apps", _ if kind in _SELECTING:
            yield from _counts(spec, "spec")
            yield from _selector(spec)
        case "batch", "Job":
            yield from _counts(spec, "spec")
            yield from _restarts(spec, "spec")
        case "batch", "CronJob":
            yield from _counts(spec, "spec")
            yield from _cron(spec)
        case "policy", "PodDisruptionBudget":
            yield from _counts(spec, "spec")
        case "", "Service":
            yield from _service(spec)
        case "", "PersistentVolumeClaim":
            yield from _claim(spec, "spec")
        case "networking.k8s.io", "Ingress":
            yield from _ingress(spec)
        case "apiextensions.k8s.io", "CustomResourceDefinition":
            yield from _definition(body, spec)
    if pods.has_pods(group, kind) and pod_spec(body, group, kind) is None:
        yield "spec", "lacks the spec of its Pods, in template.spec"
    elif (found := pod_spec(body, group, kind)) is not None:
        path, pod = found
        claims = maps(spec, "volumeClaimTemplates") if kind == "StatefulSet" else []
        named = [one["metadata"] for one in claims if isinstance(one.get("metadata"), dict)]
        yield from pods.complaints(pod, path, {str(metadata.get("name")) for metadata in named})
        for index, claim in enumerate(claims):
            yield from _claim(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{index}].spec")


def _selector(spec: Mapping[str, Any]) -> Iterator[Complaint]:
    selector, template = spec.get("selector"), spec.get("template")
    if not isinstance(selector, dict) or not isinstance(template, dict):
        return
    wanted = selector.get("matchLabels") or {}
    if not wanted and not selector.get("matchExpressions"):
        yield "spec.selector", "selects everything: say what it selects, by matchLabels"
        return
    metadata = template.get("metadata")
    labels = (metadata.get("labels") if isinstance(metadata, dict) else None) or {}
    if not isinstance(labels, dict) or not isinstance(wanted, dict):
        return
    for name, value in wanted.items():
        if labels.get(name) != value and not is_open(value) and not is_open(labels.get(name)):
            yield "spec.selector", f"wants {name}: {shown(value)}, which is not among spec.template.metadata.labels"


def _counts(part: Any, path: str, depth: int = 0) -> Iterator[Complaint]:
    for name, value in part.items():
        if name in _COUNTS and type(value) is int and value < 0:
            yield f"{path}.{name}", f"must not be negative, it is {value}"
        elif name in _PERCENTS and type(value) is str and not _PERCENT.fullmatch(value) and not is_open(value):
            yield f"{path}.{name}", f"must be a number or a percentage such as 25%, it is {shown(value)}"
        elif isinstance(value, dict) and depth < _DEEPEST_COUNT and name not in ("selector", "metadata"):
            yield from _counts(value, f"{path}.{name}", depth + 1)


def _restarts(spec: Mapping[str, Any], path: str) -> Iterator[Complaint]:
    template = spec.get("template")
    pod = template.get("spec") if isinstance(template, dict) else None
    if (
        isinstance(pod, dict)
        and pod.get("restartPolicy") not in _JOB_POLICIES
        and not is_open(pod.get("restartPolicy"))
    ):
        words = f"must be OnFailure or Never, it is {shown(pod.get('restartPolicy') or 'Always')}"
        yield f"{path}.template.spec.restartPolicy", words


def _cron(spec: Mapping[str, Any]) -> Iterator[Complaint]:
    schedule, job = spec.get("schedule"), spec.get("jobTemplate")
    if isinstance(schedule, str) and not is_open(schedule) and schedule:
        fields = schedule.removeprefix("TZ=").split()
        if len(fields) != _CRON_FIELDS and not _CRON.fullmatch(schedule):
            yield "spec.schedule", f"has {len(fields)} fields, a schedule has five: it is {shown(schedule)}"
    if isinstance(job, dict) and isinstance(job.get("spec"), dict):
        yield from _restarts(job["spec"], "spec.jobTemplate.spec")


def _service(spec: Mapping[str, Any]) -> Iterator[Complaint]:
    ports = maps(spec, "ports")
    if not ports and spec.get("type") != "ExternalName" and spec.get("clusterIP") != "None":
        yield "spec", "lacks ports, of which there is at least one"
    names: set[str] = set()
    for index, port in enumerate(ports):
        yield from pods.port(port.get("port"), f"spec.ports[{index}].port")
        yield from pods.port(port.get("targetPort"), f"spec.ports[{index}].targetPort", named=True)
        name = port.get("name")
        yield from pods.label(name, f"spec.ports[{index}].name")
        if not name and len(ports) > 1:
            yield f"spec.ports[{index}]", "lacks name, which is required where there are several ports"
        elif isinstance(name, str) and name in names:
            yield f"spec.ports[{index}].name", f"is that of another port, too: {name}"
        if isinstance(name, str):
            names.add(name)


def _claim(spec: Any, path: str) -> Iterator[Complaint]:
    if not isinstance(spec, dict):
        return
    if not spec.get("accessModes"):
        yield path, "lacks accessModes, of which there is at least one"
    resources = spec.get("resources")
    requests = resources.get("requests") if isinstance(resources, dict) else None
    if not isinstance(requests, dict) or requests.get("storage") is None:
        yield path, "lacks resources.requests.storage, which is required"


def _ingress(spec: Mapping[str, Any]) -> Iterator[Complaint]:
    if not spec.get("rules") and not spec.get("defaultBackend"):
        yield "spec", "lacks rules, or a defaultBackend"
    for index, rule in enumerate(maps(spec, "rules")):
        host = rule.get("host")
        if isinstance(host, str) and host and not _HOST.fullmatch(host) and not is_open(host):
            yield f"spec.rules[{index}].host", f"is no name of a host: {shown(host)}"
        if isinstance(rule.get("http"), dict) and not rule["http"].get("paths"):
            yield f"spec.rules[{index}].http", "lacks paths, of which there is at least one"
        for at, one in enumerate(maps(rule.get("http"), "paths")):
            place, path, kind = f"spec.rules[{index}].http.paths[{at}]", one.get("path"), one.get("pathType")
            if kind in ("Exact", "Prefix") and not str(path or "").startswith("/") and not is_open(path):
                yield f"{place}.path", f"must begin with /, it is {shown(path or '')}"
            backend = one.get("backend")
            if isinstance(backend, dict) and not backend.get("service") and not backend.get("resource"):
                yield f"{place}.backend", "lacks service, or resource"
            service = backend.get("service") if isinstance(backend, dict) else None
            if isinstance(service, dict):
                numbered = service.get("port")
                if not isinstance(numbered, dict) or not (numbered.get("name") or numbered.get("number")):
                    yield f"{place}.backend.service", "lacks port.number, or port.name"
                else:
                    yield from pods.port(numbered.get("number"), f"{place}.backend.service.port.number")


def _rights(body: Body, kind: str) -> Iterator[Complaint]:
    if kind in _ROLES:
        role = body.get("roleRef")
        named = role.get("kind") if isinstance(role, dict) else None
        if named and named not in _ROLES[kind] and not is_open(named):
            yield "roleRef.kind", f"must be {' or '.join(_ROLES[kind])}, it is {shown(named)}"
        for index, subject in enumerate(maps(body, "subjects")):
            if subject.get("kind") not in _SUBJECTS and not is_open(subject.get("kind")):
                words = f"must be one of {', '.join(_SUBJECTS)}, it is {shown(subject.get('kind') or '')}"
                yield f"subjects[{index}].kind", words
        return
    for index, rule in enumerate(maps(body, "rules")):
        if not rule.get("verbs"):
            yield f"rules[{index}]", "lacks verbs, of which there is at least one"
        if not rule.get("nonResourceURLs"):
            for field in ("apiGroups", "resources"):
                if not rule.get(field):
                    yield f"rules[{index}]", f"lacks {field}, which is required"


def _definition(body: Body, spec: Mapping[str, Any]) -> Iterator[Complaint]:
    names, group = spec.get("names"), spec.get("group")
    plural = names.get("plural") if isinstance(names, dict) else None
    if isinstance(plural, str) and isinstance(group, str) and body["metadata"]["name"] != f"{plural}.{group}":
        yield "metadata.name", f"must be {plural}.{group}, as spec.names.plural and spec.group say"
    if isinstance(group, str) and group and "." not in group and not is_open(group):
        yield "spec.group", f"must be a domain with a dot, it is {shown(group)}"
    stored = [one for one in maps(spec, "versions") if one.get("storage") is True]
    if len(stored) != 1:
        yield "spec.versions", f"has {len(stored)} versions with storage: true, and must have one"
    if spec.get("scope") not in ("Namespaced", "Cluster", None):
        yield "spec.scope", f"must be Namespaced or Cluster, it is {shown(spec.get('scope'))}"
