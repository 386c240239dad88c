"""What an app of `trimtab apply` has on record and wishes no more: the guards before it is deleted (ENGINE.md §5)."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from trimtab.api.gvk import HELM_RELEASE, KUSTOMIZATION
from trimtab.base.abreast import abreast
from trimtab.controllers import weighing
from trimtab.controllers.application import PROTECTED, Application, Terms
from trimtab.controllers.applyrecords import ApplyRecord
from trimtab.controllers.rivals import Rivals
from trimtab.diff.report import Finding, State
from trimtab.kube.errors import ApiError, NotFound, StaleGroup, UnknownKind, Unreachable
from trimtab.manifests.refs import Gvk, Key, Ref
from trimtab.targets.kubernetes import budget, prune
from trimtab.targets.kubernetes.budget import Candidate
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.inventory import Entry

_NAMESPACE: Final = Gvk("", "v1", "Namespace")
_REFUSALS: Final = (ApiError, UnknownKind, StaleGroup, Unreachable)
_CLEARING: Final = frozenset((gvk.group, gvk.kind) for gvk in (KUSTOMIZATION, HELM_RELEASE))


class Departure(NamedTuple):
    """What may `go` now, what is left to other apps, and why the rest is `held`, if it is.

    `settled` is what another app has made its own, so that it leaves the record. `granted` are the tokens of what the
    approval of this run was for.
    """

    go: tuple[Entry, ...] = ()
    handed: Mapping[Ref, Key] = {}
    settled: frozenset[Ref] = frozenset()
    held: str = ""
    granted: tuple[str, ...] = ()


def left(record: ApplyRecord, items: Sequence[Desired]) -> list[Entry]:
    """What is on record and no longer wished, in the order of deletion."""
    return [one.entry for one in prune.leaving(record.inventory, {item.ref for item in items})]


async def guard(
    app: Application, record: ApplyRecord, items: Sequence[Desired], rivals: Rivals, terms: Terms
) -> Departure:
    """Which of what left may be deleted now."""
    leaving = left(record, items)
    if not leaving or not terms.prune:
        return Departure()
    elsewhere = await rivals.elsewhere([entry.ref for entry in leaving])
    handed = [entry for entry in leaving if entry.ref in elsewhere.wanted]
    settled = await _settled(app, handed)
    leaving = [entry for entry in leaving if entry.ref not in elsewhere.wanted]
    if not leaving:
        return Departure((), elsewhere.wanted, settled)
    await app.watch_the_switch()
    if why := elsewhere.held or app.frozen or await _ending(app):
        return Departure((), elsewhere.wanted, settled, why)
    weighed = await weighing.weigh(app.client, app.owner, leaving, PROTECTED, app.target.watches.last_seen)
    candidates = [_with_its_own(candidate) for candidate in weighed.candidates]
    granted = record.about.granted if record.about.approval == terms.approval else ()
    owned = len(record.inventory)
    decision = budget.decide(candidates, owned, terms.budget, approval=terms.approval, granted=granted)
    waiting = {candidate.ref for candidate in decision.held} | weighed.later
    held = budget.words(decision, "say --approve-prune") if decision.held else ""
    if weighed.later and not held:
        held = f"{', '.join(map(str, sorted(weighed.later)))}: goes when the objects of its kind are gone"
    go = tuple(entry for entry in leaving if entry.ref not in waiting)
    approved = tuple(candidate.token for candidate in decision.approved)
    return Departure(go, elsewhere.wanted, settled, held, tuple(sorted({*granted, *approved})))


def as_proposed(departure: Departure, proposed: Departure) -> Departure:
    """`departure` without what may go by now and was not to go when it was shown: that is for another look."""
    shown = {entry.ref for entry in proposed.go}
    late = [entry.ref for entry in departure.go if entry.ref not in shown]
    if not late:
        return departure
    words = f"{', '.join(map(str, sorted(late)))}: may be deleted by now, and was not to be when this was planned"
    go = tuple(entry for entry in departure.go if entry.ref in shown)
    return departure._replace(go=go, held="; ".join(filter(None, (departure.held, f"{words}: apply again"))))


async def told(
    app: Application, record: ApplyRecord, items: Sequence[Desired], departure: Departure, terms: Terms
) -> list[Finding]:
    """What becomes of what left, as far as the cluster still has it."""
    going = {entry.ref for entry in departure.go}

    async def one(entry: Entry) -> Finding | None:
        try:
            resource = await prune.served(app.client, entry)
            live = await app.client.get(resource, entry.ref.name, entry.ref.namespace)
        except (NotFound, UnknownKind):
            return None
        except _REFUSALS as failure:
            return Finding(entry.ref, State.UNKNOWN, note=str(failure))
        if (why := prune.not_ours(live, entry, app.owner)) is not None:
            note = f"no longer declared, and let go: {why}"
        elif entry.ref in going:
            note = "no longer declared: it is deleted"
        elif (other := departure.handed.get(entry.ref)) is not None:
            note = f"no longer declared here, and kept for app {other}, which declares it now"
        elif not terms.prune:
            note = "no longer declared, and kept: --prune deletes it"
        else:
            note = "no longer declared, and kept: its deletion is held"
        return Finding(entry.ref, State.EXTRA, note=note)

    return [found for found in await abreast(one, left(record, items)) if found is not None]


async def _settled(app: Application, handed: Sequence[Entry]) -> frozenset[Ref]:
    """Those of `handed` that the app which desires them has applied, or that are gone."""

    async def one(entry: Entry) -> Ref | None:
        try:
            resource = await prune.served(app.client, entry)
            live = await app.client.get(resource, entry.ref.name, entry.ref.namespace)
        except (NotFound, UnknownKind):
            return entry.ref
        except _REFUSALS:
            return None
        return entry.ref if prune.foreign(live, entry, app.owner) is not None else None

    return frozenset(ref for ref in await abreast(one, handed) if ref is not None)


async def _ending(app: Application) -> str:
    """Why everything goes on somebody else's order: the namespace of the record is being deleted (P11)."""
    name = app.key.namespace
    try:
        body = await app.client.get(await app.client.discovery.find(_NAMESPACE), name)
    except NotFound:
        return f"deletions are held: namespace {name} is gone"
    except _REFUSALS as failure:
        return f"deletions are held: whether namespace {name} is being deleted cannot be known: {failure}"
    deleted = body["metadata"].get("deletionTimestamp")
    return f"deletions are held: namespace {name} is being deleted" if deleted else ""


def _with_its_own(candidate: Candidate) -> Candidate:
    """An app of a controller does not go alone, and what it would take along is not looked into here."""
    ref = candidate.ref
    if candidate.precious or (ref.group, ref.kind) not in _CLEARING:
        return candidate
    return candidate._replace(precious="its controller deletes what it owns")
