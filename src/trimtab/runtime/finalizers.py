"""Finalizers: our objects stay until what they made is cleaned up.

A finalizer is added before the first effect and dropped after the last. Both are JSON patches guarded by the
resourceVersion that was looked at, so that no other writer's finalizer is lost.
"""

from typing import NamedTuple

import msgspec

from trimtab.api.meta import ObjectMeta
from trimtab.base.errors import Transient
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, Conflict, Invalid, NotFound
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body

_ATTEMPTS = 3


class _Object(msgspec.Struct, frozen=True, kw_only=True):
    metadata: ObjectMeta


class Claim(NamedTuple):
    """An object that carries the finalizer. `undisturbed`: it was on the server what was looked at, when it got it."""

    metadata: ObjectMeta
    undisturbed: bool


async def ensure(client: Client, resource: Resource, metadata: ObjectMeta, finalizer: str) -> Claim:
    """See to it that the object carries `finalizer`; its metadata as they are then.

    An object that is gone, was made anew, or is being deleted is Transient `Conflict`: the pass has to look again.
    """
    for attempt in range(_ATTEMPTS):
        if finalizer in metadata.finalizers:
            return Claim(metadata, undisturbed=False)
        if metadata.deleted:
            break
        value: Body = (
            {"op": "add", "path": "/metadata/finalizers/-", "value": finalizer}
            if metadata.finalizers
            else {"op": "add", "path": "/metadata/finalizers", "value": [finalizer]}
        )
        try:
            try:
                return Claim(await _patch(client, resource, metadata, [value]), undisturbed=attempt == 0)
            except (Conflict, Invalid) as refusal:
                metadata = await _look_again(client, resource, metadata, refusal)
        except NotFound:
            break
    raise Transient("Conflict", f"{resource.gvk.kind} {metadata.key} changed while its finalizer was being added")


async def drop(client: Client, resource: Resource, metadata: ObjectMeta, finalizer: str) -> None:
    """See to it that the object does not carry `finalizer` (any more). An object that is gone is as good."""
    for _ in range(_ATTEMPTS):
        if finalizer not in metadata.finalizers:
            return
        path = f"/metadata/finalizers/{metadata.finalizers.index(finalizer)}"
        operations: list[Body] = [{"op": "test", "path": path, "value": finalizer}, {"op": "remove", "path": path}]
        try:
            try:
                await _patch(client, resource, metadata, operations)
            except (Conflict, Invalid) as refusal:
                metadata = await _look_again(client, resource, metadata, refusal)
            else:
                return
        except NotFound:
            return
    raise Transient("Conflict", f"{resource.gvk.kind} {metadata.key} changed while its finalizer was being dropped")


async def _patch(client: Client, resource: Resource, metadata: ObjectMeta, operations: list[Body]) -> ObjectMeta:
    guards: list[Body] = [
        {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata.resource_version},
    ]
    patched = await client.json_patch(resource, metadata.name, metadata.namespace, [*guards, *operations], type=_Object)
    return patched.metadata


async def _look_again(client: Client, resource: Resource, seen: ObjectMeta, refusal: ApiError) -> ObjectMeta:
    """The object now, after a refused patch. A refusal that was not about its age is raised.

    A failed `test` comes back as 422, which is also what a broken object or a policy answers.
    """
    now = (await client.get(resource, seen.name, seen.namespace, type=_Object)).metadata
    if now.uid != seen.uid:
        raise NotFound(404, "NotFound", f"{resource.gvk.kind} {seen.key} was deleted and made anew")
    if now.resource_version == seen.resource_version:
        raise refusal
    return now
