"""The composition root of the automation: the one part of Trimtab that writes to git.

It stands apart from the controllers of sources and apps, with a Lease and, where it is run by itself, an account and
credentials of its own: who writes to the cluster does not write to git, and the other way round.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from trimtab.api.gvk import GIT_REPOSITORY, IMAGE_POLICY, IMAGE_UPDATE_AUTOMATION
from trimtab.api.image import ImagePolicy
from trimtab.api.imageupdate import ImageUpdateAutomation
from trimtab.api.names import AUTOMATION_MANAGER
from trimtab.api.source import GitRepository
from trimtab.commits import Writers
from trimtab.controllers.auditing import Auditor
from trimtab.controllers.gitaccess import GitAccess
from trimtab.controllers.imageupdate import ImageUpdates, Surroundings
from trimtab.controllers.standing import Standing
from trimtab.controllers.writeaccess import WriteAccess
from trimtab.kube.client import Client
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests.refs import Key
from trimtab.remotes.forges.pulls import Pulls
from trimtab.remotes.git.github import Apps
from trimtab.roles.role import Means, Term, term
from trimtab.runtime.controller import Controller
from trimtab.runtime.queue import Priority

log = logging.getLogger(__name__)

_GRACE_S: Final = 20.0
_WORKERS: Final = 40
"""One that waits for its server must not hold up others; what takes memory has its own limits."""


class Automation:
    """What the role `image-automation` does."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def lead(self, remaining: Callable[[], float]) -> None:
        """Look after ImageUpdateAutomations until cancelled. `remaining` tells for how long we may still write."""
        without = "no images are written yet"
        async with term(self._means, "image-automation", AUTOMATION_MANAGER, remaining, grace_s=_GRACE_S) as office:
            objects = await office.informer(IMAGE_UPDATE_AUTOMATION, ImageUpdateAutomation, without, shared=True)
            policies = await office.informer(IMAGE_POLICY, ImagePolicy, without)
            sources = await office.informer(GIT_REPOSITORY, GitRepository, without)
            auditor = await self._means.auditor(office.client, Standing())
            world = self._world(office, objects, policies, sources, auditor)
            office.tasks.keep(world.writers.clear, name="clear")

            def wake(key: Key) -> None:
                controller.queue.add(key)

            updates = ImageUpdates(world, wake)
            controller: Controller[Key] = Controller(
                "imageupdateautomation",
                updates.reconcile,
                clock=self._means.clock,
                concurrency=_WORKERS,
                backoff_cap=updates.backoff_cap,
            )
            self._connect(controller, updates, policies, sources)
            office.attach(controller, objects, IMAGE_UPDATE_AUTOMATION.kind, updates.state)
            for informer in (policies, sources, objects):
                informer.start(office.tasks)
            await asyncio.gather(*(one.synced.wait() for one in (objects, policies, sources)))
            log.info("running: image-automation")
            await office.work()

    def _world(
        self,
        office: Term,
        objects: Informer[ImageUpdateAutomation],
        policies: Informer[ImagePolicy],
        sources: Informer[GitRepository],
        auditor: Auditor | None,
    ) -> Surroundings:
        client, settings = office.client, self._means.settings
        transport, clock = self._means.transport, self._means.clock
        access = self._means.access(client)
        git = GitAccess(client, Apps(transport, clock, deny_private=settings.deny_private))
        return Surroundings(
            client=client,
            objects=objects,
            policies=policies,
            sources=sources,
            access=access,
            writing=WriteAccess(client, git, access),
            writers=Writers(settings.storage_path / "automation", transport, clock, deny_private=settings.deny_private),
            pulls=Pulls(self._means.outbound()),
            recorder=office.recorder,
            clock=clock,
            auditor=auditor,
            traces=self._means.traces,
            live=partial(_policies, client) if settings.selector else None,
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


async def _policies(client: Client, namespace: str) -> Sequence[ImagePolicy]:
    """The policies of a namespace as the server has them now."""
    resource = await client.discovery.find(IMAGE_POLICY)
    return (await client.list(resource, namespace, type=ImagePolicy)).items


def _choice(policy: ImagePolicy) -> tuple[Any, ...]:
    return policy.status.latest_ref, policy.metadata.labels, policy.metadata.annotations, policy.metadata.deleted


def _offer(source: GitRepository) -> tuple[Any, ...]:
    artifact = source.status.artifact
    return source.metadata.generation, artifact.revision if artifact is not None else ""
