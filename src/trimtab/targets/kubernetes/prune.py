"""What may be deleted, and the deletion itself (ENGINE.md §5).

The choice is pure and comes first; every deletion then looks at the live object once more and carries its uid and
version as preconditions. The numbers P1 to P16 are those of ENGINE.md.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from trimtab.api import annotations, names
from trimtab.api.gvk import HELM_RELEASE, KUSTOMIZATION
from trimtab.diff import fields
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, Conflict, NotFound, UnknownKind, Unreachable
from trimtab.kube.resource import Resource
from trimtab.manifests import order
from trimtab.manifests.refs import Body, Key, Ref
from trimtab.targets.contract import Effect, Mark, Outcome
from trimtab.targets.kubernetes import identity
from trimtab.targets.kubernetes.desired import PREFIX, Owner, rule
from trimtab.targets.kubernetes.inventory import Entry, Inventory

_KINDS = (
    ("Kustomization", PREFIX, names.OBJECT_MANAGER),
    ("HelmRelease", names.RELEASE_OWNER_NAME.removesuffix("name"), names.HELM_MANAGER),
)
_NEVER = ("default", "kube-system", "kube-public", "kube-node-lease")
_CLEARING = frozenset((gvk.group, gvk.kind) for gvk in (HELM_RELEASE, KUSTOMIZATION))


class Deletion(NamedTuple):
    """One object that left the desired set."""

    entry: Entry


def leaving(inventory: Inventory, wanted: Collection[Ref]) -> list[Deletion]:
    """What is on record and no longer wanted, in the order of deletion: the reverse of the order of apply."""
    gone = [entry for ref, entry in inventory.items() if ref not in wanted]
    return [Deletion(entry) for entry in sorted(gone, key=lambda item: order.apply_key(item.ref), reverse=True)]


def in_bands(deletions: Iterable[Deletion]) -> list[list[Deletion]]:
    """Deletions that may go side by side, band after band."""
    bands: list[list[Deletion]] = []
    for deletion in deletions:
        ref = deletion.entry.ref
        if bands and _band(bands[-1][0].entry.ref) == _band(ref):
            bands[-1].append(deletion)
        else:
            bands.append([deletion])
    return bands


def _band(ref: Ref) -> tuple[int, int]:
    key = order.apply_key(ref)
    return key.stage, key.band


def clears(ref: Ref, owner: Owner) -> bool:
    """Whether `ref` is of a kind that deletes what it owns before it goes; `owner` itself is not waited for.

    For that it needs what is declared beside it: its account, its namespace with the records in it. It goes first.
    """
    itself = owner.prefix == f"{ref.group}/" and owner.key == Key(ref.namespace, ref.name)
    return (ref.group, ref.kind) in _CLEARING and not itself


def untouchable(ref: Ref, protected_namespace: str) -> bool:
    """Whether `ref` is a namespace that is never deleted (P7)."""
    return ref.group == "" and ref.kind == "Namespace" and ref.name in (*_NEVER, protected_namespace)


async def delete(
    client: Client,
    deletion: Deletion,
    owner: Owner,
    protected_namespace: str,
    veto: Callable[[Ref, Key], str],
    desired: Collection[str] = (),
    propagation: str = "Background",
) -> Outcome:
    """Delete one object if it is still ours, and say what became of it. `veto` is asked right before the request.

    `desired` are the uids of what the app keeps; `propagation` is what happens to what the object owns.

    DELETED: a read confirmed that it is gone. RELEASED: it is not ours to delete, it leaves the record and stays in the
    cluster. WAITING: it is on its way out and stays on record until it is gone. FAILED: it is tried again.
    """
    entry = deletion.entry
    if untouchable(entry.ref, protected_namespace):
        return Outcome(entry.ref, Effect.RELEASED, "a namespace that is never deleted")
    try:
        resource = await served(client, entry)
    except UnknownKind:
        return Outcome(entry.ref, Effect.RELEASED, "its kind is no longer served")
    except StaleGroup as stale:
        return Outcome(entry.ref, Effect.FAILED, str(stale))
    except (ApiError, Unreachable) as failure:
        return Outcome(entry.ref, Effect.FAILED, f"whether its kind is served is not known: {failure}")
    if why := identity.out_of_scope(entry.ref, resource):
        return Outcome(entry.ref, Effect.RELEASED, why)
    mark: Mark | None = None
    try:
        live = await client.get(resource, entry.ref.name, entry.ref.namespace)
        mark = _marked(live, owner)
        if (reason := not_ours(live, entry, owner)) is not None:
            return Outcome(entry.ref, Effect.RELEASED, reason)
        metadata = live["metadata"]
        if why := identity.desired_as_another(metadata["uid"], desired):
            return Outcome(entry.ref, Effect.RELEASED, why)
        if not metadata.get("deletionTimestamp"):
            if why := annotations.deletion_complaint(metadata) or veto(entry.ref, owner.key):
                return Outcome(entry.ref, Effect.FAILED, why)
            await client.delete(
                resource,
                entry.ref.name,
                entry.ref.namespace,
                uid=metadata["uid"],
                resource_version=metadata["resourceVersion"],
                propagation=propagation,
            )
        after = await client.get(resource, entry.ref.name, entry.ref.namespace)
        if after["metadata"]["uid"] != metadata["uid"]:
            return Outcome(entry.ref, Effect.RELEASED, "somebody created it anew")
    except NotFound:
        return Outcome(entry.ref, Effect.DELETED, before=mark)
    except Conflict:
        return Outcome(entry.ref, Effect.FAILED, "it changed while it was being deleted, it is looked at again")
    except (ApiError, Unreachable) as failure:
        return Outcome(entry.ref, Effect.FAILED, str(failure))
    finalizers = ", ".join(after["metadata"].get("finalizers") or ()) or "the garbage collector"
    return Outcome(entry.ref, Effect.WAITING, f"is being deleted, waits for {finalizers}", before=mark)


def _marked(live: Body, owner: Owner) -> Mark:
    """`live` as it was, for the record."""
    metadata, entry = live["metadata"], fields.owned_entry(live, owner.manager)
    digest = fields.projection_digest(live, entry) if entry else ""
    return Mark(metadata["uid"], metadata["resourceVersion"], digest)


async def served(client: Client, entry: Entry) -> Resource:
    """Where the object behind `entry` is served now: in the version of the record, or in the one that took its place.

    That its kind is served nowhere is believed only after a fresh look (P6). Raises UnknownKind, StaleGroup, and what
    a request raises.
    """
    with contextlib.suppress(UnknownKind):
        return await client.discovery.find(entry.gvk)
    with contextlib.suppress(UnknownKind):
        return await client.discovery.find_kind(entry.ref.group, entry.ref.kind)
    await client.discovery.refresh()
    return await client.discovery.find_kind(entry.ref.group, entry.ref.kind)


def not_ours(live: dict[str, object], entry: Entry, owner: Owner) -> str | None:
    """Why a live object must not be deleted by `owner`; None if it may (P1, P6, P9)."""
    if owner.release is not None:
        asks = _annotations(live).get(names.HELM_RESOURCE_POLICY, "") == names.HELM_KEEP
    else:
        asks = rule(live, "prune") == "disabled" or rule(live, "reconcile") == "disabled"
    return "it asks not to be pruned" if asks else foreign(live, entry, owner)


def foreign(live: dict[str, object], entry: Entry, owner: Owner) -> str | None:
    """Why a live object is not the one that `owner` has on record as its own; None if it is (P6, P9)."""
    metadata = live["metadata"]
    assert isinstance(metadata, dict)  # noqa: S101 - every object of the API has one
    holder = Owner.of(live, owner.prefix)
    applied = any(
        item.get("manager") == owner.manager and item.get("operation") == "Apply"
        for item in metadata.get("managedFields") or ()
    )
    if entry.uid and metadata.get("uid") != entry.uid:
        return "another object has taken its name"
    if holder is not None and holder.key != owner.key:
        return f"it belongs to {holder.key}"
    if owner.release is not None:
        # what helm itself wrote carries no labels of ours, but says which release it is of
        if (of := released_by(live)) != owner.release:
            return f"it belongs to the release {of}" if of else "it does not say that it is of the release"
    elif holder is None:
        return "it does not carry our labels"
    elif not applied:
        return "we never applied it"
    if any(item.get("controller") for item in metadata.get("ownerReferences") or ()):
        return "another object controls it"
    return _taken_over(live, owner)


def _taken_over(live: dict[str, object], owner: Owner) -> str | None:
    """Whose it is by now, where an app of another kind has applied it since `owner` did; None if nobody has.

    The labels of both stay on an object that moved, so it is the last apply that counts; in one and the same second,
    the other's.
    """
    for kind, prefix, manager in _KINDS:
        other = Owner.of(live, prefix) if manager != owner.manager else None
        if other is not None and (since := _applied_at(live, manager)) and since >= _applied_at(live, owner.manager):
            return f"the {kind} {other.key} has applied it since"
    return None


def _applied_at(live: Mapping[str, object], manager: str) -> str:
    metadata = live["metadata"]
    entries = metadata.get("managedFields") if isinstance(metadata, dict) else None
    applied = (one for one in entries or () if one.get("manager") == manager and one.get("operation") == "Apply")
    return max((one.get("time", "") for one in applied), default="")


def released_by(live: Mapping[str, object]) -> Key | None:
    """The Helm release that a live object says it is of, by namespace and name."""
    said = _annotations(live)
    namespace, name = said.get(names.HELM_RELEASE_NAMESPACE, ""), said.get(names.HELM_RELEASE_NAME, "")
    return Key(namespace, name) if namespace and name else None


def _annotations(live: Mapping[str, object]) -> Mapping[str, str]:
    metadata = live["metadata"]
    found = metadata.get("annotations") if isinstance(metadata, dict) else None
    return found or {}
