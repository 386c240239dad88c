"""A live object as somebody would have declared it: without what the server and its controllers have written. Pure.

What is taken away is what comes back by itself when the rest is applied: to the object as it is, that makes no
difference, and where the object was deleted, it makes the same one. In doubt a field stays, and so does a default that
somebody has declared.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from trimtab.manifests import codec
from trimtab.manifests.refs import Body

_BUILT_IN: Final = ("v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1")
_SERVER: Final = (
    *("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "selfLink", "managedFields"),
    *("deletionGracePeriodSeconds", "ownerReferences", "finalizers"),
)
_BOUND: Final = "pv.kubernetes.io/bound-by-controller"
_NOTES: Final = (
    "autoscaling.alpha.kubernetes.io/conditions",
    "autoscaling.alpha.kubernetes.io/current-metrics",
    "control-plane.alpha.kubernetes.io/leader",
    "deployment.kubernetes.io/revision",
    "deprecated.daemonset.template.generation",
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubernetes.io/limit-ranger",
    "meta.helm.sh/release-name",
    "meta.helm.sh/release-namespace",
    "pv.kubernetes.io/bind-completed",
    _BOUND,
    "reconcile.fluxcd.io/forceAt",
    "reconcile.fluxcd.io/requestedAt",
    "reconcile.fluxcd.io/resetAt",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
)
_LABELS: Final = (
    *("apply.trimtab.dev/name", "apply.trimtab.dev/namespace"),
    *("helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace"),
    *("kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace"),
    *("controller-revision-hash", "kubernetes.io/metadata.name", "pod-template-generation", "pod-template-hash"),
    *("statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"),
)
_OF_A_JOB: Final = ("batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name")
_POD_DEFAULTS: Final[Mapping[str, Any]] = {
    "dnsPolicy": "ClusterFirst",
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "terminationGracePeriodSeconds": 30,
}
_CONTAINER_DEFAULTS: Final[Mapping[str, Any]] = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_SERVICE_DEFAULTS: Final[Mapping[str, Any]] = {
    "internalTrafficPolicy": "Cluster",
    "ipFamilyPolicy": "SingleStack",
    "sessionAffinity": "None",
    "type": "ClusterIP",
}
_ROLLING: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Deployment": {"progressDeadlineSeconds": 600, "revisionHistoryLimit": 10, "strategy": _ROLLING},
    "DaemonSet": {
        "revisionHistoryLimit": 10,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
    },
    "StatefulSet": {
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "podManagementPolicy": "OrderedReady",
        "revisionHistoryLimit": 10,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
    },
    "Job": {
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "manualSelector": False,
        "podReplacementPolicy": "TerminatingOrFailed",
        "suspend": False,
    },
    "CronJob": {
        "concurrencyPolicy": "Allow",
        "failedJobsHistoryLimit": 1,
        "successfulJobsHistoryLimit": 3,
        "suspend": False,
    },
}
_ACCESS: Final = "kube-api-access-"
_ACCESS_AT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_NOT_READY: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def cleaned(live: Body, declared: Iterable[Body] = ()) -> Body:
    """`live`, as it could stand in a file; `declared` is what is known of what somebody has declared of it."""
    body: Body = codec.clone(live)
    body.pop("status", None)
    bound = _BOUND in (body["metadata"].get("annotations") or {})
    _metadata(body["metadata"])
    # the kinds of others may be called like built-in ones
    kind = str(body.get("kind", "")) if body.get("apiVersion") in _BUILT_IN else ""
    spec = body.get("spec")
    if isinstance(spec, dict):
        _without(spec, _DEFAULTS.get(kind, {}))
        if kind in _SPECS:
            _SPECS[kind](spec)
        if bound and kind == "PersistentVolumeClaim":
            spec.pop("volumeName", None)
        for template in _templates(kind, spec):
            _template(template, of_a_job=kind in ("Job", "CronJob"))
    if kind == "ServiceAccount":
        body.pop("secrets", None)
    if kind in ("Role", "ClusterRole") and body.get("aggregationRule"):
        body.pop("rules", None)
    for before in declared:
        for field in body.keys() & before.keys() - {"apiVersion", "kind", "metadata", "status"}:
            body[field] = _restored(body[field], live[field], before[field])
    if body.get("spec") == {}:
        del body["spec"]
    head = ("apiVersion", "kind", "metadata")
    return {name: body[name] for name in (*head, *sorted(body.keys() - set(head))) if name in body}


def _restored(left: Any, live: Any, declared: Any) -> Any:
    """`left`, with what was taken from `live` and had been declared, in the order of `live`."""
    if isinstance(left, dict) and isinstance(live, dict) and isinstance(declared, dict):
        return {
            name: _restored(left[name], value, declared.get(name)) if name in left else value
            for name, value in live.items()
            if name in left or name in declared
        }
    if isinstance(left, list) and isinstance(live, list) and isinstance(declared, list):
        if len(left) == len(live) == len(declared):
            return [_restored(*of_one) for of_one in zip(left, live, declared, strict=True)]
        named = {_name(one): one for one in live}, {_name(one): one for one in declared}
        return [_restored(one, *(side.get(_name(one)) for side in named)) if _name(one) else one for one in left]
    return left


def _name(item: Any) -> str:
    return str(item.get("name", "")) if isinstance(item, dict) else ""


def _metadata(metadata: dict[str, Any]) -> None:
    for name in _SERVER:
        metadata.pop(name, None)
    _drop(metadata, "annotations", _NOTES)
    _drop(metadata, "labels", _LABELS)


def _drop(metadata: dict[str, Any], field: str, names: Collection[str]) -> None:
    found = {name: value for name, value in (metadata.pop(field, None) or {}).items() if name not in names}
    if found:
        metadata[field] = found


def _without(fields: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    for name, value in defaults.items():
        if name in fields and fields[name] == value and type(fields[name]) is type(value):
            del fields[name]


def _service(spec: dict[str, Any]) -> None:
    if spec.get("clusterIP") != "None":
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
    spec.pop("ipFamilies", None)
    spec.pop("healthCheckNodePort", None)
    _without(spec, _SERVICE_DEFAULTS)


def _namespace(spec: dict[str, Any]) -> None:
    spec.pop("finalizers", None)


def _volume(spec: dict[str, Any]) -> None:
    claim = spec.get("claimRef")
    if isinstance(claim, dict):
        for name in ("uid", "resourceVersion"):
            claim.pop(name, None)


def _job(spec: dict[str, Any]) -> None:
    if not spec.get("manualSelector"):
        spec.pop("selector", None)


def _pod(spec: dict[str, Any]) -> None:
    """A Pod that nobody else looks after: what the scheduler and admission have put into it."""
    for name in ("nodeName", "priority", "serviceAccount"):
        spec.pop(name, None)
    if spec.get("serviceAccountName") == "default":
        del spec["serviceAccountName"]
    _keep(spec, "tolerations", lambda one: one.get("key") not in _NOT_READY or one.get("tolerationSeconds") != 300)
    _keep(spec, "volumes", lambda one: not str(one.get("name", "")).startswith(_ACCESS))
    for container in _containers(spec):
        _keep(container, "volumeMounts", lambda one: one.get("mountPath") != _ACCESS_AT)
    _pod_spec(spec)
    _without(spec, {"restartPolicy": "Always"})


def _keep(fields: dict[str, Any], name: str, keep: Callable[[dict[str, Any]], bool]) -> None:
    found = [one for one in fields.pop(name, None) or () if keep(one)]
    if found:
        fields[name] = found


def _templates(kind: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The templates of Pods in `spec`."""
    inner = spec.get("jobTemplate", {}).get("spec", {}) if kind == "CronJob" else spec
    if kind == "CronJob":
        spec["jobTemplate"].get("metadata", {}).pop("creationTimestamp", None)
        _without(spec["jobTemplate"], {"metadata": {}})
        _without(inner, _DEFAULTS["Job"])
    found = inner.get("template")
    return [found] if isinstance(found, dict) and isinstance(found.get("spec"), dict) else []


def _template(template: dict[str, Any], *, of_a_job: bool) -> None:
    metadata = template.get("metadata")
    if isinstance(metadata, dict):
        metadata.pop("creationTimestamp", None)
        if of_a_job:
            _drop(metadata, "labels", _OF_A_JOB)
        if not metadata:
            del template["metadata"]
    spec = template["spec"]
    if spec.get("serviceAccount") == spec.get("serviceAccountName"):
        spec.pop("serviceAccount", None)
    _pod_spec(spec)
    if not of_a_job:
        _without(spec, {"restartPolicy": "Always"})


def _pod_spec(spec: dict[str, Any]) -> None:
    _without(spec, _POD_DEFAULTS)
    for container in _containers(spec):
        _without(container, _CONTAINER_DEFAULTS)


def _containers(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [one for field in ("containers", "initContainers") for one in spec.get(field) or ()]


_SPECS: Final[Mapping[str, Callable[[dict[str, Any]], None]]] = {
    "Job": _job,
    "Namespace": _namespace,
    "PersistentVolume": _volume,
    "Pod": _pod,
    "Service": _service,
}
