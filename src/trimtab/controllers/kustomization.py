"""The story of one Kustomization: resolve, render, plan, gate, intend, converge, prune, settle."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec

from trimtab.api import names
from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient, TrimtabError, Waiting
from trimtab.controllers import dependencies, drifting, expressions, health, importing, supported, verdicts
from trimtab.controllers.access import Access
from trimtab.controllers.app import App, Attempt, Build, Held
from trimtab.controllers.basis import Basis
from trimtab.controllers.claims import Claims
from trimtab.controllers.farewell import TERMINATION_LOOK_S, Farewell
from trimtab.controllers.freeze import Freeze
from trimtab.controllers.handover import Handover
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.controllers.orphans import Orphans
from trimtab.controllers.place import Place
from trimtab.controllers.places import Places
from trimtab.controllers.pruning import Pruning
from trimtab.controllers.records import Records
from trimtab.controllers.retreat import Retreat
from trimtab.controllers.ripple import Ripple
from trimtab.controllers.scribe import Scribe
from trimtab.controllers.standing import Standing
from trimtab.controllers.state import ObjectState
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, StaleGroup, UnknownKind, Unreachable
from trimtab.kube.informer import Informer
from trimtab.manifests import codec
from trimtab.manifests.conditions import find
from trimtab.manifests.refs import Gvk, Key, Ref
from trimtab.render.options import Options
from trimtab.render.render import Renderer
from trimtab.runtime.controller import Again, Done, Result
from trimtab.runtime.events import Recorder
from trimtab.runtime.finalizers import ensure
from trimtab.targets.contract import Action, Drift, Effect, Outcome
from trimtab.targets.kubernetes import cautions, gate, ignore, inventory
from trimtab.targets.kubernetes.desired import PREFIX, Owner, prepare
from trimtab.targets.kubernetes.inventory import Entry
from trimtab.targets.kubernetes.scopes import scopes
from trimtab.targets.kubernetes.target import KubePlan, Wish

MOST_OBJECTS = 20_000
"""So many are tested: an inventory that long is kept in parts. What is beyond is refused before anything is done."""
IN_LOOP_OBJECTS = 500
"""More than this are prepared in a thread, so that the event loop goes on."""
SETTLE_GRACE_S = 5.0
"""How long objects may take to become healthy before the status says that they are awaited."""
LEAST_INTERVAL_S = 1.0
"""An interval of `0s` passes admission, as in Flux; it must not become a busy loop."""
PENDING_LOOK_S = 10.0
"""How often an object that is awaited is read where no event tells of it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the controller works with: our own cluster, our `namespace` in it, and the `places` that objects go to."""

    client: Client
    objects: Informer[Kustomization]
    standing: Standing
    sources: SourceIndex
    renderer: Renderer
    places: Places
    access: Access
    recorder: Recorder
    clock: Clock
    records: Records
    namespace: str
    freeze: Freeze


class Kustomizations:
    """Reconciles every Kustomization.

    `on_ready` is told when one reaches a revision, and after how many seconds; `wake` gives one another pass;
    `on_drift` is told of all drift.
    """

    def __init__(
        self,
        world: Surroundings,
        on_ready: Callable[[Key, float], None],
        wake: Callable[[Key], None],
        on_drift: Callable[[Key, Drift], None] = lambda _app, _drift: None,
    ) -> None:
        self._world = world
        self._on_ready = on_ready
        self._apps: dict[Key, App] = {}
        self._bases: dict[Key, Basis] = {}
        objects, home = world.objects.store, world.places.own.cluster
        self._judges = world.places.own.target.judges
        self._claims = Claims(wake)
        self._handover = Handover(home, world.sources, objects, self._apps, self._claims, world.clock)
        self.scribe = Scribe(world.client, world.recorder, world.clock, world.records, self._apps.get, on_drift)
        self._pruning = Pruning(
            world.freeze, objects, self._apps, self._handover, world.client, world.namespace, self.scribe.grant
        )
        self.ripple = Ripple()
        enter, retreat = self._enter, Retreat(objects, self.ripple, world.clock)
        self._farewell = Farewell(world.client, enter, world.access, self._pruning, self.scribe, self._apps, retreat)

    def backoff_cap(self, key: Key) -> float:
        """The longest wait between two tries, in seconds: the app's retryInterval."""
        ks = self._world.objects.store.get(key)
        return max(ks.spec.retry_interval_s, LEAST_INTERVAL_S) if ks else 60.0

    def veto(self, ref: Ref, app: Key) -> str:
        """Why `app` must not delete `ref` now, asked right before the request; nothing if it may."""
        if self._handover.wanted_elsewhere(app, [ref]):
            return "another app desires it by now: it is handed over"
        basis, known, now = self._bases.get(app), self._apps.get(app), self._world.objects.store.get(app)
        moved = basis.gone(self._world.sources, known.build if known else None, now) if basis else ""
        return self._world.freeze.why or moved

    def held_back(self) -> list[Key]:
        """The apps that would delete something and may not now."""
        objects = self._world.objects.store
        return [
            key for key, app in self._apps.items() if app.held or (key in objects and objects[key].metadata.deleted)
        ]

    def orphans(self) -> Orphans:
        """What looks for objects of ours that no app has on record."""
        world = self._world
        tell = self.scribe.warn_of_orphans
        return Orphans(world.places, world.objects.store, self._apps, tell, world.clock)

    def revision_of(self, key: Key) -> str | None:
        """The revision at which `key` is ready, as far as this process knows; None while it is not."""
        ks, app = self._world.objects.store.get(key), self._apps.get(key)
        if ks is None or app is None or app.uid != ks.metadata.uid or app.attempt is None:
            return None
        return app.revision or None if app.attempt.generation == ks.metadata.generation else None

    def state(self, key: Key) -> ObjectState | None:
        """How `key` is doing; None if it is gone."""
        ks, app = self._world.objects.store.get(key), self._apps.get(key)
        if ks is None:
            return None
        condition = find(app.status.conditions, names.ConditionType.READY) if app else None
        ready = None if condition is None or condition.status == "Unknown" else condition.true
        revision = app.status.last_applied_revision if app else ""
        return ObjectState(ready, revision, ks.spec.suspend, ks.spec.interval_s)

    async def reconcile(self, key: Key) -> Result:
        """One pass. What it raises decides when the next one is; the status says the same before."""
        ks = self._world.objects.store.get(key)
        if ks is None:
            self._apps.pop(key, None)
            self._bases.pop(key, None)
            self._world.places.leave(key)
            self._judges.forget(key)
            self._claims.forget(key)
            return Done()
        app = await self._remember(ks)
        self._bases.pop(key, None)
        if ks.metadata.deleted:
            self._claims.forget(key)
            app.revision = ""
            return await self._farewell.finalize(ks, app)
        if ks.spec.suspend:
            app.revision = ""
            return Done()
        try:
            return await self._pass(ks, app)
        except TrimtabError as failure:
            await self._fail(ks, app, failure)
            raise
        except (ApiError, UnknownKind, StaleGroup) as refusal:
            told = Transient(names.Reason.RECONCILIATION_FAILED, str(refusal))
            await self._fail(ks, app, told)
            raise told from refusal
        except Unreachable as silence:
            if silence.server == self._world.client.server:
                raise  # nobody could be told
            told = Transient(names.Reason.RECONCILIATION_FAILED, str(silence))
            await self._fail(ks, app, told)
            raise told from silence

    async def _fail(self, ks: Kustomization, app: App, failure: TrimtabError) -> None:
        app.revision = ""
        await self.scribe.fail(ks, app, failure, self._published(ks))

    async def _pass(self, ks: Kustomization, app: App) -> Result:
        app.check()
        supported.check(ks)
        self.scribe.tell_strangers(ks, app)
        expressions.adopt(ks, self._judges)
        await self._claim(ks)
        published = await self._resolve(ks)
        revision = published.artifact.revision
        try:
            await self._world.access.check_dependencies(ks)
            others, seen = self._world.objects.store, self._world.standing.stores
            dependencies.check(ks, others, revision, self.revision_of, seen)
            place = await self._enter(ks, app)
            client = await self._world.access.client_for(ks, place)
        except TrimtabError:
            await self._plan_ahead(ks, app, published)
            raise
        try:
            await importing.resolve(client, app)
            build = await self._build(ks, app, published)
            self._handover.claim(ks, build, revision)
            self._begin(ks, app, build)
            self._bases[ks.key] = Basis.of(ks, published, build)
            outcomes = await self._converge(ks, app, build, client, revision)
        except TrimtabError:
            await self._enforce(ks, app, client)
            raise
        return await self._settle(ks, app, build, client, published, outcomes)

    # --- resolve and render

    async def _remember(self, ks: Kustomization) -> App:
        app = self._apps.get(ks.key)
        if app is None or app.uid != ks.metadata.uid or app.problem or app.stale:
            try:
                app = self._apps[ks.key] = await self._world.records.read(ks)
            except Transient as failure:
                await self.scribe.fail(ks, App.unread(ks), failure, None)
                raise
        if ks.spec.kube_config is None:
            self._arrive(ks, app, self._world.places.own)
        return app

    async def _enter(self, ks: Kustomization, app: App) -> Place:
        """The cluster that the objects of `ks` go to. Raises while it cannot be used."""
        place = await self._world.places.of(ks)
        self._arrive(ks, app, place)
        return place

    def _arrive(self, ks: Kustomization, app: App, place: Place) -> None:
        before = app.cluster
        self.scribe.orphaned(ks, app.settle(place), f"cluster {before}, where they were applied")

    async def _claim(self, ks: Kustomization) -> None:
        if names.FINALIZER not in ks.metadata.finalizers:
            resource = await self._world.client.discovery.find(KUSTOMIZATION)
            await ensure(self._world.client, resource, ks.metadata, names.FINALIZER)

    def _published(self, ks: Kustomization) -> Published | None:
        return self._world.sources.get(SourceId(ks.spec.source_ref.kind, ks.source_key))

    async def _resolve(self, ks: Kustomization) -> Published:
        if ks.source_key.namespace != ks.metadata.namespace:
            await self._world.access.check_source(ks.metadata.namespace, ks.source_key.namespace)
        published = self._published(ks)
        if published is None:
            source = SourceId(ks.spec.source_ref.kind, ks.source_key)
            why = self._world.sources.problem(source) or "see the status of that object"
            raise Waiting(names.Reason.ARTIFACT_FAILED, f"{source} has no artifact yet: {why}")
        return published

    async def _build(self, ks: Kustomization, app: App, published: Published) -> Build:
        """Render, unless everything that goes in is as it was the last time."""
        options = Options.from_spec(ks.spec)
        closure = self._world.renderer.closure(published.snapshot, ks.spec.path, options)
        rules = ignore.compiled(ks.spec.ignore)
        ignored = msgspec.to_builtins(ks.spec.ignore)
        inputs = codec.digest([closure.digest, msgspec.to_builtins(options), ks.spec.path, ignored, app.at.cluster])
        if app.build is not None and app.build.inputs == inputs:
            return app.build
        rendered = await self._world.renderer.render(published.snapshot, ks.spec.path, options)
        if len(rendered.manifests) > MOST_OBJECTS:
            raise Terminal(
                names.Reason.BUILD_FAILED,
                f"{ks.spec.path or 'the path'} renders to {len(rendered.manifests)} objects; the record of one "
                f"Kustomization holds at most {MOST_OBJECTS}: split it into several",
            )
        work = partial(
            prepare,
            rendered.manifests,
            Owner(PREFIX, ks.key),
            namespaced=await scopes(app.at.client, rendered.manifests),
            protected_namespace=app.at.protected,
            installs_us=not app.at.home,
        )
        items = await asyncio.to_thread(work) if len(rendered.manifests) > IN_LOOP_OBJECTS else work()
        app.build = Build(inputs, rendered.digest, tuple(ignore.marked(items, rules)))
        app.target.notices.say_all(ks.key, cautions.of(items))
        app.passed.clear()
        return app.build

    async def _plan_ahead(self, ks: Kustomization, app: App, published: Published) -> None:
        """Others must know what an app desires also while it has to wait itself. What fails here is told later."""
        if app.place is None:
            return  # nobody else knows anything of that cluster either
        with contextlib.suppress(TrimtabError):
            build = await self._build(ks, app, published)
            self._handover.claim(ks, build, published.artifact.revision)

    def _begin(self, ks: Kustomization, app: App, build: Build) -> None:
        """A new wish starts a new deadline; the same one goes on under the old."""
        attempt = Attempt(ks.metadata.generation, build.inputs, ks.metadata.requested_at)
        if app.attempt != attempt:
            app.attempt, app.began, app.pending_since = attempt, self._world.clock.monotonic(), None
            app.target.forgive(app.key)

    # --- converge

    def _wish(self, ks: Kustomization, app: App, build: Build, client: Client) -> Wish:
        mode = ks.metadata.annotations.get(names.Annotation.DRIFT, names.DriftMode.CORRECT)
        each = ks.metadata.annotations.get(names.Annotation.GATE) == names.GateMode.EACH
        owner, force = Owner(PREFIX, ks.key), ks.spec.force
        before = drifting.applied_before(app, build)
        return Wish(
            owner, client, build.items, app.inventory, ks.spec.prune, mode, force, each, before, ks.spec.interval_s
        )

    async def _converge(
        self, ks: Kustomization, app: App, build: Build, client: Client, revision: str
    ) -> list[Outcome]:
        await self._handover.contest(ks, app, build)
        target, wish = app.target, self._wish(ks, app, build, client)
        plan = self._guard_empty(ks, app, build, target.plan(wish, await target.observe(wish)))
        self.scribe.notify(ks, app)
        plan = await self._pruning.guard(ks, app, wish, plan)
        if plan.quiet and app.inventory.keys() >= build.refs:
            app.good = build
            return []
        await self._world.access.client_for(ks, app.at, writing=True)
        await self._world.access.admit(ks, app.at, build.items)
        judgements = await self._gate(app, wish, plan)
        plan, refused = gate.admitted(plan, judgements)
        app.good = build
        await self._intend(ks, app, build, revision)
        outcomes = refused + [outcome async for outcome in target.converge(wish, plan, judgements)]
        self._take_stock(app, build, outcomes)
        self._handover.taken_over(ks.key, (o.ref for o in outcomes if o.effect in (Effect.CREATED, Effect.CONFIGURED)))
        self.scribe.announce(ks, revision, outcomes)
        verdicts.check(outcomes, build.refs)
        return outcomes

    def _guard_empty(self, ks: Kustomization, app: App, build: Build, plan: KubePlan) -> KubePlan:
        """An empty render prunes nothing unless that is said to be meant (ENGINE.md, P3)."""
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

    async def _gate(self, app: App, wish: Wish, plan: KubePlan) -> list[gate.Judgement]:
        """Nothing is written unless everything that can be judged passes. What passed before is not asked again."""
        asked = tuple(
            tuple(change for change in stage if change.after is None or change.after.digest not in app.passed)
            for stage in plan.stages
        )
        judgements = await app.target.judge(wish, plan._replace(stages=asked))
        refused = [judged for judged in judgements if isinstance(judged, gate.Refused)]
        if refused and not wish.each:
            many = f"{len(refused)} objects were refused" if len(refused) > 1 else "an object was refused"
            kind = Terminal if all(judged.stuck for judged in refused) else Transient
            raise kind(names.Reason.VALIDATION_FAILED, f"{many}, nothing was applied: {gate.words(refused)}")
        app.passed.update(judged.item.digest for judged in judgements if isinstance(judged, gate.Passed))
        return judgements

    async def _intend(self, ks: Kustomization, app: App, build: Build, revision: str) -> None:
        """Put on record what is about to be written; where nothing is new, that costs nothing."""
        merged = inventory.union(app.inventory, [Entry(item.ref, item.gvk.version) for item in build.items])
        if merged != app.inventory:
            app.inventory = merged
            await self.scribe.intend(ks, app, revision)

    def _take_stock(self, app: App, build: Build, outcomes: list[Outcome]) -> None:
        """Move the inventory to what is known now; the next status carries it."""
        for outcome in outcomes:
            if outcome.effect in (Effect.DELETED, Effect.RELEASED):
                app.inventory.pop(outcome.ref, None)
        if app.inventory.keys() <= build.refs:
            app.granted = frozenset()
        for item in build.items:
            tracked = app.target.tracker.get(item.ref)
            if tracked is not None and tracked.baseline is not None and tracked.app == app.key:
                app.inventory[item.ref] = Entry(item.ref, item.gvk.version, tracked.baseline.uid)

    async def _enforce(self, ks: Kustomization, app: App, client: Client) -> None:
        """While a revision is refused, the last good one stays enforced: drift from it is corrected."""
        if app.good is None or app.good is app.build:
            return
        target, wish = app.target, self._wish(ks, app, app.good, client)
        wish = wish._replace(items=self._handover.unclaimed(ks.key, wish.items))
        plan = target.plan(wish, await target.observe(wish))
        stages = tuple(tuple(change for change in stage if change.action is Action.CORRECT) for stage in plan.stages)
        if not any(stages):
            return
        await self._world.access.client_for(ks, app.at, writing=True)
        outcomes = [outcome async for outcome in target.converge(wish, plan._replace(stages=stages, deletions=()))]
        self.scribe.announce(ks, app.status.last_applied_revision, outcomes)

    # --- settle

    async def _settle(
        self, ks: Kustomization, app: App, build: Build, client: Client, published: Published, outcomes: list[Outcome]
    ) -> Result:
        patient = app.pending_since is not None and app.pending_since + SETTLE_GRACE_S < self._world.clock.monotonic()
        await app.target.look_again(client, ks.key, build.items, unwatched=patient)
        judged = await self._health(ks, app, build, client)
        now, revision = self._world.clock.monotonic(), published.artifact.revision
        pending_for = now - (app.pending_since or now)
        left = ks.spec.timeout_s - pending_for
        match judged.health:
            case health.Health.PENDING if left > 0:
                app.pending_since = app.pending_since or now
                grace = SETTLE_GRACE_S - pending_for
                look = PENDING_LOOK_S if ks.spec.health_checks else float("inf")
                look = min(look, app.target.next_look(build.items, PENDING_LOOK_S))
                if grace > 0:
                    return Again(min(left, grace, look))
                app.revision = ""
                await self.scribe.wait(ks, app, revision, f"waiting for {judged.message}")
                return Again(min(left, look))
            case health.Health.PENDING:
                words = f"health check timed out after {ks.spec.timeout_s:g} s: {judged.message}"
                raise Transient(names.Reason.HEALTH_CHECK_FAILED, words)
            case health.Health.BAD:
                raise Transient(names.Reason.HEALTH_CHECK_FAILED, f"health check failed: {judged.message}")
        app.pending_since = None
        if app.deferred is not None:
            return Again(app.deferred)
        moved, app.revision = app.revision != revision, revision
        await self.scribe.finish(ks, app, build, published, now - app.began)
        if moved:
            self._on_ready(ks.key, now - app.began)
        terminating = app.postponed or any(outcome.effect is Effect.WAITING for outcome in outcomes)
        return Again(TERMINATION_LOOK_S if terminating else max(ks.spec.interval_s, LEAST_INTERVAL_S))

    async def _health(self, ks: Kustomization, app: App, build: Build, client: Client) -> health.Judgement:
        target = app.target
        if ks.spec.wait:
            return health.judge(await target.verdicts(client, [item for item in build.items if item.watched]))
        verdicts = {}
        for check in ks.spec.health_checks:
            gvk = Gvk.of(check.api_version or "v1", check.kind)
            ref = Ref(gvk.group, gvk.kind, check.namespace or ks.metadata.namespace, check.name)
            verdicts[ref] = await target.verdict_of(client, gvk, ref, ks.key)
        return health.judge(verdicts)
