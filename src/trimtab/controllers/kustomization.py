"""The story of one Kustomization: resolve, render, converge, settle; and meanwhile what is in force is kept."""

import contextlib
from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass

from trimtab.api import names
from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.base.clock import Clock, rfc3339
from trimtab.base.errors import Transient, TrimtabError, Waiting
from trimtab.base.traces import NO_TRACES, Traces
from trimtab.controllers import dependencies, early, expressions, importing, plaintext, supported
from trimtab.controllers.access import Access
from trimtab.controllers.app import App, Attempt, Build
from trimtab.controllers.auditing import Auditor
from trimtab.controllers.bases import Bases
from trimtab.controllers.basis import Basis, Outdated, outlived
from trimtab.controllers.building import Building
from trimtab.controllers.claims import Claims
from trimtab.controllers.converging import Converging
from trimtab.controllers.decrypting import Decrypting
from trimtab.controllers.farewell import Farewell
from trimtab.controllers.freeze import Freeze
from trimtab.controllers.handover import Handover
from trimtab.controllers.history import Trial
from trimtab.controllers.holders import Holder
from trimtab.controllers.index import Published, SourceIndex
from trimtab.controllers.journeys import Journeys
from trimtab.controllers.keeping import Keeping
from trimtab.controllers.neighbours import Neighbours
from trimtab.controllers.orphans import Orphans
from trimtab.controllers.place import Place
from trimtab.controllers.places import Places
from trimtab.controllers.pruning import Pruning
from trimtab.controllers.records import Records
from trimtab.controllers.retreat import Retreat
from trimtab.controllers.ripple import Ripple
from trimtab.controllers.scribe import Scribe
from trimtab.controllers.settling import Settling
from trimtab.controllers.standing import Standing
from trimtab.controllers.state import ObjectState
from trimtab.controllers.substituting import Substituting, lasting
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, StaleGroup, UnknownKind, Unreachable
from trimtab.kube.informer import Informer
from trimtab.manifests.conditions import find, truth
from trimtab.manifests.refs import Key, Ref
from trimtab.render.render import Renderer
from trimtab.runtime.controller import LEAST_INTERVAL_S, Again, Done, Result
from trimtab.runtime.events import Recorder
from trimtab.runtime.finalizers import ensure
from trimtab.targets.contract import Drift
from trimtab.targets.kubernetes import inventory
from trimtab.targets.kubernetes.inventory import Entry

_REFUSALS = (ApiError, UnknownKind, StaleGroup, Unreachable)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the controller works with: our own cluster, our `namespace` in it, and the `places` that objects go to."""

    client: Client
    objects: Informer[Kustomization]
    standing: Standing
    sources: SourceIndex
    renderer: Renderer
    bases: Bases
    places: Places
    access: Access
    substituting: Substituting
    recorder: Recorder
    clock: Clock
    records: Records
    namespace: str
    freeze: Freeze
    decrypting: Decrypting
    traces: Traces = NO_TRACES
    auditor: Auditor | None = None
    neighbours: Neighbours | None = None


class Kustomizations:
    """Reconciles every Kustomization.

    `on_ready` is told when one reaches a revision, and after how many seconds; `wake` gives one another pass,
    `again` does after so many seconds; `on_drift` is told of all drift, `on_commit` of the time of a
    commit that came and is healthy.
    """

    def __init__(
        self,
        world: Surroundings,
        on_ready: Callable[[Key, float], None],
        wake: Callable[[Key], None],
        again: Callable[[Key, float], None],
        on_drift: Callable[[Key, Drift], None] = lambda _app, _drift: None,
        on_commit: Callable[[str], None] = lambda _committed: None,
    ) -> None:
        self._world = world
        self._apps: dict[Key, App] = {}
        self._bases: dict[Key, Basis] = {}
        self.journeys = Journeys(world.traces, world.clock)
        objects, home = world.objects.store, world.places.own.cluster
        self._judges = world.places.own.target.judges
        self._building = Building(
            world.sources, world.renderer, world.access, world.bases, world.substituting, world.decrypting
        )
        self._claims = Claims(wake)
        self._handover = Handover(home, world.sources, objects, self._apps, self._claims, world.clock, world.neighbours)
        shared = world.neighbours is not None
        self.scribe = Scribe(
            *(world.client, world.recorder, world.clock, world.records, self._apps.get, on_drift, world.auditor),
            shared=shared,
        )
        self._pruning = Pruning(
            *(world.freeze, objects, self._apps, self._handover, world.client, world.namespace),
            remember=self.scribe.grant,
            places=world.places,
        )
        self._keeping = Keeping(world.access, self._handover, self.scribe, again)
        self._converging = Converging(
            *(world.client, world.clock, world.access, self._handover, self._pruning, self.scribe)
        )
        self._settling = Settling(world.client, world.clock, self.scribe, self.journeys, on_ready, on_commit)
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

    def stirred(self, holder: Holder, version: str) -> None:
        """The ConfigMap or Secret `holder` is at `version`: apps whose variables are other ones now get a pass."""
        for key in self._world.substituting.stirred(holder, version):
            self._claims.wake(key)

    def reads_beside(self, key: Key) -> frozenset[str]:
        """The directories of its source that `key` was last built from, apart from its own."""
        app = self._apps.get(key)
        return app.build.beside if app is not None and app.build is not None else frozenset()

    def orphans(self) -> Orphans:
        """What looks for objects of ours that no app has on record."""
        world = self._world
        tell = self.scribe.warn_of_orphans
        shared = world.neighbours is not None
        return Orphans(world.places, world.objects.store, self._apps, tell, world.clock, shared=shared)

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
        ready = truth(condition)
        revision = app.status.last_applied_revision if app else ""
        drift_since = min(app.unresolved.values(), default=None) if app else None
        held = app is not None and app.held is not None
        return ObjectState(ready, revision, ks.spec.suspend, ks.spec.interval_s, drift_since, held)

    async def reconcile(self, key: Key) -> Result:
        """One pass. What it raises decides when the next one is; the status says the same before."""
        ks = self._world.objects.store.get(key)
        if ks is None:
            if (gone := self._apps.pop(key, None)) is not None:
                self._world.records.settled(gone)
            self._bases.pop(key, None)
            self._world.places.leave(key)
            self._world.substituting.forget(key)
            self._judges.forget(key)
            self._claims.forget(key)
            self._world.bases.forget(key)
            self.journeys.forget(key)
            return Done()
        app = await self._remember(ks)
        app.tried = False
        self._bases.pop(key, None)
        if ks.metadata.deleted:
            self._claims.forget(key)
            app.revision = ""
            return await self._farewell.finalize(ks, app)
        with self.journeys.passing(ks, lambda: app.hiding.text):
            return await self._attempt(ks, app)

    async def _attempt(self, ks: Kustomization, app: App) -> Result:
        try:
            if ks.spec.suspend:
                app.revision = ""
                self.scribe.stand(ks, app, None)
                return await self._watch_over(ks, app)
            return await self._pass(ks, app)
        except Outdated:
            raise  # the record is not ours to write
        except TrimtabError as failure:
            if (silent_s := self._silent_s(ks, app, failure)) > 0:
                raise Waiting(failure.reason, failure.message, after=silent_s) from failure
            await self._fail(ks, app, failure)
            raise
        except _REFUSALS as refusal:
            if isinstance(refusal, Unreachable) and refusal.server == self._world.client.server:
                raise  # nobody could be told
            told = Transient(names.Reason.RECONCILIATION_FAILED, str(refusal))
            await self._fail(ks, app, told)
            raise told from refusal

    def _silent_s(self, ks: Kustomization, app: App, failure: TrimtabError) -> float:
        """For how many seconds more nothing need be said of `failure`."""
        source = self._world.standing.stores.get(ks.spec.source_ref.kind, {}).get(ks.source_key)
        now = self._world.clock.monotonic()
        app.silent_since = now if app.silent_since is None else app.silent_since
        return early.silent_s(failure, app.status, source, now - app.silent_since)

    async def _fail(self, ks: Kustomization, app: App, failure: TrimtabError) -> None:
        app.revision = ""
        failure.message = app.hiding.failure(failure.message)  # it is logged as well
        await self.scribe.fail(ks, app, failure, self._building.published(ks))

    async def _pass(self, ks: Kustomization, app: App) -> Result:
        app.check()
        supported.check(ks)
        self.scribe.tell_strangers(ks, app)
        expressions.adopt(ks, self._judges)
        await self._claim(ks, app)
        published = await self._building.resolve(ks)
        revision = published.artifact.revision
        self._depart(ks, app, revision)
        self.scribe.stand(ks, app, published)
        try:
            await self._world.access.check_dependencies(ks)
            await self._check_dependencies(ks, revision)
            place = await self._enter(ks, app)
            client = await self._world.access.client_for(ks, place)
        except TrimtabError:
            await self._plan_ahead(ks, app, published)
            await self._hold(ks, app)
            raise
        build = None
        try:
            await importing.resolve(client, app)
            build = await self._building.build(ks, app, published)
            await self._plan(ks, app, build, revision)
            self._begin(ks, app, build)
            plaintext.check(ks, build)
            self.scribe.tell_plaintext(ks, app, build, revision)
            self._bases[ks.key] = Basis.of(ks, published, build)
            outcomes = await self._converging.converge(ks, app, build, client, revision)
        except TrimtabError as failure:
            # Also where nothing could be built: what was built last is what is enforced.
            if app.good is not None and app.good is not build:
                await self._keeping.enforce(ks, app, self._converging.wish(ks, app, app.good, client))
            raise lasting(ks, failure, elsewhere=self._world.bases.uses(ks.key)) from failure.__cause__
        return await self._settling.settle(ks, app, build, client, published, outcomes)

    def _depart(self, ks: Kustomization, app: App, revision: str) -> None:
        source, ready = ks.spec.source_ref.kind, find(app.status.conditions, names.ConditionType.READY)
        settled = (
            app.status.last_applied_revision == revision
            and app.status.observed_generation == ks.metadata.generation
            and truth(ready) is True
        )
        self.journeys.depart(
            ks, self._world.standing.stores.get(source, {}).get(ks.source_key), revision, settled=settled
        )

    async def _remember(self, ks: Kustomization) -> App:
        app = self._apps.get(ks.key)
        if app is None or app.uid != ks.metadata.uid or app.problem or app.stale or outlived(app, ks):
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

    async def _claim(self, ks: Kustomization, app: App) -> None:
        if names.FINALIZER not in ks.metadata.finalizers:
            resource = await self._world.client.discovery.find(KUSTOMIZATION)
            claim = await ensure(self._world.client, resource, ks.metadata, names.FINALIZER)
            app.seen = None if claim.undisturbed else app.seen

    async def _plan_ahead(self, ks: Kustomization, app: App, published: Published) -> None:
        """Others must know what an app desires also while it has to wait itself. What fails here is told later."""
        if app.place is None:
            return  # nobody else knows anything of that cluster either
        with contextlib.suppress(TrimtabError, *_REFUSALS):
            build = await self._building.build(ks, app, published)
            await self._plan(ks, app, build, published.artifact.revision)

    async def _plan(self, ks: Kustomization, app: App, build: Build, revision: str) -> None:
        """Tell all other apps what this one desires: in memory, and those of other processes by its record."""
        self._handover.claim(ks, build, revision)
        if self._world.neighbours is None:
            return
        app.wished, app.plan = frozenset(i.ref for i in build.items if i.wanted), (revision, ks.metadata.generation)
        if app.problem:
            return
        app.inventory = inventory.union(app.inventory, [Entry(item.ref, item.gvk.version) for item in build.items])
        if app.inventory.keys() - build.refs:
            await self.scribe.publish(ks, app)  # somebody may wait for just that

    async def _check_dependencies(self, ks: Kustomization, revision: str) -> None:
        """Raise Waiting where something that `ks` depends on is not ready."""
        others, seen, neighbours = self._world.objects.store, self._world.standing.stores, self._world.neighbours
        away = [node.key for node in dependencies.needs(ks) if node.kind == KUSTOMIZATION.kind]
        away = [key for key in away if key not in others] if neighbours is not None else []
        if neighbours is None or not away:
            dependencies.check(ks, others, revision, self.revision_of, seen)
            return
        await neighbours.visit(away)
        found = {key: other for key in away if (other := neighbours.seen(key)) is not None}

        def reached(key: Key) -> str | None:
            return neighbours.revision_of(key) if key in found else self.revision_of(key)

        try:
            dependencies.check(ks, ChainMap(found, others), revision, reached, seen)
        except Waiting:
            neighbours.expect(ks.key, away)
            raise

    def _begin(self, ks: Kustomization, app: App, build: Build) -> None:
        """A new wish starts a new deadline; the same one goes on under the old."""
        attempt = Attempt(ks.metadata.generation, build.inputs, ks.metadata.requested_at)
        if app.attempt != attempt:
            if app.attempt is not None:
                self.journeys.renew(ks.key)
            app.attempt, app.began, app.pending_since = attempt, self._world.clock.monotonic(), None
            app.trial = Trial(rendered=rfc3339(self._world.clock.now()))
            app.target.forgive(app.key)
        app.tried = True

    async def _hold(self, ks: Kustomization, app: App) -> None:
        """While it waits for others, what it applied last stays enforced. What fails here is told later."""
        if app.good is None:
            return
        with contextlib.suppress(TrimtabError, *_REFUSALS):
            place = await self._enter(ks, app)  # it may be another one by now, where nothing of it is in force
            client = await self._world.access.client_for(ks, place)
            if app.good is not None:
                await self._keeping.enforce(ks, app, self._converging.wish(ks, app, app.good, client))

    async def _watch_over(self, ks: Kustomization, app: App) -> Result:
        """While it is suspended, what it applied last is looked at; what cannot be is looked at later, and not told."""
        try:
            published = self._building.published(ks)
            app.check()
            place = await self._enter(ks, app)
            client = await self._world.access.client_for(ks, place)
            applied = app.status.last_applied_revision
            if app.good is None and published is not None and published.artifact.revision == applied:
                # a process before this one has applied it: there is no other copy of that than at its source
                app.good = await self._building.build(ks, app, published)
            if app.good is not None:
                await self._keeping.watch(ks, app, self._converging.wish(ks, app, app.good, client))
        except (TrimtabError, *_REFUSALS):
            return Again(max(ks.spec.interval_s, LEAST_INTERVAL_S))
        return Done()
