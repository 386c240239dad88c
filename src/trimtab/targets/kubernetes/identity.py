"""Which object an entry of the inventory means: group, kind, namespace as its scope wants it, name, uid (P6). Pure."""

from collections.abc import Collection

from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Ref


def out_of_scope(ref: Ref, resource: Resource) -> str:
    """Why `ref` names no object of a kind that is served as `resource`; nothing if it does.

    A kind may have been recorded before its scope was known, or may have changed it since.
    """
    if resource.namespaced == bool(ref.namespace):
        return ""
    recorded, scope = ("with", "cluster-scoped") if ref.namespace else ("without", "namespaced")
    return f"it is recorded {recorded} a namespace, and its kind is {scope}: it is not certain which object is meant"


def desired_as_another(uid: str, desired: Collection[str]) -> str:
    """Why the live object `uid` must stay although its entry left: one object can be served under two groups."""
    return "it is desired under another name of its kind" if uid in desired else ""
