"""The controller of Kustomizations, put together."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.artifacts.store import Store
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.base.http import Transport
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Subject, Telemetry
from trimtab.base.traces import Traces
from trimtab.controllers.access import Access, account
from trimtab.controllers.auditing import Auditor
from trimtab.controllers.backstop import Backstop
from trimtab.controllers.bases import Bases
from trimtab.controllers.configs import Configs
from trimtab.controllers.decrypting import Decrypting
from trimtab.controllers.freeze import Freeze
from trimtab.controllers.index import SourceId, SourceIndex
from trimtab.controllers.intents import Intents
from trimtab.controllers.kustomization import Kustomizations, Surroundings
from trimtab.controllers.lineup import lineup
from trimtab.controllers.neighbours import Neighbours
from trimtab.controllers.offering import Offering
from trimtab.controllers.place import Place
from trimtab.controllers.places import Places
from trimtab.controllers.records import Records, keeps_our_fields
from trimtab.controllers.standing import Standing
from trimtab.controllers.substituting import Substituting
from trimtab.controllers.vaultlogin import VaultLogin
from trimtab.kube.client import Client
from trimtab.kube.informer import Event, Informer
from trimtab.manifests.refs import Key, Ref
from trimtab.remotes.outbound import Outbound
from trimtab.render.render import Renderer
from trimtab.roles.role import cluster_id
from trimtab.roles.settings import Settings
from trimtab.runtime.controller import Controller
from trimtab.runtime.events import Recorder
from trimtab.runtime.queue import Priority
from trimtab.sources.git import GitSource
from trimtab.targets.contract import Drift
from trimtab.targets.kubernetes.judging import Judges
from trimtab.targets.kubernetes.target import KubernetesTarget
from trimtab.targets.kubernetes.tracking import News
from trimtab.toolchain import binaries

_TOO_OLD = (
    "several processes can share the apps only where a status has room for what they tell each other, and the "
    "definition of Kustomization has none: run `trimtab install --crds-only`"
)


@dataclass(kw_only=True, slots=True)
class Applying:
    """Renders what Kustomizations name, and applies it. `attach` connects a controller with its objects.

    `closing` is given what is to be done at the end.
    """

    settings: Settings
    client: Client
    transport: Transport
    out: Outbound
    clock: Clock
    telemetry: Telemetry
    store: Store
    index: SourceIndex
    standing: Standing
    access: Access
    remaining: Callable[[], float]
    recorder: Recorder
    attach: Callable[..., None]
    set_back: asyncio.Event
    traces: Traces
    closing: Callable[[Callable[[], None]], None]
    auditor: Auditor | None = None
    _judges: Judges = field(init=False, default_factory=Judges)
    _bases: Bases = field(init=False)
    _renderer: Renderer = field(init=False)
    _apps: Kustomizations = field(init=False)
    _controller: Controller[Key] = field(init=False)

    def __post_init__(self) -> None:
        path, settings = self.settings.storage_path, self.settings
        git = GitSource(path / "bases", self.store, self.transport, self.clock, deny_private=settings.deny_private)
        self._bases = Bases(git, settings.remote_bases, self.clock)
        kustomize = binaries.present("render").get("kustomize")
        self._renderer = Renderer(self.store, kustomize, path / "render", began=self.telemetry.ran_kustomize)

    async def controller(self, tasks: Tasks, objects: Informer[Kustomization]) -> Controller[Key]:
        """The controller of Kustomizations, not started yet. What it needs beside it is at work."""
        settings = self.settings
        freeze = Freeze(self.client, settings.namespace, self._on_thaw)
        reader = account(self.client, settings.reader) if settings.reader else self.client
        world = await self._surroundings(tasks, objects, freeze, reader)
        apps = self._apps = Kustomizations(
            world, self._on_ready, self._wake, self._again, self._on_drift, self._on_commit
        )
        controller = self._controller = Controller(
            "kustomization",
            apps.reconcile,
            clock=self.clock,
            concurrency=settings.concurrent,
            backoff_cap=apps.backoff_cap,
        )
        self._follow(objects)
        await freeze.start(tasks)
        if settings.watched_configs:
            await Configs(reader, settings.watched_configs, apps.stirred).start(tasks)
        tasks.keep(self._bases.tidy, name="bases")
        if world.neighbours is not None:
            tasks.keep(world.neighbours.run, name="neighbours")
        tasks.keep(world.places.run, name="places")
        tasks.keep(apps.scribe.pen.laggards.run, name="laggards")
        tasks.keep(apps.orphans().run, name="orphans")
        if settings.recheck_every_s:
            tasks.keep(Backstop(world.places, self.clock, settings.recheck_every_s).run, name="backstop")
        self.attach(tasks, controller, objects, KUSTOMIZATION.kind, apps.state, recorder=self.recorder)
        return controller

    def trees(self) -> Iterable[str]:
        """The digests of the trees that are in use though no source offers them: bases from elsewhere."""
        return self._bases.trees()

    def results(self) -> list[str]:
        """The contents of the store that are results of builds."""
        return self._renderer.results()

    async def _surroundings(
        self, tasks: Tasks, objects: Informer[Kustomization], freeze: Freeze, reader: Client
    ) -> Surroundings:
        settings, home = self.settings, await cluster_id(self.client)

        def furnish(reader: Client, tasks: Tasks, protected: str) -> KubernetesTarget:
            return KubernetesTarget(
                reader,
                tasks,
                self.clock,
                tell=self._tell,
                protected_namespace=protected,
                remaining=self.remaining,
                veto=self._veto,
                judges=self._judges,
            )

        target = furnish(reader, tasks, settings.namespace)
        target.add_rewind_handler(self.set_back.set)
        own = Place(self.client, target, (home,), True, settings.namespace)
        records = await self._records(tasks, objects, home)
        return Surroundings(
            client=self.client,
            objects=objects,
            standing=self.standing,
            sources=self.index,
            renderer=self._renderer,
            bases=self._bases,
            places=Places(own, self.transport, self.clock, tasks, furnish, self._wake),
            access=self.access,
            substituting=Substituting(self.client, strict=settings.strict_substitution),
            recorder=self.recorder,
            clock=self.clock,
            records=records,
            neighbours=await self._neighbours(records, home),
            namespace=settings.namespace,
            freeze=freeze,
            decrypting=self._decrypting(),
            traces=self.traces,
            auditor=self.auditor,
        )

    async def _records(self, tasks: Tasks, objects: Informer[Kustomization], home: str) -> Records:
        settings = self.settings
        keeper = account(self.client, settings.applier) if settings.applier else self.client
        shared = bool(settings.selector)
        intents = Intents(self.client, settings.namespace, objects.store, self.clock, tasks, shared=shared)
        return Records(keeper, home, apart=not await keeps_our_fields(self.client), intents=intents)

    async def _neighbours(self, records: Records, home: str) -> Neighbours | None:
        """The apps of other processes, where several share them."""
        selector = self.settings.selector
        if not selector:
            return None
        if not await keeps_our_fields(self.client, "planned"):
            raise Transient("DefinitionsTooOld", _TOO_OLD)
        return Neighbours(self.client, records, selector, home, self.clock, self._wake)

    def _decrypting(self) -> Decrypting:
        settings = self.settings
        shared, vaults = (
            Key(settings.namespace, name) if name else None
            for name in (settings.sops_age_secret, settings.sops_vault_configmap)
        )
        login = VaultLogin(self.client, self.out, vaults) if vaults else None
        return Decrypting(self.client, self.out, self.clock, shared, login)

    # --- who needs another pass

    def _follow(self, objects: Informer[Kustomization]) -> None:
        apps, queue = self._apps, self._controller.queue

        def on_source(source: SourceId) -> None:
            using = {ks.key: ks for ks in objects.store.values() if (ks.spec.source_ref.kind, ks.source_key) == source}
            for key, priority in lineup(using, self.index.touched(source), apps.reads_beside):
                queue.forget(key)
                queue.add(key, priority=priority)

        def on_kinds() -> None:
            """A kind came or went: what could not be applied may be possible now."""
            self._wake_unready(objects.store)

        def on_app(event: Event[Kustomization]) -> None:
            self._wake_unready(apps.ripple.app(event))

        def on_source_event(kind: str, event: Event[Offering]) -> None:
            self._wake_unready(apps.ripple.source(kind, event))

        objects.add_handler(on_app)
        self.standing.on_event(on_source_event)
        self.index.on_change(on_source)
        self.client.discovery.add_listener(on_kinds)
        self.closing(lambda: self.client.discovery.remove_listener(on_kinds))
        self.closing(apps.journeys.close)

    def _wake(self, app: Key) -> None:
        self._controller.queue.add(app)

    def _again(self, app: Key, after: float) -> None:
        self._controller.queue.add(app, after=after)

    def _wake_unready(self, apps: Iterable[Key]) -> None:
        for key in apps:
            if self._apps.revision_of(key) is None:
                self._wake(key)

    def _tell(self, app: Key, news: News) -> None:
        self._controller.queue.add(app, priority=Priority.REQUEST if news is News.DISTURBED else Priority.EVENT)

    def _veto(self, ref: Ref, app: Key) -> str:
        return self._apps.veto(ref, app)

    def _on_thaw(self) -> None:
        for key in self._apps.held_back():
            self._wake(key)

    def _on_ready(self, app: Key, seconds: float) -> None:
        self.telemetry.converged(KUSTOMIZATION.kind, seconds)
        for waiting in self._apps.ripple.dependents(app):
            self._wake(waiting)

    def _on_drift(self, app: Key, found: Drift) -> None:
        self.telemetry.drifted(Subject(KUSTOMIZATION.kind, app.namespace, app.name), found.answer)

    def _on_commit(self, committed: str) -> None:
        seconds = self.clock.now() - datetime.fromisoformat(committed)
        self.telemetry.led(KUSTOMIZATION.kind, seconds.total_seconds())
