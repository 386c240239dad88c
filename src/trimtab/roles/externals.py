"""ExternalArtifacts, put together: those of other producers are taken over, those of generators are made here."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trimtab.api.external import ExternalArtifact
from trimtab.api.generator import ArtifactGenerator
from trimtab.api.gvk import ARTIFACT_GENERATOR, EXTERNAL_ARTIFACT
from trimtab.api.names import WATCHER_MANAGER
from trimtab.artifacts.publish import Publisher
from trimtab.artifacts.store import Store
from trimtab.base.clock import Clock
from trimtab.base.tasks import Tasks
from trimtab.controllers import artifactgenerator, remote
from trimtab.controllers.access import Access
from trimtab.controllers.artifactgenerator import Generators
from trimtab.controllers.index import SourceId, SourceIndex
from trimtab.controllers.offering import Offered, about
from trimtab.controllers.standing import Standing
from trimtab.kube.client import Client
from trimtab.kube.informer import Event, Informer
from trimtab.manifests.refs import Gvk, Key
from trimtab.remotes.checked import Checked
from trimtab.remotes.outbound import Outbound
from trimtab.runtime.controller import Controller
from trimtab.runtime.events import Recorder

_WORKERS = 8


class Joined(NamedTuple):
    """The controller of one kind, not started yet, and whether its objects have been seen."""

    controller: Controller[Key]
    synced: asyncio.Event


@dataclass(slots=True)
class Externals:
    """Both controllers of ExternalArtifacts, and the one watch that they share.

    `inform` waits until a kind is installed, `own` does for the objects that this process looks after, where others do
    the rest; `record` makes a recorder of events for a component. `demand`: only what is asked for is taken over.
    """

    client: Client
    index: SourceIndex
    standing: Standing
    store: Store
    out: Outbound
    clock: Clock
    inform: Callable[[Gvk, type[Any]], Awaitable[Informer[Any]]]
    own: Callable[[Gvk, type[Any]], Awaitable[Informer[Any]]]
    demand: bool
    record: Callable[[str], Recorder]
    _objects: asyncio.Future[Informer[ExternalArtifact]] = field(init=False)
    _generators: Generators | None = None

    def __post_init__(self) -> None:
        self._objects = asyncio.get_running_loop().create_future()

    async def take(self, tasks: Tasks) -> Joined:
        """Take over what others publish."""
        objects: Informer[ExternalArtifact] = await self.inform(EXTERNAL_ARTIFACT, ExternalArtifact)
        recorder = self.record("kustomize-controller")

        def warn(item: ExternalArtifact, reason: str, words: str) -> None:
            recorder.record(about(item), "Warning", reason, words, {})

        def ours(key: Key) -> bool:
            return self._generators is not None and self._generators.makes(key)

        self.standing.follow(EXTERNAL_ARTIFACT.kind, objects)
        # whoever may write a status has written the address
        way = Checked(self.out)
        demand = Demand(EXTERNAL_ARTIFACT.kind) if self.demand else None
        remotes = remote.RemoteSources(
            EXTERNAL_ARTIFACT.kind,
            objects,
            self.index,
            self.store,
            way,
            ours=ours,
            wanted=demand.wanted if demand else lambda _key: True,
            warn=warn,
        )
        controller = reader(remotes, objects, self.clock)
        if demand:
            demand.follow(self.index, controller)
        self._objects.set_result(objects)
        objects.start(tasks)
        return Joined(controller, objects.synced)

    async def make(self, tasks: Tasks, publisher: Publisher, access: Access, attach: Callable[..., None]) -> Joined:
        """Look after ArtifactGenerators, once both kinds are installed."""
        generators: Informer[ArtifactGenerator] = await self.own(ARTIFACT_GENERATOR, ArtifactGenerator)
        objects = await self._objects
        await objects.synced.wait()
        made = self._generators = Generators(
            artifactgenerator.Surroundings(
                client=self.client,
                objects=generators,
                artifacts=objects,
                publisher=publisher,
                store=self.store,
                index=self.index,
                access=access,
                recorder=self.record(WATCHER_MANAGER),
                clock=self.clock,
            )
        )
        controller = Controller(
            "artifactgenerator",
            made.reconcile,
            clock=self.clock,
            concurrency=_WORKERS,
            backoff_cap=artifactgenerator.BACKOFF_CAP_S,
        )

        def on_source(source: SourceId) -> None:
            for key in made.taking(source):
                controller.queue.forget(key)
                controller.queue.add(key)

        def on_product(event: Event[ExternalArtifact]) -> None:
            for key in made.disturbed(event):
                controller.queue.forget(key)
                controller.queue.add(key)

        self.index.on_change(on_source)
        objects.add_handler(on_product)
        attach(tasks, controller, generators, ARTIFACT_GENERATOR.kind, made.state)
        generators.start(tasks)
        return Joined(controller, generators.synced)


class Demand:
    """Which sources of a kind this process has asked for. Where many share the work, each fetches only what it uses."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._keys: set[Key] = set()

    def wanted(self, key: Key) -> bool:
        """Whether anybody here has asked for it."""
        return key in self._keys

    def follow(self, index: SourceIndex, controller: Controller[Key]) -> None:
        """Have `controller` look for what is asked for and not there."""

        def seek(source: SourceId) -> None:
            if source.kind == self._kind:
                self._keys.add(source.key)
                controller.queue.add(source.key)

        index.on_demand(seek)


def reader(remotes: remote.RemoteSources[Offered], objects: Informer[Offered], clock: Clock) -> Controller[Key]:
    """The controller that takes over the artifacts of one kind."""
    controller = Controller("artifact", remotes.reconcile, clock=clock, backoff_cap=remote.BACKOFF_CAP_S)

    def hear(event: Event[Offered]) -> None:
        if (key := remote.is_news(event)) is not None:
            controller.queue.forget(key)
            controller.queue.add(key)

    objects.add_handler(hear)
    return controller
