"""The composition root of the automation: the one part of Trimtab that writes to git.

It stands apart from the controllers of sources and apps, with a Lease and, where it is run by itself, an account and
credentials of its own: who writes to the cluster does not write to git, and the other way round.
"""

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TypeVar

import msgspec

from trimtab.api.gvk import GIT_REPOSITORY, IMAGE_POLICY, IMAGE_UPDATE_AUTOMATION
from trimtab.api.image import ImagePolicy
from trimtab.api.imageupdate import ImageUpdateAutomation
from trimtab.api.names import AUTOMATION_MANAGER
from trimtab.api.source import GitRepository
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.base.http import Transport
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.cli.attach import attach
from trimtab.cli.settings import Settings
from trimtab.commits import Writers
from trimtab.controllers.access import Access, CrossNamespace
from trimtab.controllers.gitaccess import GitAccess
from trimtab.controllers.imageupdate import ImageUpdates, Surroundings
from trimtab.controllers.offering import Named
from trimtab.controllers.writeaccess import WriteAccess
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, UnknownKind, Unreachable
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests.refs import Gvk, Key
from trimtab.remotes.forges.pulls import Pulls
from trimtab.remotes.git.github import Apps
from trimtab.remotes.outbound import Outbound
from trimtab.runtime import server
from trimtab.runtime.controller import Controller
from trimtab.runtime.events import Recorder, Relay
from trimtab.runtime.queue import Priority
from trimtab.targets.kubernetes.target import WRITE_MARGIN_S

log = logging.getLogger(__name__)

_LOOK_AGAIN_S: Final = 5.0
_GRACE_S: Final = 20.0
_WORKERS: Final = 40
"""One that waits for its server must not hold up others; what takes memory has its own limits."""

T = TypeVar("T", bound=Named)


class Automation:
    """What `image-automation` does. `checks` is what /readyz asks."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        transport: Transport,
        clock: Clock,
        telemetry: Telemetry,
        checks: MutableMapping[str, server.Check],
        relay: Relay | None = None,
    ) -> None:
        self._settings = settings
        self._client = client
        self._transport = transport
        self._clock = clock
        self._telemetry = telemetry
        self._checks = checks
        self._relay = relay

    async def lead(self, remaining: Callable[[], float]) -> None:
        """Look after ImageUpdateAutomations until cancelled. `remaining` tells for how long we may still write."""
        tasks = Tasks("image-automation")
        set_back = asyncio.Event()
        client = self._client.fenced(lambda: remaining() >= WRITE_MARGIN_S and not set_back.is_set())
        recorder = Recorder(client, AUTOMATION_MANAGER, self._clock, telemetry=self._telemetry, relay=self._relay)
        recorder.start(tasks)
        try:
            objects = await self._informer(client, IMAGE_UPDATE_AUTOMATION, ImageUpdateAutomation)
            policies = await self._informer(client, IMAGE_POLICY, ImagePolicy)
            sources = await self._informer(client, GIT_REPOSITORY, GitRepository)
            objects.add_rewind_handler(set_back.set)
            world = self._world(client, recorder, objects, policies, sources)
            tasks.keep(world.writers.clear, name="clear")

            def wake(key: Key) -> None:
                controller.queue.add(key)

            updates = ImageUpdates(world, wake)
            controller: Controller[Key] = Controller(
                "imageupdateautomation",
                updates.reconcile,
                clock=self._clock,
                concurrency=_WORKERS,
                backoff_cap=updates.backoff_cap,
            )
            self._connect(controller, updates, policies, sources)
            attach(
                tasks,
                controller,
                objects,
                IMAGE_UPDATE_AUTOMATION.kind,
                updates.state,
                telemetry=self._telemetry,
                clock=self._clock,
                checks=self._checks,
            )
            for informer in (policies, sources, objects):
                informer.start(tasks)
            try:
                await asyncio.gather(*(one.synced.wait() for one in (objects, policies, sources)))
                controller.start(tasks)
                log.info("running: image-automation")
                await set_back.wait()
                raise Transient("ClusterRestored", "the API server shows an older state than before: all is read anew")
            finally:
                await controller.stop(_GRACE_S)
        finally:
            await recorder.stop()
            await tasks.close()

    def _world(
        self,
        client: Client,
        recorder: Recorder,
        objects: Informer[ImageUpdateAutomation],
        policies: Informer[ImagePolicy],
        sources: Informer[GitRepository],
    ) -> Surroundings:
        settings, transport, clock = self._settings, self._transport, self._clock
        access = Access(
            client,
            clock,
            namespace=settings.namespace,
            cross_namespace=CrossNamespace(settings.cross_namespace_refs),
        )
        git = GitAccess(client, Apps(transport, clock, deny_private=settings.deny_private))
        return Surroundings(
            client=client,
            objects=objects,
            policies=policies,
            sources=sources,
            access=access,
            writing=WriteAccess(client, git, access),
            writers=Writers(settings.storage_path / "automation", transport, clock, deny_private=settings.deny_private),
            pulls=Pulls(Outbound(transport, clock, deny_private=settings.deny_private)),
            recorder=recorder,
            clock=clock,
        )

    def _connect(
        self,
        controller: Controller[Key],
        updates: ImageUpdates,
        policies: Informer[ImagePolicy],
        sources: Informer[GitRepository],
    ) -> None:
        """A policy that chose, and a source that moved, have their automations look at once."""

        def on_policy(event: Event[ImagePolicy]) -> None:
            old, new = event.old, event.new if isinstance(event, Applied) else None
            item = new if new is not None else old
            if item is None or (old is not None and new is not None and _choice(old) == _choice(new)):
                return
            for key in updates.concerned(item):
                controller.queue.forget(key)
                controller.queue.add(key, priority=Priority.REQUEST)

        def on_source(event: Event[GitRepository]) -> None:
            old, new = event.old, event.new if isinstance(event, Applied) else None
            item = new if new is not None else old
            if item is None or (old is not None and new is not None and _offer(old) == _offer(new)):
                return
            for key in updates.on(item.key):
                controller.queue.forget(key)
                controller.queue.add(key)

        policies.add_handler(on_policy)
        sources.add_handler(on_source)

    async def _informer(self, client: Client, gvk: Gvk, struct: type[T]) -> Informer[T]:
        """An informer over all objects of a kind; waits until the kind is installed, which it need not be."""
        said = ""
        while True:
            try:
                resource = await client.discovery.find(gvk)
                return Informer(
                    client, resource, decode=msgspec.json.Decoder(struct).decode, key_of=lambda item: item.key
                )
            except (UnknownKind, ApiError, Unreachable) as failure:
                if str(failure) != said:
                    log.info("no images are written yet: %s", failure)
                said = str(failure)
            await self._clock.sleep(_LOOK_AGAIN_S)


def _choice(policy: ImagePolicy) -> tuple[Any, ...]:
    return policy.status.latest_ref, policy.metadata.labels, policy.metadata.annotations, policy.metadata.deleted


def _offer(source: GitRepository) -> tuple[Any, ...]:
    artifact = source.status.artifact
    return source.metadata.generation, artifact.revision if artifact is not None else ""
