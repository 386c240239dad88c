"""What is never deleted unasked: namespaces, definitions in use, and what holds data (ENGINE.md, P4 and P16)."""

from collections.abc import Collection
from typing import NamedTuple

from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, NotFound, UnknownKind, Unreachable
from trimtab.manifests.refs import Body, Gvk, Ref
from trimtab.targets.kubernetes import identity, prune
from trimtab.targets.kubernetes.desired import Owner
from trimtab.targets.kubernetes.inventory import Entry

_DEFINITION = ("apiextensions.k8s.io", "CustomResourceDefinition")
_ALWAYS = {
    ("", "Namespace"): "everything in it goes with it",
    ("", "PersistentVolume"): "it holds data",
    ("", "PersistentVolumeClaim"): "it holds data",
}
_STATEFUL = ("apps", "StatefulSet")
_LOOKED_AT = 500
"""So many objects of a kind are read to see whether all of them are leaving; more are taken to be in use."""


class Look(NamedTuple):
    """What a look at one object said.

    `counts`: it is there, ours, and its deletion has not begun. `why`: it must not go unasked. `later`: only objects
    that leave in the same pass stand in its way.
    """

    counts: bool = True
    why: str = ""
    later: bool = False


def may_be(ref: Ref) -> bool:
    """Whether objects of this kind have to be looked at."""
    kind = (ref.group, ref.kind)
    return kind in _ALWAYS or kind in (_DEFINITION, _STATEFUL)


async def look(client: Client, entry: Entry, owner: Owner, protected: str, leaving: Collection[Ref]) -> Look:
    """Look at the live object behind `entry`, which is of a kind that `may_be` precious.

    Never raises for what the server or the network says: what cannot be looked at is held, with their words.
    """
    if prune.untouchable(entry.ref, protected):
        return Look(counts=False)
    try:
        resource = await prune.served(client, entry)
        if identity.out_of_scope(entry.ref, resource):
            return Look(counts=False)
        live: Body = await client.get(resource, entry.ref.name, entry.ref.namespace)
        if prune.not_ours(live, entry, owner) is not None or live["metadata"].get("deletionTimestamp"):
            return Look(counts=False)
        return await _judge(client, live, (entry.ref.group, entry.ref.kind), leaving)
    except (NotFound, UnknownKind):
        return Look(counts=False)
    except (ApiError, Unreachable, StaleGroup) as failure:
        return Look(why=f"it could not be looked at: {failure}")


async def _judge(client: Client, live: Body, kind: tuple[str, str], leaving: Collection[Ref]) -> Look:
    if kind in _ALWAYS:
        return Look(why=_ALWAYS[kind])
    if kind == _STATEFUL:
        return Look(why="it has volume claims" if live["spec"].get("volumeClaimTemplates") else "")
    instances = await _instances(client, live)
    if instances is None or not instances <= set(leaving):
        return Look(why="objects of its kind exist and would go with it")
    return Look(later=bool(instances))


async def _instances(client: Client, definition: Body) -> set[Ref] | None:
    """The live objects of a definition's kind; None if they are too many to tell."""
    spec = definition["spec"]
    version = next((item["name"] for item in spec["versions"] if item.get("served")), "")
    gvk = Gvk(spec["group"], version, spec["names"]["kind"])
    try:
        resource = await client.discovery.find(gvk)
        page = await client.page(resource, limit=_LOOKED_AT, metadata_only=True)
    except (UnknownKind, NotFound):
        return set()
    if page.metadata.continue_:
        return None
    found = (item["metadata"] for item in page.items or ())
    return {Ref(gvk.group, gvk.kind, item.get("namespace") or "", item["name"]) for item in found}
