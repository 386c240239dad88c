"""In which order objects go: what others lean on first, webhooks last (ENGINE: stages and bands, after Flux)."""

from typing import Final, NamedTuple

from trimtab.manifests.refs import Ref

_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"

_BEFORE: Final = (
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("", "Namespace"),
    (_RBAC, "ClusterRole"),
    ("cluster.x-k8s.io", "ClusterClass"),
    ("node.k8s.io", "RuntimeClass"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "StorageClass"),
    ("snapshot.storage.k8s.io", "VolumeSnapshotClass"),
    ("networking.k8s.io", "IngressClass"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    (_RBAC, "ClusterRoleBinding"),
    ("", "ResourceQuota"),
    ("", "ServiceAccount"),
    (_RBAC, "Role"),
    (_RBAC, "RoleBinding"),
    ("", "ConfigMap"),
    ("", "Secret"),
    ("", "Service"),
    ("", "LimitRange"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("batch", "CronJob"),
    ("policy", "PodDisruptionBudget"),
)
_AFTER: Final = ((_ADMISSION, "MutatingWebhookConfiguration"), (_ADMISSION, "ValidatingWebhookConfiguration"))
_OTHERS: Final = len(_BEFORE)
_BANDS: Final = {kind: band for band, kind in enumerate(_BEFORE)} | {
    kind: band for band, kind in enumerate(_AFTER, start=_OTHERS + 1)
}
_DEFINITIONS: Final = frozenset(_BEFORE[:3])


class ApplyKey(NamedTuple):
    """Sort key of an object: ascending for apply, descending for deletion. Total: no two identities are equal."""

    stage: int
    band: int
    group: str
    kind: str
    namespace: str
    name: str


def stage(kind: str, group: str) -> int:
    """0 what defines (CRDs, Namespaces, ClusterRoles), 1 kinds ending in `Class`, 2 everything else."""
    if (group, kind) in _DEFINITIONS:
        return 0
    return 1 if kind.endswith("Class") else 2


def band(kind: str, group: str) -> int:
    """The place of a kind in the order; all kinds that have no place of their own share one."""
    return _BANDS.get((group, kind), _OTHERS)


def apply_key(ref: Ref) -> ApplyKey:
    """Sort by this to apply, by its reverse to delete."""
    return ApplyKey(stage(ref.kind, ref.group), band(ref.kind, ref.group), ref.group, ref.kind, ref.namespace, ref.name)
