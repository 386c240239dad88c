"""What an apply would do, found out by reads and dry-runs: one value to be shown, approved and carried out."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from trimtab.base.errors import Terminal
from trimtab.controllers import departing
from trimtab.controllers.application import Application, Terms
from trimtab.controllers.applyrecords import About, ApplyRecord
from trimtab.controllers.departing import Departure
from trimtab.controllers.rivals import Planned, Rivals
from trimtab.diff.report import Finding, State
from trimtab.manifests import codec
from trimtab.manifests.inventory import encode_id
from trimtab.manifests.refs import Ref
from trimtab.targets.contract import Action, Change
from trimtab.targets.kubernetes import comparing, gate
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.planning import KubePlan

_DONE: Final = (State.SAME, State.SKIPPED)


class Proposal(NamedTuple):
    """What is to be done, and what it was found out from: the record at `version`.

    `findings` are what is different, `todo` what has to be applied, `departure` what becomes of what left. `refused` is
    what the server would not take. `on_record`: the record says all of this already.
    """

    version: str
    about: About
    items: tuple[Desired, ...]
    terms: Terms
    rivals: Rivals
    findings: tuple[Finding, ...]
    todo: frozenset[Ref]
    departure: Departure
    judgements: tuple[gate.Judgement, ...]
    on_record: bool

    @property
    def quiet(self) -> bool:
        """Nothing is to be applied, and nothing deleted."""
        return not self.todo and not self.departure.go

    @property
    def refused(self) -> list[gate.Refused]:
        """What the server would not take."""
        return [judged for judged in self.judgements if isinstance(judged, gate.Refused)]


async def propose(
    app: Application, items: tuple[Desired, ...], about: About, terms: Terms, planned: Planned
) -> Proposal:
    """What is to be done so that the cluster has `items`. Writes nothing. Raises Terminal, Transient.

    `planned` says what another app of the same repository desires.
    """
    record = await app.records.read(app.key)
    record.check()
    await app.records.check_place(record)
    rivals = Rivals(app.client, app.records, app.key, about, planned, terms.heir_of, terms.disregarded)
    await rivals.check_name()
    _guard_empty(app, items, record, terms)
    until = asyncio.get_running_loop().time() + terms.timeout_s
    asked = comparing.Terms(stamped=True, timeout_s=terms.timeout_s, until=until)
    found = {one.ref: one for one in await comparing.compare(app.client, items, asked)}
    todo = frozenset(ref for ref, one in found.items() if one.state not in _DONE or _unsure(record, one))
    await rivals.contest([item for item in items if item.ref in todo and found[item.ref].state is not State.MISSING])
    wish = app.wish(items, record.inventory, terms)
    plan = narrowed(app.target.plan(wish, await app.target.observe(wish)), todo) if todo else None
    judgements = tuple(await app.target.judge(wish, plan)) if plan is not None else ()
    departure = await departing.guard(app, record, items, rivals, terms)
    findings = [one for one in found.values() if one.state not in _DONE]
    findings += await departing.told(app, record, items, departure, terms)
    about = told_of(record, about, items)
    told = msgspec.structs.replace(record.about, approval="", granted=())
    on_record = told == about and not departure.settled
    return Proposal(
        *(record.version, about, items, terms, rivals, tuple(findings), todo, departure, judgements, on_record)
    )


def told_of(record: ApplyRecord, about: About, items: Sequence[Desired]) -> About:
    """What the record says of the app once `items` are applied."""
    gone = record.inventory.keys() - {item.ref for item in items}
    applied = codec.digest(sorted(item.digest for item in items))
    return msgspec.structs.replace(about, applied=applied, leaving=tuple(sorted(map(encode_id, gone))))


def narrowed(plan: KubePlan, todo: Collection[Ref], *, rest: Action | None = None) -> KubePlan:
    """`plan` for what has to be applied alone. The `rest` is left out, or gets a look where none was taken yet."""
    open_ = (Action.APPLY, Action.CORRECT)

    def kept(change: Change[Desired]) -> list[Change[Desired]]:
        if change.ref in todo:
            return [change]
        return [change._replace(action=rest)] if rest is not None and change.action in open_ else []

    return KubePlan(tuple(tuple(one for change in stage for one in kept(change)) for stage in plan.stages), ())


def _unsure(record: ApplyRecord, found: Finding) -> bool:
    """Whether what looks as it is wished was not applied by us, as far as the record goes."""
    entry = record.inventory.get(found.ref)
    return found.state is State.SAME and (entry is None or not entry.uid)


def _guard_empty(app: Application, items: Sequence[Desired], record: ApplyRecord, terms: Terms) -> None:
    """Nothing at all is never taken for a wish, unless that is said to be meant (ENGINE.md, P3)."""
    if items or (terms.allow_empty and record.uid):
        return
    kept = f": the {len(record.inventory)} objects of app {app.key} are kept" if record.inventory else ""
    way = ". If that is meant, say --allow-empty" if record.inventory else ""
    raise Terminal("EmptyRender", f"no object is declared{kept}{way}")
