"""The status of a Kustomization: what was built and applied last, how it went, and what is on record of it."""

from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec

from trimtab.api.schema import doc, moment
from trimtab.manifests.conditions import Condition

HISTORY_LIMIT = 5


class InventoryEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One object that was, or is about to be, applied."""

    id: Annotated[str, doc("The object as `<namespace>_<name>_<group>_<kind>`.")]
    v: Annotated[str, doc("API version it was applied in, without the group.")]
    uid: Annotated[str, doc("The object's uid, once it is known.")] = ""


def lines_of(entries: Iterable[InventoryEntry]) -> list[dict[str, str]]:
    """The entries as the pure inventory knows them."""
    lines: list[dict[str, str]] = msgspec.to_builtins(list(entries))
    return lines


class Inventory(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Every object that was, or is about to be, applied: written before the effect.

    `format`, `cluster`, `checksum` and `count` are ours: an inventory without them was written by Flux and is imported.
    """

    entries: Annotated[tuple[InventoryEntry, ...], doc("The objects; in format 2 the Secrets that hold their list.")]
    format: Annotated[
        int, doc("Version of this list's form; absent where Flux wrote it. 2: the list is kept in Secrets.")
    ] = 0
    cluster: Annotated[str, doc("Uid of the namespace kube-system of the cluster the objects are in.")] = ""
    checksum: Annotated[str, doc("Digest over all objects of the list.")] = ""
    count: Annotated[int, doc("How many objects there are, where the list is kept in Secrets.")] = 0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One rendered state in the history."""

    digest: Annotated[str, doc("Digest of the rendered objects; of the revision where it could not be rendered.")]
    first_reconciled: Annotated[str, moment("When it was reconciled first.")]
    last_reconciled: Annotated[str, moment("When it was reconciled last.")]
    last_reconciled_duration: Annotated[str, doc("How long the last time took.")]
    last_reconciled_status: Annotated[str, doc("Reason of the condition Ready after the last time.")]
    total_reconciliations: Annotated[int, doc("How often it was reconciled.", format="int64")]
    metadata: Annotated[
        Mapping[str, str],
        doc(
            "Where it came from: `revision` and `originRevision`. Ours alone: `author`, `subject` and `committed` of "
            "the commit; when it was `fetched`, `rendered` and `applied`; `changes` and some of the `objects`."
        ),
    ] = msgspec.field(default_factory=dict)


class DriftedField(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One field that somebody else had changed. Values are JSON, cut where they are long; of Secrets they are masks."""

    path: Annotated[str, doc("The field.")]
    found: Annotated[str, doc("The value that was found; absent where the field was.")] = ""
    declared: Annotated[str, doc("The value that is declared; absent where the field is not.")] = ""


class DriftRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One object that had become something else than what is declared. Ours: Flux has no such list."""

    object: Annotated[str, doc("Kind, namespace and name.")]
    change: Annotated[str, doc("`changed`, `deleted`, or `hidden` where the app's account may not read the object.")]
    fields: Annotated[tuple[DriftedField, ...], doc("What differed.")] = ()
    more_fields: Annotated[int, doc("How many more fields differed.")] = 0
    manager: Annotated[str, doc("Field manager that changed it, where that is known.")] = ""
    operation: Annotated[str, doc("How it did: `Apply` or `Update`.")] = ""
    changed_at: Annotated[str, moment("When it did, as the server has it.")] = ""
    seen_at: Annotated[str, moment("When it was found.")]
    answer: Annotated[str, doc("What was done: `corrected`, `reported`, `yielded` or `returned`.")]


class ApprovedPrune(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Deletions that somebody approved and that are under way: whoever starts anew goes on without asking again."""

    digest: Annotated[str, doc("What was approved, as the annotation trimtab.dev/approve-prune named it.")]
    objects: Annotated[tuple[str, ...], doc("The objects it is about, each as the beginning of a digest.")]


class FetchedBase(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A base in another repository that the last build was made of."""

    url: Annotated[str, doc("Address of the repository.")]
    ref: Annotated[str, doc("Branch, tag or commit that is asked for; empty: the default branch.")] = ""
    commit: Annotated[str, doc("The commit that it is.")]


class PlannedRevision(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where several processes share the apps: what the others must know of the plan of this one."""

    revision: Annotated[str, doc("Revision of the source at which the inventory has everything that is desired.")]
    generation: Annotated[int, doc("Generation of the object that was planned for.", format="int64")]
    leaving: Annotated[
        tuple[str, ...], doc("What is in the inventory and not desired any more, each as the beginning of a digest.")
    ] = ()


class KustomizationStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What was applied last, and how it went."""

    observed_generation: Annotated[
        int, doc("Generation of the object that was reconciled last; -1 before the first time.", format="int64")
    ] = -1
    last_handled_reconcile_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/requestedAt that was honoured last.")
    ] = ""
    conditions: Annotated[tuple[Condition, ...], doc("How it goes.")] = ()
    last_applied_revision: Annotated[str, doc("Revision of the source that was applied last.")] = ""
    last_applied_origin_revision: Annotated[str, doc("Revision the source itself was made from, where it says so.")] = (
        ""
    )
    last_attempted_revision: Annotated[str, doc("Revision of the source that was tried last.")] = ""
    inventory: Annotated[
        Inventory | None, doc("Every object that was, or is about to be, applied: written before the effect.")
    ] = None
    history: Annotated[
        tuple[Snapshot, ...], doc("The last states, the latest first; at most five, the last success among them.")
    ] = ()
    approved: Annotated[ApprovedPrune | None, doc("Deletions that were approved and are not through yet.")] = None
    planned: Annotated[
        PlannedRevision | None, doc("What others must know of the plan, where several processes share the apps.")
    ] = None
    drift: Annotated[tuple[DriftRecord, ...], doc("The last drift that was found, the latest first; at most ten.")] = ()
    remote_bases: Annotated[
        tuple[FetchedBase, ...], doc("The bases in other repositories that the last build was made of.")
    ] = ()
