"""The order in which Helm goes through the objects of a release, by kind: the order of its records and hooks. Pure.

What is applied goes by the stages and bands of `manifests.order`, as with every other app; a record keeps Helm's.
"""

from typing import Final

_ORDER: Final = (
    "PriorityClass", "Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "PodSecurityPolicy",
    "PodDisruptionBudget", "ServiceAccount", "Secret", "SecretList", "ConfigMap", "StorageClass", "PersistentVolume",
    "PersistentVolumeClaim", "CustomResourceDefinition", "ClusterRole", "ClusterRoleList", "ClusterRoleBinding",
    "ClusterRoleBindingList", "Role", "RoleList", "RoleBinding", "RoleBindingList", "Service", "DaemonSet", "Pod",
    "ReplicationController", "ReplicaSet", "Deployment", "HorizontalPodAutoscaler", "StatefulSet", "Job", "CronJob",
    "IngressClass", "Ingress", "APIService", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
)  # fmt: skip
_PLACES: Final = {kind: place for place, kind in enumerate(_ORDER)}


def install_key(kind: str) -> tuple[int, str]:
    """Sort by this, stably, to install. Kinds that Helm does not know come last, by their names."""
    place = _PLACES.get(kind)
    return (place, "") if place is not None else (len(_ORDER), kind)
