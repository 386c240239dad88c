"""Fields that cannot change: a clear word by default, and a new object where that is asked for (ENGINE.md §3).

How a server words it differs from kind to kind and from webhook to webhook, so the words decide nothing. It is asked
whether it would create the object: it finds fault with a wish that is wrong in itself, and answers that the name is
taken to one that is refused only as a change. So nothing is ever deleted that could not be created again.
"""

import contextlib
from typing import NamedTuple

from trimtab.api.names import HELM_MANAGER
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import AlreadyExists, ApiError, Invalid, NotFound, UnknownKind, Unreachable
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body
from trimtab.targets.kubernetes.desired import PREFIX, Desired

_PRECIOUS = frozenset(
    {
        ("", "PersistentVolumeClaim"),
        ("", "PersistentVolume"),
        ("", "Namespace"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
    }
)


class Stuck(NamedTuple):
    """A live object that cannot become what is wished; `may`: it may be deleted and created anew."""

    live: Body
    may: bool


class LeavingError(Exception):
    """The old object is on its way out; the new one comes when it is gone."""


async def look(client: Client, item: Desired, manager: str, *, everywhere: bool) -> Stuck | None:
    """Whether `item` was refused only because something of it cannot change; None if not, or if that is not known.

    `everywhere` says that the app asks for new objects in such a case.
    """
    try:
        resource = await client.discovery.find(item.gvk)
        live: Body = await client.get(resource, item.ref.name, item.ref.namespace)
        with contextlib.suppress(AlreadyExists):
            await client.create(resource, item.payload, item.ref.namespace, dry_run=True, field_manager=manager)
            return None
    except (ApiError, Unreachable, UnknownKind, StaleGroup):
        return None
    precious = _is_precious(item, live) or _is_precious(item, item.body)
    return Stuck(live, item.force or (everywhere and not precious))


async def remove(client: Client, resource: Resource, live: Body) -> None:
    """Delete exactly `live` and return when it is gone. Raises LeavingError where that takes longer than the call."""
    metadata = live["metadata"]
    name, namespace = metadata["name"], metadata.get("namespace", "")
    with contextlib.suppress(NotFound):
        if not metadata.get("deletionTimestamp"):
            await client.delete(resource, name, namespace, uid=metadata["uid"])
        after = await client.get(resource, name, namespace)
        if after["metadata"]["uid"] == metadata["uid"]:
            waits_for = ", ".join(after["metadata"].get("finalizers") or ()) or "its termination"
            raise LeavingError(f"is being deleted to be created anew, waits for {waits_for}")


def words(item: Desired, failure: Invalid) -> str:
    """What is wrong and the way out, with the server's words."""
    fields = ", ".join(dict.fromkeys(cause.field for cause in failure.causes if cause.field)) or "a field"
    return f"{fields} cannot be changed: {item.told(failure.message)}. {_way_out(item)}; or undo the change"


def _way_out(item: Desired) -> str:
    precious = _is_precious(item, item.body)
    if item.manager == HELM_MANAGER:
        if precious:
            return "It may hold data, and is not deleted and created anew: do that by hand"
        return "To have the object deleted and created anew, set spec.upgrade.force: true of the HelmRelease"
    everywhere = (
        " (it may hold data: spec.force of the Kustomization does not count for it)"
        if precious
        else ", or spec.force: true of the Kustomization"
    )
    return f"To have the object deleted and created anew, set the annotation {PREFIX}force: enabled on it{everywhere}"


def _is_precious(item: Desired, body: Body) -> bool:
    """What takes data with it when it goes."""
    kind = (item.ref.group, item.ref.kind)
    if kind == ("apps", "StatefulSet"):
        return bool((body.get("spec") or {}).get("volumeClaimTemplates"))
    return kind in _PRECIOUS
