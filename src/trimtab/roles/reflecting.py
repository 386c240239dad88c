"""The composition root of the look at images: repositories are scanned, and one tag of each is chosen.

It stands apart from the controllers of sources and apps, with a Lease of its own, so that it can be a process of its
own, with an account that may write nothing in the cluster but the status of these objects.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from trimtab.api.gvk import IMAGE_POLICY, IMAGE_REPOSITORY
from trimtab.api.image import ImagePolicy, ImageRepository
from trimtab.api.names import REFLECTOR_MANAGER
from trimtab.controllers import imagepolicy, imagerepository
from trimtab.controllers.imagepolicy import ImagePolicies
from trimtab.controllers.imagerepository import ImageRepositories
from trimtab.controllers.scans import Scans
from trimtab.images.scanning import Scanner
from trimtab.images.tagstore import TagStore
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests import selectors
from trimtab.manifests.refs import Key
from trimtab.roles.role import Means, Term, term
from trimtab.runtime.controller import Controller

log = logging.getLogger(__name__)

_GRACE_S = 5.0
_WORKERS = 200
"""One that waits for its turn at a registry costs a coroutine and nothing else, and must not hold up others."""


class Reflecting:
    """What the role `image-reflector` does."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def lead(self, remaining: Callable[[], float]) -> None:
        """Scan and choose until cancelled. `remaining` tells for how many seconds we may still write."""
        without = "no images are looked at yet"
        async with term(self._means, "images", REFLECTOR_MANAGER, remaining, grace_s=_GRACE_S) as office:
            store = await asyncio.to_thread(TagStore, self._means.settings.storage_path / "images" / "tags.db")
            repositories = await office.informer(IMAGE_REPOSITORY, ImageRepository, without, shared=True)
            policies = await office.informer(IMAGE_POLICY, ImagePolicy, without, shared=True)
            self._connect(office, repositories, policies, store)
            repositories.start(office.tasks)
            policies.start(office.tasks)
            await asyncio.gather(repositories.synced.wait(), policies.synced.wait())
            await asyncio.to_thread(store.keep_only, list(repositories.store))
            log.info("running: image-reflector")
            await office.work()

    def _connect(
        self,
        office: Term,
        repositories: Informer[ImageRepository],
        policies: Informer[ImagePolicy],
        store: TagStore,
    ) -> None:
        client, clock, recorder = office.client, self._means.clock, office.recorder
        scans, scanner = Scans(), Scanner(self._means.outbound(), clock)

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
                access=self._means.access(client),
                recorder=recorder,
                clock=clock,
                abroad=self._abroad(client),
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
                clock=clock,
            ),
            look,
        )
        looker: Controller[Key] = Controller(
            "imagerepository",
            looking.reconcile,
            clock=clock,
            concurrency=_WORKERS,
            backoff_cap=looking.backoff_cap,
        )
        chooser: Controller[Key] = Controller(
            "imagepolicy",
            choosing.reconcile,
            clock=clock,
            concurrency=_WORKERS,
            backoff_cap=choosing.backoff_cap,
        )
        scans.on_change(choosing.moved)
        scans.on_loss(look)
        policies.add_handler(choosing.hear)
        repositories.add_handler(on_repository)
        office.attach(looker, repositories, IMAGE_REPOSITORY.kind, looking.state)
        office.attach(chooser, policies, IMAGE_POLICY.kind, choosing.state)

    def _abroad(self, client: Client) -> Callable[[Key], Awaitable[ImageRepository | None]] | None:
        """Where several share the work: who asks for a repository that is not ours."""
        if not self._means.settings.selector:
            return None
        ours = selectors.parse(self._means.settings.selector)

        async def ask(key: Key) -> ImageRepository | None:
            resource = await client.discovery.find(IMAGE_REPOSITORY)
            try:
                found = await client.get(resource, key.name, key.namespace, type=ImageRepository)
            except NotFound:
                return None
            return None if ours(found.metadata.labels) else found  # ours is about to be seen

        return ask
