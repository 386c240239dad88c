"""The composition root: everything is built here, once, and handed to what needs it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
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
from trimtab.controllers import remote
from trimtab.controllers.access import Access, CrossNamespace
from trimtab.controllers.auditing import Auditor
from trimtab.controllers.index import SourceIndex
from trimtab.controllers.offering import Named
from trimtab.controllers.producing import SourceObject
from trimtab.controllers.standing import Standing
from trimtab.kube.errors import NO_ANSWER, StaleGroup, UnknownKind
from trimtab.kube.informer import Informer
from trimtab.manifests.refs import Gvk, Key
from trimtab.manifests.selectors import complement
from trimtab.remotes.checked import Checked
from trimtab.roles.applying import Applying
from trimtab.roles.attach import attach
from trimtab.roles.externals import Demand, Externals, Joined, reader
from trimtab.roles.fetching import Fetching
from trimtab.roles.releases import Releases
from trimtab.roles.role import Means, cluster_id
from trimtab.runtime import server
from trimtab.runtime.controller import Controller
from trimtab.runtime.events import Recorder
from trimtab.targets.kubernetes.target import WRITE_MARGIN_S

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
        self._applier: Applying | None = None
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
            applying = self._applier = self._applying(tasks, store, access, remaining)
            controllers.append(await applying.controller(tasks, apps))
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

    def _applying(self, tasks: Tasks, store: Store, access: Access, remaining: Callable[[], float]) -> Applying:
        return Applying(
            settings=self._settings,
            client=self._client,
            transport=self._transport,
            out=self._out,
            clock=self._clock,
            telemetry=self._telemetry,
            store=store,
            index=self._index,
            standing=self._standing,
            access=access,
            remaining=remaining,
            recorder=self._recorder(tasks, "kustomize-controller"),
            attach=self._attach,
            set_back=self._set_back,
            traces=self._means.traces,
            closing=self._closing.append,
            auditor=self._auditor,
        )

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
            except (*NO_ANSWER, StaleGroup) as failure:
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

    async def _collect(self, publisher: Publisher) -> None:
        """Remove from the cache what nothing refers to any more."""
        while True:
            await self._clock.sleep(_COLLECT_EVERY_S)
            offered, applier = self._index.trees(), self._applier
            used = [*offered, *(applier.trees() if applier else ())]
            kept = await asyncio.to_thread(applier.results) if applier else ()
            await publisher.collect(used, contents=kept)
