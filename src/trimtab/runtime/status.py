"""Writing the status of our own objects: one merge patch, guarded where it matters.

Lists in a status (conditions, inventory, history) are replaced whole by a merge patch, so the writer keeps them in
memory and is their only author.
"""

from typing import TypeVar

from trimtab.kube.client import Client
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body, Key

T = TypeVar("T")


async def patch_status(
    client: Client,
    resource: Resource,
    key: Key,
    status_patch: Body,
    *,
    manager: str,
    resource_version: str | None = None,
    type: type[T] = dict,  # type: ignore[assignment]  # noqa: A002 - as in the client's own verbs
) -> T:
    """Merge `status_patch` into the status of `key`; the object as it is then, decoded into `type`.

    With `resource_version` the write happens only if the object is still the one that was looked at: otherwise
    Conflict, and the pass has to look again. The object's disappearance is NotFound.
    """
    patch: Body = {"status": status_patch}
    if resource_version is not None:
        patch["metadata"] = {"resourceVersion": resource_version}
    return await client.merge_patch(
        resource, key.name, key.namespace, patch, subresource="status", field_manager=manager, type=type
    )


def merge_difference(before: Body, after: Body) -> Body:
    """The smallest merge patch (RFC 7386) that turns `before` into `after`; empty when there is nothing to write.

    A merge patch cannot set a null, so a null in `after` means absent, as it does in Kubernetes.
    """
    patch: Body = {name: None for name in before if after.get(name) is None and before[name] is not None}
    for name, value in after.items():
        old = before.get(name)
        if value is None or value == old:
            continue
        if not (isinstance(old, dict) and isinstance(value, dict)):
            patch[name] = value
        elif inner := merge_difference(old, value):
            patch[name] = inner
    return patch


def merged(one: Body, other: Body) -> Body:
    """The merge patch that does what both do, which lead to the same."""
    patch = one | other
    for name in one.keys() & other.keys():
        if isinstance(one[name], dict) and isinstance(other[name], dict):
            patch[name] = merged(one[name], other[name])
    return patch
