"""The controller of HelmReleases, put together."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from trimtab.api.gvk import EXTERNAL_ARTIFACT, HELM_CHART, HELM_RELEASE, OCI_REPOSITORY
from trimtab.api.helmrelease import HelmRelease
from trimtab.api.names import HELM_MANAGER, Reason
from trimtab.base.clock import Clock
from trimtab.base.http import Transport
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.base.traces import Traces
from trimtab.controllers import helmrelease
from trimtab.controllers.access import Access, account
from trimtab.controllers.auditing import Auditor
from trimtab.controllers.charting import PREFIX, Charting
from trimtab.controllers.configs import Configs
from trimtab.controllers.freeze import Freeze
from trimtab.controllers.helmrelease import HelmReleases
from trimtab.controllers.index import SourceId, SourceIndex
from trimtab.controllers.offering import Offering
from trimtab.controllers.place import Place
from trimtab.controllers.places import Places
from trimtab.controllers.release import Case
from trimtab.controllers.releasescribe import ReleaseScribe
from trimtab.controllers.rendering import Rendering
from trimtab.controllers.standing import Standing
from trimtab.controllers.valuing import Valuing
from trimtab.helm import chance
from trimtab.helm.postrender import PostRendering
from trimtab.helm.template import Template
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests import selectors
from trimtab.manifests.refs import Gvk, Key
from trimtab.manifests.selectors import Selects
from trimtab.render.kustomize import Kustomize
from trimtab.roles.externals import Joined
from trimtab.roles.settings import Settings
from trimtab.runtime.controller import Controller
from trimtab.runtime.events import Recorder
from trimtab.runtime.queue import Priority
from trimtab.targets.kubernetes.judging import Judges
from trimtab.targets.kubernetes.target import KubernetesTarget
from trimtab.targets.kubernetes.tracking import News
from trimtab.toolchain import binaries

_AT_ONCE: Final = 500
"""A release that waits for its objects costs a coroutine and nothing else, and must not hold up others."""
_BACKOFF_CAP_S: Final = 300.0
_OFFERING: Final = frozenset({HELM_CHART.kind, OCI_REPOSITORY.kind, EXTERNAL_ARTIFACT.kind})


@dataclass(frozen=True, slots=True)
class Releases:
    """`inform` waits until a kind is installed, `record` makes a recorder of events for a component.

    `closing` is given what is to be done at the end.
    """

    settings: Settings
    client: Client
    transport: Transport
    clock: Clock
    telemetry: Telemetry
    index: SourceIndex
    standing: Standing
    access: Access
    remaining: Callable[[], float]
    inform: Callable[[Gvk, type[Any]], Awaitable[Informer[Any]]]
    record: Callable[[str], Recorder]
    attach: Callable[..., None]
    set_back: asyncio.Event
    traces: Traces
    closing: Callable[[Callable[[], None]], None]
    auditor: Auditor | None = None

    async def start(self, tasks: Tasks, home: str) -> Joined:
        """Look after HelmReleases, once they are installed. `home` is the id of our own cluster."""
        objects: Informer[HelmRelease] = await self.inform(HELM_RELEASE, HelmRelease)
        judges = Judges(PREFIX)

        def tell(key: Key, news: News) -> None:
            if releases.tell(key, news):
                controller.queue.add(key, priority=Priority.REQUEST)

        def furnish(reader: Client, tasks: Tasks, protected: str) -> KubernetesTarget:
            return KubernetesTarget(
                reader,
                tasks,
                self.clock,
                tell=tell,
                protected_namespace=protected,
                remaining=self.remaining,
                veto=lambda _ref, _key: freeze.why,
                judges=judges,
                prefix=PREFIX,
                manager=HELM_MANAGER,
            )

        def wake(key: Key) -> None:
            controller.queue.forget(key)
            controller.queue.add(key)

        def on_ready(key: Key, seconds: float) -> None:
            self.telemetry.converged(HELM_RELEASE.kind, seconds)
            releases.depending(key)

        def on_thaw() -> None:
            for key in releases.unready():
                controller.queue.add(key)

        settings = self.settings
        freeze = Freeze(self.client, settings.namespace, on_thaw)
        reader = account(self.client, settings.reader) if settings.reader else self.client
        target = furnish(reader, tasks, settings.namespace)
        target.add_rewind_handler(self.set_back.set)
        own = Place(self.client, target, (home,), True, settings.namespace)
        places = Places(own, self.transport, self.clock, tasks, furnish, wake)
        recorder = self.record(HELM_MANAGER)
        scribe = ReleaseScribe(self.client, recorder, self.clock, self.auditor)
        releases = HelmReleases(
            helmrelease.Surroundings(
                client=self.client,
                objects=objects,
                sources=self.index,
                places=places,
                access=self.access,
                charting=Charting(self.client, self.index, self.standing, self.access, self._fetches()),
                valuing=Valuing(self.client),
                rendering=self._rendering(scribe),
                scribe=scribe,
                clock=self.clock,
                offers=self.standing.stores,
                traces=self.traces,
                abroad=self._abroad if settings.selector else None,
            ),
            wake,
            on_ready,
        )
        self.closing(releases.journeys.close)
        controller = Controller(
            "helmrelease",
            releases.reconcile,
            clock=self.clock,
            concurrency=_AT_ONCE,
            backoff_cap=_BACKOFF_CAP_S,
            deadline_s=releases.longest_s,
        )

        def on_source(source: SourceId) -> None:
            releases.moved(source)

        def on_offer(kind: str, event: Event[Offering]) -> None:
            if kind in _OFFERING:
                item = event.old if event.old is not None else event.new
                releases.moved(SourceId(kind, item.key))

        def on_release(event: Event[HelmRelease]) -> None:
            """Whoever waits for it looks again when it comes, or goes, or when somebody writes that it failed."""
            if not isinstance(event, Applied):
                releases.links.drop(event.old.key)
                releases.depending(event.old.key)
                return
            releases.links.take(event.new)
            if event.old is None or event.old.ready != event.new.ready:
                releases.depending(event.new.key)

        objects.add_handler(on_release)
        self.index.on_change(on_source)
        self.standing.on_event(on_offer)
        await freeze.start(tasks)
        if settings.watched_configs:
            await Configs(reader, settings.watched_configs, releases.stirred).start(tasks)
        tasks.keep(places.run, name="helm places")
        self.attach(tasks, controller, objects, HELM_RELEASE.kind, releases.state, recorder=recorder)
        objects.start(tasks)
        return Joined(controller, objects.synced)

    def _fetches(self) -> Selects | None:
        """Which charts this process fetches, where it has the sources of a shard as well."""
        settings = self.settings
        return selectors.parse(settings.selector) if settings.selector and "source" in settings.controllers else None

    async def _abroad(self, key: Key) -> HelmRelease | None:
        """A release that another process looks after, as the server has it now."""
        try:
            resource = await self.client.discovery.find(HELM_RELEASE)
            return await self.client.get(resource, key.name, key.namespace, type=HelmRelease)
        except NotFound:
            return None

    def _rendering(self, scribe: ReleaseScribe) -> Rendering:
        found, path = binaries.present("render"), self.settings.storage_path / "render"
        helm, kustomize = found.get("helm"), found.get("kustomize")

        def told(case: Case, varies: tuple[str, ...]) -> None:
            scribe.warn(case.hr, case.release, Reason.NON_DETERMINISTIC_RENDER, chance.told(varies))

        return Rendering(
            Template(helm, path / "helm", began=self.telemetry.ran_helm) if helm is not None else None,
            PostRendering(Kustomize(kustomize, path / "post") if kustomize is not None else None),
            self.settings.helm_lookup,
            told,
        )
