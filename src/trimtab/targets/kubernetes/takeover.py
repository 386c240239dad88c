"""Taking objects over from kubectl, so that fields which leave git really go (ENGINE.md §3 and §8).

Server-side apply removes a field only if nobody else owns it. What kubectl wrote is owned by kubectl's own field
managers, so it would stay for ever. Their entries in `metadata.managedFields` are merged into ours, once, by a JSON
patch that holds only for the version it was made from; the apply that follows then decides about every field.

Left alone: what was written through a subresource (`kubectl scale`), what other controllers wrote, and deliberate
changes by `kubectl label`, `annotate`, `patch`, `set` and `rollout`.
"""

from collections.abc import Callable, Iterable
from typing import Any

from trimtab.api.names import HELM_MANAGER
from trimtab.diff.fields import Entry, Writer
from trimtab.kube.client import Client
from trimtab.kube.errors import Conflict, Invalid
from trimtab.kube.resource import Resource
from trimtab.manifests import codec
from trimtab.manifests.pointers import format_pointer
from trimtab.manifests.refs import Body

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
BEFORE_FIRST_APPLY = "before-first-apply"
_WRITERS = frozenset(
    {
        "kubectl-client-side-apply",
        "kubectl-create",
        "kubectl-edit",
        "kubectl-replace",
        "kubectl-run",
        "kubectl-expose",
        BEFORE_FIRST_APPLY,
    }
)
_APPLIER = "kubectl"
_HELM = "helm"
"""What helm itself wrote becomes ours where we write for it: it is the same release."""
_ATTEMPTS = 6

FieldSet = dict[str, Any]
"""A `fieldsV1`: `{}` is a member of the set, `.` beside children says that the node itself is one, too."""


def is_foreign(body: Body, manager: str) -> bool:
    """Whether a live object has entries that are to be merged into that of `manager`."""
    return any(_is_foreign(entry, manager) for entry in _entries(body))


def appliers(body: Body) -> list[Entry]:
    """What `kubectl apply --server-side` has declared of a live object."""
    return [
        Entry(entry.get("apiVersion", ""), codec.canonical(entry.get("fieldsV1") or {}), entry.get("time", ""))
        for entry in _entries(body)
        if is_own(entry, _APPLIER)
    ]


def gives_way(writer: Writer, manager: str) -> bool:
    """Whether a field that `writer` owns is not kept by that: it is ours, or becomes ours with the first apply."""
    own = (writer.manager, writer.operation, writer.subresource) == (manager, "Apply", "")
    return own or _is_foreign({**writer._asdict()}, manager)


def operations(body: Body, manager: str) -> list[Body] | None:
    """The JSON patch that makes the fields of kubectl in `body` those of `manager`; None where there are none.

    Entries of another apiVersion than the first cannot be merged, since paths belong to a version: they are left for
    the next round. Where only our own entry is of another version it gives way, as the apply that follows claims
    everything of ours again.
    """
    entries = _entries(body)
    own = next((entry for entry in entries if is_own(entry, manager)), None)
    foreign = [entry for entry in entries if _is_foreign(entry, manager)]
    if not foreign:
        return None
    versions = [entry.get("apiVersion", "") for entry in foreign]
    version = own["apiVersion"] if own is not None and own.get("apiVersion") in versions else versions[0]
    merged = [entry for entry in foreign if entry.get("apiVersion", "") == version]
    sets = [_takeable(entry) for entry in merged]
    if own is not None and own.get("apiVersion") == version:
        sets.append(own.get("fieldsV1") or {})
    fields = union(sets)
    others = [entry for entry in entries if entry not in merged and entry is not own]
    taken = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": version,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        "time": max((entry.get("time", "") for entry in merged), default=""),
    }
    if not taken["time"]:
        del taken["time"]
    metadata = body["metadata"]
    patch = guarded(body, [*others, *([taken] if fields else [])])
    if LAST_APPLIED in (metadata.get("annotations") or {}):
        patch.append({"op": "remove", "path": format_pointer(("metadata", "annotations", LAST_APPLIED))})
    return patch


def guarded(body: Body, entries: list[Body]) -> list[Body]:
    """The JSON patch that sets the managedFields of `body`, if it still is what it was.

    A list without entries would be taken for a wish to drop the record altogether; the server's way to say it is one
    empty entry.
    """
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": body["metadata"]["resourceVersion"]},
        {"op": "replace", "path": "/metadata/managedFields", "value": entries or [{}]},
    ]


async def rewrite(
    client: Client, resource: Resource, body: Body, manager: str, patch_of: Callable[[Body], list[Body] | None]
) -> Body:
    """Patch the live object `body` by what `patch_of` says of it, and return it as it is then.

    Raises what the client raises; Conflict where the object does not stay the same for long enough.
    """
    metadata = body["metadata"]
    for attempt in range(_ATTEMPTS):
        patch = patch_of(body)
        if patch is None:
            return body
        try:
            answer: Body = await client.json_patch(
                resource, metadata["name"], metadata.get("namespace", ""), patch, field_manager=manager
            )
        except (Conflict, Invalid) as refusal:
            # a failed `test` is answered like a patch that makes no sense
            version = body["metadata"]["resourceVersion"]
            body = await client.get(resource, metadata["name"], metadata.get("namespace", ""))
            if body["metadata"]["resourceVersion"] == version:
                raise
            if attempt + 1 == _ATTEMPTS:
                words = "it is changed all the time: the record of who owns its fields could not be rewritten"
                raise Conflict(409, "Conflict", words) from refusal
        else:
            return answer
    return body


def union(sets: Iterable[FieldSet]) -> FieldSet:
    """All members of `sets` and no others. Nothing at all is `{}`."""
    merged: FieldSet | None = None
    for fields in sets:
        if fields:
            merged = codec.clone(fields) if merged is None else _joined(merged, fields)
    return merged or {}


def _joined(one: FieldSet, other: FieldSet) -> FieldSet:
    if not one and not other:
        return {}
    joined = dict(one) if one else {".": {}}
    for key, children in (other or {".": {}}).items():
        joined[key] = _joined(joined[key], children) if key in joined else codec.clone(children)
    return joined


def without(fields: FieldSet, *path: str) -> FieldSet:
    """`fields` without what is at and below `path`. What becomes empty goes too: an empty node would be a member."""
    name, rest = path[0], path[1:]
    if name not in fields:
        return fields
    kept = {key: children for key, children in fields.items() if key != name}
    if rest and fields[name] and (left := without(fields[name], *rest)):
        kept[name] = left
    elif rest and not fields[name]:
        kept[name] = {}
    return kept


def _takeable(entry: Body) -> FieldSet:
    """What of an entry may become ours: never what we would not send, for applying would remove it.

    Nobody knows who wrote what stands in the entry of before the first apply: finalizers in it are a controller's.
    """
    fields: FieldSet = entry.get("fieldsV1") or {}
    fields = without(fields, "f:status")
    fields = without(fields, "f:metadata", "f:ownerReferences")
    fields = without(fields, "f:metadata", "f:annotations", f"f:{LAST_APPLIED}")
    if entry.get("manager") == BEFORE_FIRST_APPLY:
        fields = without(fields, "f:metadata", "f:finalizers")
    return fields


def _entries(body: Body) -> list[Body]:
    entries: list[Body] = body.get("metadata", {}).get("managedFields") or []
    return entries


def is_own(entry: Body, manager: str) -> bool:
    """Whether an entry of managedFields says what `manager` applied to the object itself."""
    return entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource")


def _is_foreign(entry: Body, manager: str) -> bool:
    if entry.get("subresource"):
        return False
    who = entry.get("manager", "")
    if manager == HELM_MANAGER and who == _HELM:
        return True
    if entry.get("operation") == "Apply":
        return bool(who == _APPLIER)
    return who in _WRITERS or who == manager
