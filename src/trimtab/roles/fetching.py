"""Sources, put together: one producer for each kind, and the controller that they all have in common."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from trimtab.api.gvk import GIT_REPOSITORY
from trimtab.artifacts.publish import Publisher
from trimtab.artifacts.store import Store
from trimtab.base.clock import Clock
from trimtab.base.http import Transport
from trimtab.base.tasks import Tasks
from trimtab.base.traces import Traces
from trimtab.controllers import sourcing
from trimtab.controllers.auditing import Auditor
from trimtab.controllers.bucket import BucketProducer
from trimtab.controllers.dependencycharts import DependencyCharts, Reach
from trimtab.controllers.gitaccess import GitAccess
from trimtab.controllers.gitrepository import GitProducer
from trimtab.controllers.helmchart import HelmChartProducer, Origins
from trimtab.controllers.helmrepository import HelmRepositoryProducer
from trimtab.controllers.includes import Includes
from trimtab.controllers.index import SourceIndex
from trimtab.controllers.lookback import Lookback
from trimtab.controllers.ocirepository import OciProducer
from trimtab.controllers.producing import Producer
from trimtab.controllers.standing import Standing
from trimtab.kube.client import Client
from trimtab.kube.informer import Informer
from trimtab.manifests.refs import Gvk, Key
from trimtab.remotes.git.github import Apps
from trimtab.remotes.outbound import Outbound
from trimtab.roles.settings import Settings
from trimtab.roles.wake import ChartWaker
from trimtab.runtime.controller import Controller
from trimtab.runtime.events import Recorder
from trimtab.sources.bucket import BucketSource
from trimtab.sources.git import GitSource
from trimtab.sources.helm import HelmSource
from trimtab.sources.oci import OciSource

_WORKERS: Final = 32
"""Most of them wait for a server, which may say nothing until its time is up; what takes more has slots of its own."""
_SWEEP_EVERY_S: Final = 600.0
_MIRROR_UNUSED_S: Final = 24 * 3600.0


@dataclass(kw_only=True, slots=True)
class Fetching:
    """Fetches what sources name, and publishes it. `attach` connects a controller with its objects."""

    settings: Settings
    client: Client
    transport: Transport
    out: Outbound
    clock: Clock
    store: Store
    publisher: Publisher
    index: SourceIndex
    standing: Standing
    recorder: Recorder
    attach: Callable[..., None]
    traces: Traces
    auditor: Auditor | None = None
    _git: GitSource = field(init=False)
    _lookback: Lookback = field(init=False)
    _includes: Includes = field(init=False)
    _charts: ChartWaker = field(init=False)
    _producers: Mapping[Gvk, Producer[Any]] = field(init=False)

    def __post_init__(self) -> None:
        self._git = GitSource(
            self.settings.storage_path / "git",
            self.store,
            self.transport,
            self.clock,
            deny_private=self.settings.deny_private,
        )
        self._lookback = Lookback(self.clock)
        self._includes = Includes(self.index, self.publisher)
        self._charts = ChartWaker(self.index)
        apps = Apps(self.transport, self.clock, deny_private=self.settings.deny_private)
        access = GitAccess(self.client, apps)
        oci = OciSource(self.store, self.out, self.clock)
        producers: tuple[Producer[Any], ...] = (
            GitProducer(self.client, self._git, self.clock, access, self._includes),
            OciProducer(self.client, oci),
            BucketProducer(self.client, BucketSource(self.store, self.out, self.clock)),
            *self._helm(oci),
        )
        self._producers = {producer.gvk: producer for producer in producers}

    def start(self, tasks: Tasks) -> None:
        """Begin to look back, and to clear away what nobody uses any more."""
        self._lookback.controller.start(tasks)
        tasks.keep(self._sweep, name="sweep")

    async def stop(self, grace_s: float) -> None:
        """Say what is still to be said of what was published; nothing new is published any more."""
        await self._lookback.stop(grace_s)

    def controller(self, tasks: Tasks, gvk: Gvk, objects: Informer[Any]) -> Controller[Key]:
        """The controller of one kind of source, not started yet."""

        def wake(key: Key) -> None:
            controller.queue.add(key)

        world = sourcing.Surroundings(
            self.client,
            objects,
            self.publisher,
            self.index,
            self.recorder,
            self.clock,
            self.traces,
            self.auditor,
            self._lookback,
        )
        sources = sourcing.Sources(world, self._producers[gvk], wake)
        controller = Controller(
            gvk.kind.lower(),
            sources.reconcile,
            clock=self.clock,
            concurrency=_WORKERS,
            backoff_cap=sources.backoff_cap,
        )
        self.attach(tasks, controller, objects, gvk.kind, sources.state, recorder=self.recorder)
        if gvk == GIT_REPOSITORY:
            self._includes.follow(objects, controller.queue.add, self._stands)
        self._charts.follow(gvk, objects, controller)
        return controller

    def _stands(self, key: Key) -> bool:
        return key in self.standing.stores[GIT_REPOSITORY.kind]

    def _helm(self, oci: OciSource) -> tuple[Producer[Any], ...]:
        helm, objects = HelmSource(self.store, self.out), self.standing.stores
        # what a chart says of its dependencies was not written by the owner of the object
        stranger = Outbound(self.transport, self.clock, deny_private=True)
        strangers = Reach(HelmSource(self.store, stranger), OciSource(self.store, stranger, self.clock))
        dependencies = DependencyCharts(self.client, self.store, Reach(helm, oci), strangers, self.index, objects)
        return (
            HelmRepositoryProducer(self.client, helm),
            HelmChartProducer(self.client, Origins(self.store, helm, oci, self.index, objects), dependencies),
        )

    async def _sweep(self) -> None:
        """Remove the mirrors that nobody uses any more."""
        while True:
            await self.clock.sleep(_SWEEP_EVERY_S)
            await self._git.sweep(_MIRROR_UNUSED_S)
