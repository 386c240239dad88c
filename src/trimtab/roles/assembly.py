"""The composition root: everything is built here, once, and handed to what needs it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from aiohttp.web import AppRunner

from trimtab.api.bucket import Bucket
from trimtab.api.gvk import (
    ARTIFACT_GENERATOR,
    BUCKET,
    EXTERNAL_ARTIFACT,
    GIT_REPOSITORY,
    HELM_CHART,
    HELM_RELEASE,
    HELM_REPOSITORY,
    KUSTOMIZATION,
    OCI_REPOSITORY,
)
from trimtab.api.helm import HelmChart, HelmRepository
from trimtab.api.kustomize import Kustomization
from trimtab.api.oci import OCIRepository
from trimtab.api.source import GitRepository
from trimtab.artifacts import serve
from trimtab.artifacts.publish import Publisher
from trimtab.artifacts.store import Store
from trimtab.base.errors import Transient
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Subject
from trimtab.controllers import kustomization, remote
from trimtab.controllers.access import Access, CrossNamespace, account
from trimtab.controllers.auditing import Auditor
from trimtab.controllers.backstop import Backstop
from trimtab.controllers.bases import Bases
from trimtab.controllers.configs import Configs
from trimtab.controllers.decrypting import Decrypting
from trimtab.controllers.freeze import Freeze
from trimtab.controllers.index import SourceId, SourceIndex
from trimtab.controllers.intents import Intents
from trimtab.controllers.lineup import lineup
from trimtab.controllers.neighbours import Neighbours
from trimtab.controllers.offering import Named, Offering
from trimtab.controllers.place import Place
from trimtab.controllers.places import Places
from trimtab.controllers.records import Records, keeps_our_fields
from trimtab.controllers.sourcing import SourceObject
from trimtab.controllers.standing import Standing
from trimtab.controllers.substituting import Substituting
from trimtab.controllers.vaultlogin import VaultLogin
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, UnknownKind, Unreachable
from trimtab.kube.informer import Event, Informer
from trimtab.manifests.refs import Gvk, Key, Ref
from trimtab.manifests.selectors import complement
from trimtab.remotes.checked import Checked
from trimtab.render.render import Renderer
from trimtab.roles.attach import attach
from trimtab.roles.externals import Demand, Externals, Joined, reader
from trimtab.roles.fetching import Fetching
from trimtab.roles.releases import Releases
from trimtab.roles.role import Means, cluster_id
from trimtab.runtime import server
from trimtab.runtime.controller import Controller
from trimtab.runtime.events import Recorder
from trimtab.runtime.queue import Priority
from trimtab.sources.git import GitSource
from trimtab.targets.contract import Drift
from trimtab.targets.kubernetes.judging import Judges
from trimtab.targets.kubernetes.target import WRITE_MARGIN_S, KubernetesTarget
from trimtab.targets.kubernetes.tracking import News
from trimtab.toolchain import binaries

log = logging.getLogger(__name__)

S = TypeVar("S", bound=SourceObject)
T = TypeVar("T", bound=Named)

_GRACE_S = 20.0
_COLLECT_EVERY_S = 600.0
_NOT_INSTALLED_S = 5.0


_LATER: Mapping[Gvk, type[Any]] = {
    OCI_REPOSITORY: OCIRepository,
    BUCKET: Bucket,
    HELM_REPOSITORY: HelmRepository,
    HELM_CHART: HelmChart,
}
"""Kinds that came after the first release: an installation that is older goes on without them."""
_FETCHED_ONLY: Final = frozenset({HELM_REPOSITORY, HELM_CHART})
"""Kinds whose artifacts no app is made of; artifacts may be made of charts."""
_NEEDING: Mapping[Gvk, Gvk] = {ARTIFACT_GENERATOR: EXTERNAL_ARTIFACT}
"""Kinds that are of no use without another."""


_TOO_OLD: Final = (
    "several processes can share the apps only where a status has room for what they tell each other, and the "
    "definition of Kustomization has none: run `trimtab install --crds-only`"
)


class Assembly:
    """The controllers of one term in office."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._settings = means.settings
        self._client = means.client
        self._transport = means.transport
        self._clock = means.clock
        self._telemetry = means.telemetry
        self._index = SourceIndex()
        self._standing = Standing()
        self._out = means.outbound()
        self._closing: list[Callable[[], None]] = []
        self._recorders: list[Recorder] = []
        self._controllers: list[Controller[Key]] = []
        self._runner: AppRunner | None = None
        self._fetcher: Fetching | None = None
        self._bases: Bases | None = None
        self._renderer: Renderer | None = None
        self._auditor: Auditor | None = None
        self._set_back = asyncio.Event()
        self._checks: dict[str, server.Check] = {}
        self._attach = partial(attach, telemetry=means.telemetry, clock=means.clock, checks=self._checks)

    async def run(self, tasks: Tasks, remaining: Callable[[], float]) -> None:
        """Build everything and work until cancelled. `remaining` tells the seconds in which we may still write."""
        try:
            with self._means.checking(self._checks):
                await self._start(tasks, remaining)
                await self._set_back.wait()
            raise Transient(
                "ClusterRestored",
                "the API server shows an older state than before, as after a restore from a backup: what we remember "
                "is of another history, everything is read anew",
            )
        finally:
            for close in self._closing:
                close()
            try:
                await asyncio.gather(*(controller.stop(_GRACE_S) for controller in self._controllers))
                if self._fetcher is not None:
                    await self._fetcher.stop(_GRACE_S)
                await asyncio.gather(*(recorder.stop() for recorder in self._recorders))
            finally:
                # whoever leads next in this process listens there
                if self._runner is not None:
                    await self._runner.cleanup()

    async def _start(self, tasks: Tasks, remaining: Callable[[], float]) -> None:
        self._client = self._client.fenced(lambda: remaining() >= WRITE_MARGIN_S and not self._set_back.is_set())
        await self._client.discovery.start(tasks)
        store = Store(self._settings.storage_path / "store")
        parts = self._settings.controllers
        fetches, applies, makes, releases = (
            name in parts for name in ("source", "kustomize", "source-watcher", "helm")
        )
        publishing = Publisher(store, f"http://{self._settings.storage_adv_addr}", self._clock)
        self._auditor = await self._means.auditor(self._client, self._standing)
        fetching = self._fetcher = self._fetching(tasks, store, publishing) if fetches else None
        access = self._access()
        join = partial(self._join, tasks, fetching, store)
        joined = [await join(GIT_REPOSITORY, GitRepository)]
        controllers = [joined[0].controller]
        idle = frozenset() if fetches else _FETCHED_ONLY - {HELM_CHART} if makes or releases else _FETCHED_ONLY
        later = {gvk: partial(join, gvk, struct) for gvk, struct in _LATER.items() if gvk not in idle}
        if applies or makes or releases:
            externals = Externals(
                self._client,
                self._index,
                self._standing,
                store,
                self._out,
                self._clock,
                self._informer,
                self._own,
                bool(self._settings.selector),
                partial(self._recorder, tasks),
            )
            later[EXTERNAL_ARTIFACT] = partial(externals.take, tasks)
            if makes:
                later[ARTIFACT_GENERATOR] = partial(externals.make, tasks, publishing, access, self._attach)
        if releases:
            home = await cluster_id(self._client)
            later[HELM_RELEASE] = partial(self._releases(tasks, access, remaining).start, tasks, home)
        for gvk, build in later.items():
            if await self._is_served(gvk) and await self._is_served(_NEEDING.get(gvk, gvk)):
                joined.append(await build())
                controllers.append(joined[-1].controller)
            else:
                tasks.spawn(self._later(tasks, build), name=gvk.kind.lower())
        informers = [one.synced for one in joined]
        if applies:
            apps: Informer[Kustomization] = await self._own(KUSTOMIZATION, Kustomization)
            controllers.append(await self._kustomizer(tasks, apps, store, access, remaining))
            informers.append(apps.synced)
            apps.start(tasks)
        if fetches or makes:
            tasks.keep(partial(self._collect, publishing), name="collect")
            self._runner = await server.listen(serve.app(store), self._settings.storage_addr)
        await asyncio.gather(*(synced.wait() for synced in informers))
        for controller in controllers:
            self._run_controller(tasks, controller)
        log.info("running: %s", ", ".join(sorted(self._settings.controllers)))

    def _run_controller(self, tasks: Tasks, controller: Controller[Key]) -> None:
        self._controllers.append(controller)
        controller.start(tasks)

    def _recorder(self, tasks: Tasks, component: str) -> Recorder:
        recorder = Recorder(self._client, component, self._clock, telemetry=self._telemetry, relay=self._means.relay)
        recorder.start(tasks)
        self._recorders.append(recorder)
        return recorder

    def _fetching(self, tasks: Tasks, store: Store, publisher: Publisher) -> Fetching:
        fetching = Fetching(
            settings=self._settings,
            client=self._client,
            transport=self._transport,
            out=self._out,
            clock=self._clock,
            store=store,
            publisher=publisher,
            index=self._index,
            standing=self._standing,
            recorder=self._recorder(tasks, "source-controller"),
            attach=self._attach,
            traces=self._means.traces,
            auditor=self._auditor,
        )
        fetching.start(tasks)
        return fetching

    async def _join(self, tasks: Tasks, fetching: Fetching | None, store: Store, gvk: Gvk, struct: type[S]) -> Joined:
        """Look after one kind of source, once it is installed: fetch it, or take over what others publish."""
        if fetching is None:
            objects = await self._informer(gvk, struct)
            self._standing.follow(gvk.kind, objects)
            controller = self._reader(gvk, objects, store, lambda _key: False)
        else:
            objects = await self._own(gvk, struct)
            self._standing.follow(gvk.kind, objects)
            controller = fetching.controller(tasks, gvk, objects)
            if self._settings.selector:
                await self._join_others(tasks, gvk, struct, objects, store)
        objects.start(tasks)
        return Joined(controller, objects.synced)

    async def _join_others(self, tasks: Tasks, gvk: Gvk, struct: type[S], own: Informer[Any], store: Store) -> None:
        """Take over what the sources of others publish, as far as anybody here uses it."""
        others = await self._informer(gvk, struct, complement(self._settings.selector))
        self._standing.follow(gvk.kind, others)
        controller = self._reader(gvk, others, store, own.store.__contains__)
        others.start(tasks)
        await others.synced.wait()
        self._run_controller(tasks, controller)

    def _reader(self, gvk: Gvk, objects: Informer[Any], store: Store, ours: Callable[[Key], bool]) -> Controller[Key]:
        way = Checked(self._out)
        if not self._settings.selector:
            return reader(remote.RemoteSources(gvk.kind, objects, self._index, store, way), objects, self._clock)
        demand = Demand(gvk.kind)
        remotes = remote.RemoteSources(gvk.kind, objects, self._index, store, way, ours=ours, wanted=demand.wanted)
        controller = reader(remotes, objects, self._clock)
        demand.follow(self._index, controller)
        return controller

    async def _later(self, tasks: Tasks, join: Callable[[], Awaitable[Joined]]) -> None:
        """Look after a kind that is installed while we run."""
        joined = await join()
        await joined.synced.wait()
        self._run_controller(tasks, joined.controller)

    def _releases(self, tasks: Tasks, access: Access, remaining: Callable[[], float]) -> Releases:
        return Releases(
            settings=self._settings,
            client=self._client,
            transport=self._transport,
            clock=self._clock,
            telemetry=self._telemetry,
            index=self._index,
            standing=self._standing,
            access=access,
            remaining=remaining,
            inform=self._own,
            record=partial(self._recorder, tasks),
            attach=self._attach,
            set_back=self._set_back,
            traces=self._means.traces,
            closing=self._closing.append,
            auditor=self._auditor,
        )

    async def _kustomizer(
        self,
        tasks: Tasks,
        apps: Informer[Kustomization],
        store: Store,
        access: Access,
        remaining: Callable[[], float],
    ) -> Controller[Key]:
        settings = self._settings

        def tell(app: Key, news: News) -> None:
            controller.queue.add(app, priority=Priority.REQUEST if news is News.DISTURBED else Priority.EVENT)

        def on_ready(app: Key, seconds: float) -> None:
            self._telemetry.converged("Kustomization", seconds)
            for waiting in kustomizations.ripple.dependents(app):
                controller.queue.add(waiting)

        def on_source(source: SourceId) -> None:
            using = {ks.key: ks for ks in apps.store.values() if (ks.spec.source_ref.kind, ks.source_key) == source}
            for key, priority in lineup(using, self._index.touched(source), kustomizations.reads_beside):
                controller.queue.forget(key)
                controller.queue.add(key, priority=priority)

        def wake(app: Key) -> None:
            controller.queue.add(app)

        def again(app: Key, after: float) -> None:
            controller.queue.add(app, after=after)

        def veto(ref: Ref, app: Key) -> str:
            return kustomizations.veto(ref, app)

        def on_thaw() -> None:
            for key in kustomizations.held_back():
                controller.queue.add(key)

        judges = Judges()

        def furnish(reader: Client, tasks: Tasks, protected: str) -> KubernetesTarget:
            return KubernetesTarget(
                reader,
                tasks,
                self._clock,
                tell=tell,
                protected_namespace=protected,
                remaining=remaining,
                veto=veto,
                judges=judges,
            )

        freeze = Freeze(self._client, settings.namespace, on_thaw)
        reader = account(self._client, settings.reader) if settings.reader else self._client
        home = await cluster_id(self._client)
        target = furnish(reader, tasks, settings.namespace)
        target.add_rewind_handler(self._set_back.set)
        own = Place(self._client, target, (home,), True, settings.namespace)
        places = Places(own, self._transport, self._clock, tasks, furnish, wake)
        keeper = account(self._client, settings.applier) if settings.applier else self._client
        found = binaries.present("render")
        git = GitSource(
            settings.storage_path / "bases", store, self._transport, self._clock, deny_private=settings.deny_private
        )
        bases = self._bases = Bases(git, settings.remote_bases, self._clock)
        tasks.keep(bases.tidy, name="bases")
        self._renderer = Renderer(
            store, found.get("kustomize"), settings.storage_path / "render", began=self._telemetry.ran_kustomize
        )
        intents = Intents(
            self._client, settings.namespace, apps.store, self._clock, tasks, shared=bool(settings.selector)
        )
        records = Records(keeper, home, apart=not await keeps_our_fields(self._client), intents=intents)
        neighbours = None
        if settings.selector:
            if not await keeps_our_fields(self._client, "planned"):
                raise Transient("DefinitionsTooOld", _TOO_OLD)
            neighbours = Neighbours(self._client, records, settings.selector, home, self._clock, wake)
            tasks.keep(neighbours.run, name="neighbours")
        world = kustomization.Surroundings(
            client=self._client,
            objects=apps,
            standing=self._standing,
            sources=self._index,
            renderer=self._renderer,
            bases=bases,
            places=places,
            access=access,
            substituting=Substituting(self._client, strict=settings.strict_substitution),
            recorder=self._recorder(tasks, "kustomize-controller"),
            clock=self._clock,
            records=records,
            neighbours=neighbours,
            namespace=settings.namespace,
            freeze=freeze,
            decrypting=self._decrypting(),
            traces=self._means.traces,
            auditor=self._auditor,
        )

        def on_drift(app: Key, found: Drift) -> None:
            self._telemetry.drifted(Subject("Kustomization", app.namespace, app.name), found.answer)

        def on_commit(committed: str) -> None:
            seconds = self._clock.now() - datetime.fromisoformat(committed)
            self._telemetry.led("Kustomization", seconds.total_seconds())

        kustomizations = kustomization.Kustomizations(world, on_ready, wake, again, on_drift, on_commit)
        controller = Controller(
            "kustomization",
            kustomizations.reconcile,
            clock=self._clock,
            concurrency=settings.concurrent,
            backoff_cap=kustomizations.backoff_cap,
        )

        def on_kinds() -> None:
            """A kind came or went: what could not be applied may be possible now."""
            for key in apps.store:
                if kustomizations.revision_of(key) is None:
                    controller.queue.add(key)

        def on_app(event: Event[Kustomization]) -> None:
            tell_waiting(kustomizations.ripple.app(event))

        def on_source_event(kind: str, event: Event[Offering]) -> None:
            tell_waiting(kustomizations.ripple.source(kind, event))

        def tell_waiting(keys: Iterable[Key]) -> None:
            for key in keys:
                if kustomizations.revision_of(key) is None:
                    controller.queue.add(key)

        apps.add_handler(on_app)
        self._standing.on_event(on_source_event)
        self._index.on_change(on_source)
        self._client.discovery.add_listener(on_kinds)
        self._closing.append(partial(self._client.discovery.remove_listener, on_kinds))
        self._closing.append(kustomizations.journeys.close)
        await freeze.start(tasks)
        if settings.watched_configs:
            await Configs(reader, settings.watched_configs, kustomizations.stirred).start(tasks)
        tasks.keep(places.run, name="places")
        tasks.keep(kustomizations.scribe.laggards.run, name="laggards")
        tasks.keep(kustomizations.orphans().run, name="orphans")
        if settings.recheck_every_s:
            tasks.keep(Backstop(places, self._clock, settings.recheck_every_s).run, name="backstop")
        self._attach(tasks, controller, apps, "Kustomization", kustomizations.state, recorder=world.recorder)
        return controller

    async def _own(self, gvk: Gvk, struct: type[Any]) -> Informer[Any]:
        """An informer over the objects of a kind that this process looks after."""
        return await self._informer(gvk, struct, self._settings.selector)

    async def _informer(self, gvk: Gvk, struct: type[T], selector: str = "") -> Informer[T]:
        """An informer over the objects of one of our kinds, as the server selects them; waits until it is installed."""
        decoder = msgspec.json.Decoder(struct)
        level = logging.WARNING
        while True:
            try:
                resource = await self._client.discovery.find(gvk)
                informer = Informer(
                    self._client,
                    resource,
                    decode=decoder.decode,
                    key_of=lambda item: item.key,
                    label_selector=selector,
                )
                informer.add_rewind_handler(self._set_back.set)
                return informer
            except UnknownKind:
                log.log(level, "%s is not installed: run `trimtab install --crds-only`; looking every 5 s", gvk)
                level = logging.DEBUG
            except (ApiError, Unreachable) as failure:
                log.warning("cannot reach the API server, trying again in 5 s: %s", failure)
            await self._clock.sleep(_NOT_INSTALLED_S)

    async def _is_served(self, gvk: Gvk) -> bool:
        try:
            await self._client.discovery.find(gvk)
        except UnknownKind:
            return False
        return True

    def _access(self) -> Access:
        settings = self._settings
        return Access(
            self._client,
            self._clock,
            namespace=settings.namespace,
            cross_namespace=CrossNamespace(settings.cross_namespace_refs),
            default_account=settings.default_service_account,
            applier=settings.applier,
            strict=settings.multi_tenant,
        )

    def _decrypting(self) -> Decrypting:
        settings = self._settings
        shared, vaults = (
            Key(settings.namespace, name) if name else None
            for name in (settings.sops_age_secret, settings.sops_vault_configmap)
        )
        login = VaultLogin(self._client, self._out, vaults) if vaults else None
        return Decrypting(self._client, self._out, self._clock, shared, login)

    async def _collect(self, publisher: Publisher) -> None:
        """Remove from the cache what nothing refers to any more."""
        while True:
            await self._clock.sleep(_COLLECT_EVERY_S)
            used = [*self._index.trees(), *(self._bases.trees() if self._bases else ())]
            kept = await asyncio.to_thread(self._renderer.results) if self._renderer else ()
            await publisher.collect(used, contents=kept)
