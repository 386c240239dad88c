"""The running process: what `trimtab run` is made of, and the order in which it starts and stops."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import msgspec
from aiohttp import web
from yarl import URL

from trimtab.api import names
from trimtab.api.gvk import GIT_REPOSITORY, KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.api.source import GitRepository
from trimtab.artifacts import serve
from trimtab.artifacts.publish import Publisher
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Subject, Telemetry
from trimtab.cli.run import Settings
from trimtab.controllers import dependencies, gitrepository, kustomization
from trimtab.controllers.access import Access, CrossNamespace
from trimtab.controllers.index import SourceId, SourceIndex
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, UnknownKind, Unreachable
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.kube.limiter import Limiter
from trimtab.manifests.refs import Gvk, Key
from trimtab.render.render import Renderer
from trimtab.runtime import server
from trimtab.runtime.controller import Controller, Pass
from trimtab.runtime.events import Recorder
from trimtab.runtime.lease import Elector
from trimtab.runtime.queue import Priority
from trimtab.sources.git import GitSource
from trimtab.targets.kubernetes.target import KubernetesTarget
from trimtab.targets.kubernetes.tracking import News
from trimtab.toolchain import binaries

log = logging.getLogger(__name__)

T = TypeVar("T", GitRepository, Kustomization)

_GIT_WORKERS = 8
_GRACE_S = 20.0
_COLLECT_EVERY_S = 600.0


class Process:
    """All controllers in one process."""

    def __init__(self, settings: Settings, *, identity: str) -> None:
        self._settings = settings
        self._identity = identity
        self._clock = SystemClock()
        self._tasks = Tasks("run")
        self._transport = AiohttpTransport()
        self._telemetry = Telemetry()
        self._problems: dict[str, Callable[[], str | None]] = {}

    async def run(self, stop: asyncio.Event) -> int:
        """Work until `stop`; the exit code."""
        settings = self._settings
        cluster = config.load(settings.options.kubeconfig, settings.options.context)
        client = Client(cluster, self._transport, limiter=Limiter(slots=32))
        runners = [await self._serve(server.app(self._problems, telemetry=self._telemetry), settings.metrics_addr)]
        try:
            lead = self._leading(client, runners)
            if settings.leader_elect:
                for lease in (names.KUSTOMIZE_LEASE, names.SOURCE_LEASE):
                    lead = self._elected(client, lease, lead)
            work = self._tasks.keep(lead, name="lead")
            waiter = self._tasks.spawn(stop.wait(), name="stop")
            await asyncio.wait({work, waiter}, return_when=asyncio.FIRST_COMPLETED)
            log.info("stopping")
            work.cancel()
            await asyncio.wait({work}, timeout=_GRACE_S + 5)
        finally:
            for runner in runners:
                await runner.cleanup()
            await self._tasks.close()
            await self._transport.close()
        return 0

    def _elected(
        self, client: Client, lease: str, lead: Callable[[], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        elector = Elector(
            client, self._settings.namespace, lease, self._identity, self._clock, telemetry=self._telemetry
        )

        async def run() -> None:
            await elector.run(lead)

        return run

    def _leading(self, client: Client, runners: list[web.AppRunner]) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            tasks = Tasks("controllers")
            try:
                await self._work(client, tasks, runners)
            finally:
                await tasks.close()

        return work

    async def _work(self, client: Client, tasks: Tasks, runners: list[web.AppRunner]) -> None:
        """Build the controllers and run them until cancelled."""
        settings, clock = self._settings, self._clock
        await client.discovery.start(tasks)
        store = Store(settings.storage_path / "store")
        publisher = Publisher(store, f"http://{settings.storage_adv_addr}", clock)
        repositories = await self._informer(client, GIT_REPOSITORY, GitRepository)
        apps = await self._informer(client, KUSTOMIZATION, Kustomization)
        found = binaries.find("render")
        index = SourceIndex()
        applier = Key(*settings.applier.split("/", 1)) if settings.applier else None
        recorders = {
            component: Recorder(client, component, clock, telemetry=self._telemetry)
            for component in ("source-controller", "kustomize-controller")
        }
        sources = gitrepository.GitRepositories(
            gitrepository.Surroundings(
                client=client,
                objects=repositories,
                source=GitSource(settings.storage_path / "git", store, self._transport, clock),
                publisher=publisher,
                index=index,
                recorder=recorders["source-controller"],
                clock=clock,
            )
        )

        def tell(app: Key, news: News) -> None:
            urgent = news is News.DISTURBED
            kustomizer.queue.add(app, priority=Priority.REQUEST if urgent else Priority.EVENT)

        def on_ready(app: Key) -> None:
            for waiting in dependencies.dependents(app, apps.store.values()):
                kustomizer.queue.add(waiting)

        account = settings.reader.split("/", 1)
        reader = client.acting_as(f"system:serviceaccount:{account[0]}:{account[1]}") if settings.reader else client
        world = kustomization.Surroundings(
            client=client,
            objects=apps,
            sources=index,
            renderer=Renderer(store, found["kustomize"] if found else None, settings.storage_path / "render"),
            target=KubernetesTarget(reader, tasks, clock, tell=tell, protected_namespace=settings.namespace),
            access=Access(
                client,
                clock,
                namespace=settings.namespace,
                cross_namespace=CrossNamespace(settings.cross_namespace_refs),
                default_account=settings.default_service_account,
                applier=applier,
            ),
            recorder=recorders["kustomize-controller"],
            clock=clock,
            cluster=await self._cluster_id(client),
            namespace=settings.namespace,
        )
        kustomizations = kustomization.Kustomizations(world, on_ready)
        kustomizer = Controller(
            "kustomization",
            kustomizations.reconcile,
            clock=clock,
            concurrency=settings.concurrent,
            backoff_cap=kustomizations.backoff_cap,
        )
        fetcher = Controller(
            "gitrepository",
            sources.reconcile,
            clock=clock,
            concurrency=_GIT_WORKERS,
            backoff_cap=sources.backoff_cap,
        )

        def on_source(source: SourceId) -> None:
            for ks in apps.store.values():
                if (ks.spec.source_ref.kind, ks.source_key) == (source.kind, source.key):
                    kustomizer.queue.add(ks.key)

        index.on_change(on_source)
        for informer, controller in ((repositories, fetcher), (apps, kustomizer)):
            informer.add_handler(_feed(controller))
            controller.on_pass(self._measure)
            self._telemetry.watch_queue(controller.name, depth=controller.queue.__len__, oldest=controller.queue.oldest)
            informer.start(tasks)
            self._problems[f"watch {controller.name}"] = partial(getattr, informer, "problem")
        for recorder in recorders.values():
            recorder.start(tasks)
        runners.append(await self._serve(serve.app(store), settings.storage_addr))
        tasks.keep(kustomizations.scribe.laggards.run, name="laggards")
        tasks.keep(lambda: self._collect(publisher), name="collect")
        await asyncio.gather(repositories.synced.wait(), apps.synced.wait())
        fetcher.start(tasks)
        kustomizer.start(tasks)
        log.info("running: %d GitRepositories, %d Kustomizations", len(repositories.store), len(apps.store))
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.gather(fetcher.stop(_GRACE_S), kustomizer.stop(_GRACE_S))

    async def _informer(self, client: Client, gvk: Gvk, struct: type[T]) -> Informer[T]:
        """An informer over all objects of one of our kinds; waits until the kind is installed."""
        decoder = msgspec.json.Decoder(struct)
        while True:
            try:
                resource = await client.discovery.find(gvk)
                return Informer(client, resource, decode=decoder.decode, key_of=lambda item: item.key)
            except UnknownKind:
                log.warning("%s is not installed: run `trimtab install --crds-only`; looking again in 5 s", gvk)
            except (ApiError, Unreachable) as failure:
                log.warning("cannot reach the API server, trying again in 5 s: %s", failure)
            await self._clock.sleep(5.0)

    async def _cluster_id(self, client: Client) -> str:
        namespace = await client.discovery.find(Gvk("", "v1", "Namespace"))
        body = await client.get(namespace, "kube-system")
        return str(body["metadata"]["uid"])

    async def _collect(self, publisher: Publisher) -> None:
        while True:
            await self._clock.sleep(_COLLECT_EVERY_S)
            await publisher.collect()

    async def _serve(self, app: web.Application, address: str) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        url = URL(f"http://{address}")
        await web.TCPSite(runner, url.host or "0.0.0.0", url.port).start()  # noqa: S104 - asked for by `:PORT`
        return runner

    def _measure(self, done: Pass[Key]) -> None:
        kind = "GitRepository" if done.controller == "gitrepository" else "Kustomization"
        subject = Subject(kind, done.key.namespace, done.key.name)
        self._telemetry.reconciled(subject, done.seconds)
        if not isinstance(done.outcome, Exception):
            self._telemetry.succeeded(subject, self._clock.now())


def _feed(controller: Controller[Key]) -> Callable[[Event[T]], None]:
    """Queue an object when what a person may change of it changed; our own status writes come back unheard."""

    def hear(event: Event[T]) -> None:
        if not isinstance(event, Applied):
            controller.queue.add(event.old.key)
            return
        old, new = event.old, event.new
        if old is not None and old.metadata.requested_at != new.metadata.requested_at:
            controller.queue.add(new.key, priority=Priority.REQUEST)
        elif old is None or _meaning(old) != _meaning(new):
            controller.queue.add(new.key)

    return hear


def _meaning(item: GitRepository | Kustomization) -> tuple[object, ...]:
    metadata = item.metadata
    return metadata.uid, metadata.generation, metadata.deleted, metadata.annotations


