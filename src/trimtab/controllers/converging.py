"""From what an app is made of to a cluster that has it: plan, guard, gate, intend, apply, prune (ENGINE.md §2)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from trimtab.api import names
from trimtab.api.kustomize import Kustomization
from trimtab.api.requests import correction_asked
from trimtab.base.clock import Clock, rfc3339
from trimtab.base.traces import span
from trimtab.controllers import drifting, gating, verdicts
from trimtab.controllers.access import Access
from trimtab.controllers.app import App, Build, Held
from trimtab.controllers.basis import recall
from trimtab.controllers.handover import Handover
from trimtab.controllers.journeys import effects
from trimtab.controllers.pruning import Pruning
from trimtab.controllers.scribe import Scribe
from trimtab.kube.client import Client
from trimtab.targets.contract import Effect, Outcome
from trimtab.targets.kubernetes import gate, inventory
from trimtab.targets.kubernetes.desired import PREFIX, Owner
from trimtab.targets.kubernetes.inventory import Entry
from trimtab.targets.kubernetes.planning import KubePlan
from trimtab.targets.kubernetes.wish import Wish

_OURS_NOW = (Effect.CREATED, Effect.CONFIGURED, Effect.CORRECTED, Effect.UNCHANGED)


@dataclass(frozen=True, slots=True)
class Converging:
    """Carries out what an app wants. `client` is that of our own cluster, where the records are."""

    client: Client
    clock: Clock
    access: Access
    handover: Handover
    pruning: Pruning
    scribe: Scribe

    def wish(self, ks: Kustomization, app: App, build: Build, client: Client) -> Wish:
        """What `ks` wants of the cluster, once `build` is what it is made of."""
        mode = drifting.mode_of(ks)
        if correction_asked(ks.metadata.annotations, app.status.last_handled_reconcile_at):
            mode = names.DriftMode.CORRECT
        each = ks.metadata.annotations.get(names.Annotation.GATE) == names.GateMode.EACH
        owner, force = Owner(PREFIX, ks.key), ks.spec.force
        before = drifting.applied_before(app, build)
        wish = Wish(
            owner, client, build.items, app.inventory, ks.spec.prune, mode, force, each, before, ks.spec.interval_s
        )
        return wish._replace(witness=self.scribe.witness(ks, app, build))

    async def converge(self, ks: Kustomization, app: App, build: Build, client: Client, revision: str) -> list[Outcome]:
        """Make the cluster what `build` says. Raises where something of it was refused; the others went on."""
        await self.handover.contest(ks, app, build)
        target, wish = app.target, self.wish(ks, app, build, client)
        plan = target.plan(wish, await target.observe(wish))
        if plan.deletions:
            await self.handover.survey()
        self.handover.part(ks.key, (change.ref for change in plan.deletions))
        plan = self._guard_empty(ks, app, build, plan)
        self.scribe.notify(ks, app)
        plan = await self.pruning.guard(ks, app, wish, plan)
        self.scribe.held(ks, app)
        if not (plan.quiet and app.inventory.keys() >= build.refs):
            await self.access.client_for(ks, app.at, writing=True)
            await self.access.admit(ks, app.at, build.items)
            if not app.unresolved:  # what is told to differ has to be told right
                plan = await target.prove(wish, plan)
        if plan.quiet and app.inventory.keys() >= build.refs:
            app.good, app.enforced = build, app.provenance
            app.trial.applied = app.trial.applied or rfc3339(self.clock.now())
            return []
        first = gating.ahead(wish, plan)
        with span("gate"):
            judgements = await gating.judge(app, wish, plan, but=first)
        plan, refused = gate.admitted(plan, judgements)
        before = app.good, app.enforced
        app.good, app.enforced = build, app.provenance
        await self._intend(ks, app, build, revision)
        outcomes = await _carried_out(refused, target.converge(wish, plan, judgements, ahead=first))
        if gating.failed(first, outcomes):
            with span("gate"):
                plan = await gating.rest(app, wish, plan, first, before)
            outcomes = await _carried_out(outcomes, target.converge(wish, plan, judgements))
        self._take_stock(app, build, outcomes)
        self.handover.taken_over(ks.key, (o.ref for o in outcomes if o.effect in _OURS_NOW))
        self.scribe.announce(ks, revision, outcomes)
        verdicts.check(outcomes, build.refs)
        app.trial.applied = app.trial.applied or rfc3339(self.clock.now())
        return outcomes

    def _guard_empty(self, ks: Kustomization, app: App, build: Build, plan: KubePlan) -> KubePlan:
        """An empty render prunes nothing unless that is said to be meant (ENGINE.md, P3).

        What others have taken over is not pruned: an app from which the last object moved away has nothing to keep.
        """
        plan = self.pruning.hand_over(app, plan) if not build.items else plan
        meant = ks.metadata.annotations.get(names.Annotation.ALLOW_EMPTY) == "true"
        if build.items or not plan.deletions or meant:
            app.held = None
            return plan
        message = (
            f"{ks.spec.path or 'the path'} renders to nothing: {len(app.inventory)} objects are kept. "
            f'If that is meant, set the annotation {names.Annotation.ALLOW_EMPTY}: "true"'
        )
        app.held = Held("EmptyRender", message)
        return plan._replace(deletions=())

    async def _intend(self, ks: Kustomization, app: App, build: Build, revision: str) -> None:
        """Put on record what is about to be written. Where nothing is new, only a fresh start costs a look."""
        merged = inventory.union(app.inventory, [Entry(item.ref, item.gvk.version) for item in build.items])
        if merged == app.inventory and self.scribe.intended(app):
            await recall(self.client, app)
        else:
            app.inventory = merged
            await self.scribe.intend(ks, app, revision)

    def _take_stock(self, app: App, build: Build, outcomes: list[Outcome]) -> None:
        """Move the inventory to what is known now; the next status carries it."""
        for outcome in outcomes:
            if outcome.effect in (Effect.DELETED, Effect.RELEASED):
                app.inventory.pop(outcome.ref, None)
        if app.inventory.keys() <= build.refs:
            app.granted = frozenset()
        app.unresolved = {ref: since for ref, since in app.unresolved.items() if ref in build.refs}
        app.identify(build.items)


async def _carried_out(known: list[Outcome], acting: AsyncIterator[Outcome]) -> list[Outcome]:
    """What is `known` already, and what comes of `acting`."""
    with span("apply") as applying:
        outcomes = known + [outcome async for outcome in acting]
        applying.say(objects=len(outcomes), **effects(outcomes))
    return outcomes
