"""The processes of an installation, as Deployments, and what they keep."""

from typing import Final

from trimtab.api.installed import (
    ARTIFACT_PORT,
    DEPLOYMENT,
    EVENT_PORT,
    GRACE_S,
    LEDGER_PATH,
    METRICS_PORT,
    NOBODY,
    PART_OF,
    SYNC,
    WEBHOOK_PORT,
    labelled,
)
from trimtab.manifests.refs import Body

SYNC_PORTS: Final[tuple[Body, ...]] = (
    {"name": "http", "containerPort": ARTIFACT_PORT, "protocol": "TCP"},
    {"name": "http-prom", "containerPort": METRICS_PORT, "protocol": "TCP"},
)
NOTIFY_PORTS: Final[tuple[Body, ...]] = (
    {"name": "http", "containerPort": EVENT_PORT, "protocol": "TCP"},
    {"name": "http-webhook", "containerPort": WEBHOOK_PORT, "protocol": "TCP"},
    {"name": "http-prom", "containerPort": METRICS_PORT, "protocol": "TCP"},
)
SYNC_POD: Final = {"app.kubernetes.io/name": "trimtab", "app.kubernetes.io/component": "sync"}
AUTOMATE_POD: Final = {"app.kubernetes.io/name": "trimtab", "app.kubernetes.io/component": "automate"}
NOTIFY_POD: Final = {"app.kubernetes.io/name": "trimtab", "app.kubernetes.io/component": "notify"}


def deployment(
    namespace: str,
    image: str,
    arguments: list[str],
    name: str = DEPLOYMENT,
    pod: dict[str, str] = SYNC_POD,
    account: str = SYNC,
    ports: tuple[Body, ...] = SYNC_PORTS,
) -> Body:
    """One process: where it runs, as whom, and with what."""
    return labelled("apps/v1", "Deployment", name, namespace, dict(pod)) | {
        "spec": {
            # One process holds the Leases and the artifacts: a second pod would answer for files it does not have.
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": dict(pod)},
            "template": {
                "metadata": {
                    "labels": PART_OF | pod,
                    "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS_PORT)},
                },
                "spec": {
                    "serviceAccountName": account,
                    "terminationGracePeriodSeconds": GRACE_S,
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": NOBODY,
                        "runAsGroup": NOBODY,
                        "fsGroup": NOBODY,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [_container(image, arguments, ports)],
                    "volumes": [
                        {"name": "data", "emptyDir": {}},
                        {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
                    ],
                },
            },
        }
    }


def claim_of(name: str, size: str, namespace: str) -> Body:
    """A volume that stays when its Pod goes."""
    return labelled("v1", "PersistentVolumeClaim", name, namespace) | {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    }


def kept(deployment: Body, claim: str) -> Body:
    """`deployment` with its ledger on the volume of `claim`, if there is one."""
    if claim:
        pod = deployment["spec"]["template"]["spec"]
        [container] = pod["containers"]
        pod["volumes"].append({"name": "ledger", "persistentVolumeClaim": {"claimName": claim}})
        container["volumeMounts"].append({"name": "ledger", "mountPath": LEDGER_PATH})
        # a directory of its own: the root of a volume belongs to whoever made it
        container["args"].append(f"--ledger-path={LEDGER_PATH}/ledger")
    return deployment


def _container(image: str, arguments: list[str], ports: tuple[Body, ...]) -> Body:
    return {
        "name": "trimtab",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        "env": [
            {"name": "RUNTIME_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the pod's own memory-backed volume
            {"name": "TMPDIR", "value": "/tmp"},  # noqa: S108
        ],
        "ports": [dict(port) for port in ports],
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http-prom"}, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http-prom"}},
        "resources": {
            "requests": {"cpu": "100m", "memory": "64Mi"},
            # Twice what a renderer may take: where a whole container is killed for memory, the limit of the child
            # has to be met first.
            "limits": {"memory": "2Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
