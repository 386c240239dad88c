"""A proposal carried out: put on record, applied, what left deleted, and awaited (ENGINE.md §4).

The order of writes is that of the controllers: what is about to exist is on record before it exists, and what is
deleted leaves the record when a read has confirmed that it is gone. So a run that is killed anywhere leaves nothing
that is on no record, and the next one goes on.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from trimtab.api import names
from trimtab.base.errors import Terminal, Transient, TrimtabError, Waiting
from trimtab.controllers import departing, health, verdicts
from trimtab.controllers.application import Application, Terms
from trimtab.controllers.applyrecords import About, ApplyRecord, Moved
from trimtab.controllers.departing import Departure
from trimtab.controllers.proposing import Proposal, narrowed, told_of
from trimtab.health.verdict import State, Verdict
from trimtab.kube.errors import ApiError, StaleGroup, UnknownKind, Unreachable
from trimtab.manifests.refs import Ref
from trimtab.targets.contract import Action, Effect, Outcome
from trimtab.targets.kubernetes import gate, inventory
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.inventory import Entry
from trimtab.targets.kubernetes.planning import KubePlan
from trimtab.targets.kubernetes.wish import Wish

Heard = Callable[[Outcome], None]

_REFUSALS: Final = (ApiError, UnknownKind, StaleGroup, Unreachable)
_AGAIN_S: Final = (0.5, 1.0, 2.0)
"""What fails for reasons that may pass is tried again after so many seconds."""
_LOOK_S: Final = 1.0
"""How often what no event tells of is looked at while it is waited for."""
_SHOWN: Final = 10
_TELL_S: Final = 10.0
"""What is waited for is told every so many seconds."""
_CONVALESCENCE_S: Final = 10.0
"""So long it is not believed that an object is still as bad as it was before, in the same words."""


class Carried(NamedTuple):
    """What came of it; `held` says why something was not deleted, if something was not."""

    outcomes: tuple[Outcome, ...]
    held: str = ""


class Deadline:
    """Until when something may take. `pause` waits for news of the app, but no longer."""

    def __init__(self, app: Application, seconds: float) -> None:
        self._app = app
        self._seconds = seconds
        self._end = app.clock.monotonic() + seconds
        self._tell_at = app.clock.monotonic() + _TELL_S

    async def pause(self, seconds: float, awaited: str) -> None:
        """Wait for news, or `seconds`. Raises Waiting when the time is up."""
        now = self._app.clock.monotonic()
        left = self._end - now
        if left <= 0:
            words = f"timed out after {self._seconds:g} s, waiting for {awaited}"
            raise Waiting(names.Reason.PROGRESSING, words)
        if now >= self._tell_at:
            self._tell_at = now + _TELL_S
            self._app.told(f"waiting for {awaited}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, left)):
                await self._app.pulse.wait()
        self._app.pulse.clear()


def admit(proposal: Proposal) -> None:
    """Raise what the server would not take: nothing is written unless everything that can be judged passes."""
    refused = proposal.refused
    if not refused:
        return
    many = f"{len(refused)} objects were refused" if len(refused) > 1 else "an object was refused"
    kind = Transient if any(judged.transient for judged in refused) else Terminal
    raise kind(names.Reason.VALIDATION_FAILED, f"{many}, nothing was applied: {gate.words(refused)}")


async def note(app: Application, proposal: Proposal) -> None:
    """Put on record that the objects are as `proposal` has them, where nothing else is to be done."""
    record = await _recorded(app, proposal)
    _let_go(record, proposal.departure)
    record.about = _planned(record, proposal)
    await _close(app, record)


async def carry_out(app: Application, proposal: Proposal, heard: Heard, *, stay: bool = False) -> Carried:
    """Do what `proposal` says; `heard` is told what became of each object.

    `stay`: somebody will go on looking, so what is as it should be gets a look too, from which drift is known later.
    Raises Terminal, Transient, Waiting; what was done until then is on record.
    """
    record = await _recorded(app, proposal)
    deadline = Deadline(app, proposal.terms.timeout_s)
    app.target.forgive(app.key)
    if proposal.todo:
        await _intend(app, record, proposal)
    outcomes: list[Outcome] = []
    ailing = {item.ref: app.target.verdict(item.ref) for item in proposal.items}
    try:
        if proposal.todo or stay:
            outcomes += await _apply(app, record, proposal, heard, deadline, stay=stay)
        departure = await departing.guard(app, record, proposal.items, proposal.rivals, proposal.terms)
        departure = departing.as_proposed(departure, proposal.departure)
        _let_go(record, departure)
        outcomes += await _prune(app, record, proposal, departure, heard, deadline)
    except (TrimtabError, *_REFUSALS):
        _identify(app, record, proposal.items)
        record.about = msgspec.structs.replace(_planned(record, proposal), applied="")
        with contextlib.suppress(TrimtabError, *_REFUSALS):
            await app.records.write(record)
        raise
    _identify(app, record, proposal.items)
    record.about = _planned(record, proposal)
    await _close(app, record)
    await settle(app, proposal.items, deadline, ailing)
    return Carried(tuple(outcomes), departure.held)


async def heal(app: Application, proposal: Proposal, heard: Heard) -> list[Outcome]:
    """Bring back what was disturbed of what `proposal` wished, unless another app has taken it since."""
    app.disturbed.clear()
    record = await app.records.read(app.key)
    record.check()
    wish = app.wish(proposal.items, record.inventory, proposal.terms)
    plan = app.target.plan(wish, await app.target.observe(wish))
    todo = [change for stage in plan.stages for change in stage if change.action in (Action.CORRECT, Action.APPLY)]
    if not todo:
        return []
    await proposal.rivals.fresh().contest([change.after for change in todo if change.after is not None])
    outcomes = await _converged(app, wish, narrowed(plan, {change.ref for change in todo}), (), heard)
    before = dict(record.inventory)
    _identify(app, record, proposal.items)
    if record.inventory != before:
        await app.records.write(record)
    verdicts.check(outcomes, {item.ref for item in proposal.items})
    return outcomes


async def settle(
    app: Application, items: Sequence[Desired], deadline: Deadline, before: dict[Ref, Verdict] | None = None
) -> None:
    """Wait until `items` are healthy. Raises Transient (HealthCheckFailed) when one is not, Waiting if not in time."""
    awaited = [item for item in items if item.watched]
    await app.target.observe(app.wish(awaited, {}, Terms()))
    began, before = app.clock.monotonic(), before or {}
    while True:
        app.pulse.clear()
        await app.target.looking.again(app.client, app.key, awaited, unwatched=True)
        found = {item.ref: app.target.verdict(item.ref) for item in awaited}
        if app.clock.monotonic() < began + _CONVALESCENCE_S:
            same = [ref for ref, verdict in found.items() if verdict.bad and verdict == before.get(ref)]
            found |= {ref: Verdict(State.InProgress, found[ref].message) for ref in same}
        judged = health.judge(found)
        match judged.health:
            case health.Health.GOOD:
                return
            case health.Health.BAD:
                raise Transient(names.Reason.HEALTH_CHECK_FAILED, f"health check failed: {judged.message}")
        look = min(app.target.looking.next_s(awaited, _LOOK_S), _LOOK_S)
        await deadline.pause(look, judged.message)


# --- record


async def _recorded(app: Application, proposal: Proposal) -> ApplyRecord:
    """The record, if it is still the one that `proposal` was made from. Raises Moved, Terminal."""
    record = await app.records.read(app.key)
    record.check()
    if record.version != proposal.version:
        raise Moved(f"app {app.key} was applied by somebody else since this was planned: look again, then apply")
    return record


async def _intend(app: Application, record: ApplyRecord, proposal: Proposal) -> None:
    """Put on record what is about to be written. Where nothing is new, there is nothing to write."""
    wanted = [Entry(item.ref, item.gvk.version) for item in proposal.items]
    merged = inventory.union(record.inventory, wanted)
    if merged == record.inventory and record.uid:
        return
    record.inventory = merged
    record.about = msgspec.structs.replace(_planned(record, proposal), applied="")
    await app.records.write(record)


def _planned(record: ApplyRecord, proposal: Proposal) -> About:
    """What the record says of where the app comes from, with what was approved and is not through yet."""
    about = told_of(record, proposal.about, proposal.items)
    pending = bool(about.leaving) and record.about.approval == proposal.terms.approval
    if not pending:
        return about
    return msgspec.structs.replace(about, approval=record.about.approval, granted=record.about.granted)


def _let_go(record: ApplyRecord, departure: Departure) -> None:
    """What another app has made its own leaves the record."""
    for ref in departure.settled:
        record.inventory.pop(ref, None)


def _identify(app: Application, record: ApplyRecord, items: Sequence[Desired]) -> None:
    """Put the uids that `items` have now into the record; of what was never ours there is none."""
    for item in items:
        tracked = app.target.tracker.get(item.ref)
        known = tracked is not None and tracked.baseline is not None and item.ref in record.inventory
        if known and tracked is not None and tracked.baseline is not None:
            record.inventory[item.ref] = Entry(item.ref, item.gvk.version, tracked.baseline.uid)


async def _close(app: Application, record: ApplyRecord) -> None:
    """Write the record; that of an app which has nothing any more goes."""
    if record.inventory:
        await app.records.write(record)
    else:
        await app.records.forget(record)


# --- apply


async def _apply(
    app: Application, record: ApplyRecord, proposal: Proposal, heard: Heard, deadline: Deadline, *, stay: bool
) -> list[Outcome]:
    """Apply what is to be applied; what has to wait for a definition of the same set is waited for."""
    wish, pauses = app.wish(proposal.items, record.inventory, proposal.terms), iter(_AGAIN_S)
    judgements: Sequence[gate.Judgement] = proposal.judgements
    done: list[Outcome] = []
    rest = Action.CORRECT if stay else None
    while True:
        plan = narrowed(app.target.plan(wish, await app.target.observe(wish)), proposal.todo, rest=rest)
        outcomes = await _converged(app, wish, plan, judgements, heard)
        done += outcomes
        failures = [outcome for outcome in outcomes if outcome.effect is Effect.FAILED]
        waiting = [outcome for outcome in outcomes if outcome.effect is Effect.WAITING]
        if failures:
            await _bear(app, failures, pauses)
        elif waiting:
            awaited = "; ".join(map(str, waiting[:_SHOWN]))
            await deadline.pause(_LOOK_S, awaited)
        else:
            return done
        await app.client.discovery.refresh()
        judgements, rest = (), None


async def _converged(
    app: Application, wish: Wish, plan: KubePlan, judgements: Sequence[gate.Judgement], heard: Heard
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    async for outcome in app.target.converge(wish, plan, judgements):
        heard(outcome)
        outcomes.append(outcome)
    return outcomes


async def _bear(app: Application, failures: Sequence[Outcome], pauses: Iterator[float]) -> None:
    """Let a moment pass before another try, or raise what failed."""
    seconds = next(pauses, None)
    passing = all(outcome.transient and not outcome.stuck for outcome in failures)
    if seconds is None or not passing:
        kind = Transient if any(outcome.transient for outcome in failures) else Terminal
        raise kind(names.Reason.RECONCILIATION_FAILED, verdicts.failure_words(failures))
    await app.clock.sleep(seconds)


# --- prune


async def _prune(
    app: Application, record: ApplyRecord, proposal: Proposal, departure: Departure, heard: Heard, deadline: Deadline
) -> list[Outcome]:
    """Delete what may go, and wait until it is gone. What is not ours any more leaves the record."""
    if not departure.go:
        return []
    if departure.granted and departure.granted != record.about.granted:
        approval = proposal.terms.approval
        record.about = msgspec.structs.replace(record.about, approval=approval, granted=departure.granted)
        await app.records.write(record)  # a crash in between must not ask again for what was approved
    elif (await app.records.read(app.key)).version != record.version:
        words = "nothing is deleted: somebody else has changed the record since it was read"
        raise Transient(names.Reason.PRUNE_FAILED, words)
    wish = app.wish(proposal.items, record.inventory, proposal.terms)
    left, done, pauses = list(departure.go), list[Outcome](), iter(_AGAIN_S)
    while left:
        outcomes: list[Outcome] = []
        async for outcome in app.target.delete(wish, left):
            heard(outcome)
            outcomes.append(outcome)
            if outcome.effect in (Effect.DELETED, Effect.RELEASED):
                record.inventory.pop(outcome.ref, None)
        done += [outcome for outcome in outcomes if outcome.effect is not Effect.WAITING]
        failures = [outcome for outcome in outcomes if outcome.effect is Effect.FAILED]
        waiting = [outcome for outcome in outcomes if outcome.effect is Effect.WAITING]
        left = [entry for entry in left if entry.ref in {outcome.ref for outcome in (*failures, *waiting)}]
        if failures:
            await _bear(app, failures, pauses)
        elif waiting:
            awaited = "; ".join(map(str, waiting[:_SHOWN]))
            await deadline.pause(_LOOK_S, awaited)
    return done
