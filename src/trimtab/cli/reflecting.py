"""The composition root of the look at images: repositories are scanned, and one tag of each is chosen.

It stands apart from the controllers of sources and apps, with a Lease of its own, so that it can be a process of its
own, with an account that may write nothing in the cluster but the status of these objects.
"""

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, TypeVar

import msgspec

from trimtab.api.gvk import IMAGE_POLICY, IMAGE_REPOSITORY
from trimtab.api.image import ImagePolicy, ImageRepository
from trimtab.api.names import REFLECTOR_MANAGER
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.base.http import Transport
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.cli.attach import attach
from trimtab.cli.settings import Settings
from trimtab.controllers import imagepolicy, imagerepository
from trimtab.controllers.access import Access, CrossNamespace
from trimtab.controllers.imagepolicy import ImagePolicies
from trimtab.controllers.imagerepository import ImageRepositories
from trimtab.controllers.offering import Named
from trimtab.controllers.scans import Scans
from trimtab.images.scanning import Scanner
from trimtab.images.tagstore import TagStore
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, UnknownKind, Unreachable
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests.refs import Gvk, Key
from trimtab.remotes.outbound import Outbound
from trimtab.runtime import server
from trimtab.runtime.controller import Controller
from trimtab.runtime.events import Recorder, Relay
from trimtab.targets.kubernetes.target import WRITE_MARGIN_S

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Named)

_LOOK_AGAIN_S = 5.0
_GRACE_S = 5.0
_WORKERS = 200
"""One that waits for its turn at a registry costs a coroutine and nothing else, and must not hold up others."""


class Reflecting:
    """What the role `image-reflector` does. `checks` is what /readyz asks."""

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
        self._clock = clock
        self._telemetry = telemetry
        self._checks = checks
        self._relay = relay
        self._outbound = Outbound(transport, clock, deny_private=settings.deny_private)

    async def lead(self, remaining: Callable[[], float]) -> None:
        """Scan and choose until cancelled. `remaining` tells for how many seconds we may still write."""
        tasks, set_back = Tasks("images"), asyncio.Event()
        client = self._client.fenced(lambda: remaining() >= WRITE_MARGIN_S and not set_back.is_set())
        recorder = Recorder(client, REFLECTOR_MANAGER, self._clock, telemetry=self._telemetry, relay=self._relay)
        recorder.start(tasks)
        controllers: list[Controller[Key]] = []
        try:
            store = await asyncio.to_thread(TagStore, self._settings.storage_path / "images" / "tags.db")
            repositories = await self._informer(client, IMAGE_REPOSITORY, ImageRepository, set_back)
            policies = await self._informer(client, IMAGE_POLICY, ImagePolicy, set_back)
            controllers += self._controllers(tasks, client, repositories, policies, store, recorder)
            repositories.start(tasks)
            policies.start(tasks)
            await asyncio.gather(repositories.synced.wait(), policies.synced.wait())
            await asyncio.to_thread(store.keep_only, list(repositories.store))
            for controller in controllers:
                controller.start(tasks)
            log.info("running: image-reflector")
            await set_back.wait()
            raise Transient("ClusterRestored", "the API server shows an older state than before: all is read anew")
        finally:
            await asyncio.gather(*(controller.stop(_GRACE_S) for controller in controllers))
            await recorder.stop()
            await tasks.close()

    def _controllers(
        self,
        tasks: Tasks,
        client: Client,
        repositories: Informer[ImageRepository],
        policies: Informer[ImagePolicy],
        store: TagStore,
        recorder: Recorder,
    ) -> tuple[Controller[Key], Controller[Key]]:
        scans, scanner = Scans(), Scanner(self._outbound, self._clock)

        def choose(key: Key) -> None:
            chooser.queue.forget(key)
            chooser.queue.add(key)

        def again(key: Key) -> None:
            chooser.queue.add(key)

        def look(key: Key) -> None:
            looker.queue.add(key)

        def on_repository(event: Event[ImageRepository]) -> None:
            """Who may choose from it, and with which rights, is another matter than its tags."""
            if not isinstance(event, Applied):
                choosing.moved(event.old.key)
            elif event.old is None or imagepolicy.asks(event.old) != imagepolicy.asks(event.new):
                choosing.moved(event.new.key)

        choosing = ImagePolicies(
            imagepolicy.Surroundings(
                client=client,
                objects=policies,
                repositories=repositories,
                scanner=scanner,
                store=store,
                scans=scans,
                access=Access(
                    client,
                    self._clock,
                    namespace=self._settings.namespace,
                    cross_namespace=CrossNamespace(self._settings.cross_namespace_refs),
                ),
                recorder=recorder,
                clock=self._clock,
            ),
            choose,
            again,
        )
        looking = ImageRepositories(
            imagerepository.Surroundings(
                client=client,
                objects=repositories,
                scanner=scanner,
                store=store,
                scans=scans,
                chosen=choosing.chosen,
                recorder=recorder,
                clock=self._clock,
            )
        )
        looker: Controller[Key] = Controller(
            "imagerepository",
            looking.reconcile,
            clock=self._clock,
            concurrency=_WORKERS,
            backoff_cap=looking.backoff_cap,
        )
        chooser: Controller[Key] = Controller(
            "imagepolicy",
            choosing.reconcile,
            clock=self._clock,
            concurrency=_WORKERS,
            backoff_cap=choosing.backoff_cap,
        )
        scans.on_change(choosing.moved)
        scans.on_loss(look)
        policies.add_handler(choosing.hear)
        repositories.add_handler(on_repository)
        join = partial(attach, telemetry=self._telemetry, clock=self._clock, checks=self._checks)
        join(tasks, looker, repositories, IMAGE_REPOSITORY.kind, looking.state)
        join(tasks, chooser, policies, IMAGE_POLICY.kind, choosing.state)
        return looker, chooser

    async def _informer(self, client: Client, gvk: Gvk, struct: type[T], set_back: asyncio.Event) -> Informer[T]:
        """An informer over all objects of a kind; waits until the kind is installed, which it need not be."""
        decode: Callable[[bytes], Any] = msgspec.json.Decoder(struct).decode
        said = ""
        while True:
            try:
                resource = await client.discovery.find(gvk)
                informer: Informer[T] = Informer(client, resource, decode=decode, key_of=lambda item: item.key)
                informer.add_rewind_handler(set_back.set)
                return informer
            except (UnknownKind, ApiError, Unreachable) as failure:
                if str(failure) != said:
                    log.info("no images are looked at yet: %s", failure)
                said = str(failure)
            await self._clock.sleep(_LOOK_AGAIN_S)
