"""The composition root of the receivers: every replica takes deliveries, who holds the Lease says where.

It stands apart from the controllers of sources and apps, with a Lease of its own: a controller of Flux that still
looks after alerts must not keep Trimtab from its main job.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from trimtab.api.gvk import RECEIVER
from trimtab.api.names import NOTIFICATION_MANAGER
from trimtab.api.receiver import Receiver
from trimtab.base.errors import Transient
from trimtab.base.tasks import Tasks
from trimtab.controllers.receiver import Receivers, Surroundings
from trimtab.manifests.refs import Key
from trimtab.roles.role import Means, term
from trimtab.runtime.controller import Controller
from trimtab.web.hints import Hints
from trimtab.web.hooks import Hooks
from trimtab.web.identities import Identities
from trimtab.web.reception import Reception
from trimtab.web.server import Listener, app, listen
from trimtab.web.targets import Targets

log = logging.getLogger(__name__)

_GRACE_S: Final = 5.0
_WORKERS: Final = 4
_WITHOUT: Final = "no webhooks are taken yet"


class Webhooks:
    """What the role `notification` does for Receivers."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._problem: str | None = "webhooks are not taken yet"

    async def serve(self) -> None:
        """Take deliveries until cancelled. Raises Transient where nobody can listen."""
        means = self._means
        client, clock = means.client, means.clock
        tasks = Tasks("webhooks")
        synced = asyncio.Event()
        hooks = Hooks(client, clock, synced.is_set)
        targets = Targets(client, clock, means.access(client).check_trigger)
        hints = Hints(client, clock, means.telemetry)
        reception = Reception(hooks, targets, hints, Identities(means.outbound(), clock), clock)
        means.checks["webhooks"] = lambda: self._problem
        listener = await self._listen(reception)
        try:
            receivers = await means.informer(client, RECEIVER, Receiver, _WITHOUT)
            receivers.add_handler(hooks.hear)
            receivers.start(tasks)
            means.checks["watch webhooks"] = partial(getattr, receivers, "problem")
            hints.start(tasks)
            await receivers.synced.wait()
            synced.set()
            log.info("webhooks are taken at %s", means.settings.receiver_addr)
            await asyncio.Event().wait()
        finally:
            await listener.close()
            await hints.controller.stop(_GRACE_S)
            await tasks.close()

    async def _listen(self, reception: Reception) -> Listener:
        means = self._means
        address = means.settings.receiver_addr
        try:
            listener = await listen(app(reception, means.telemetry, means.clock), address)
        except OSError as failure:
            why = failure.strerror or str(failure)
            self._problem = f"webhooks cannot be taken at {address}: {why}; --receiver-addr names another address"
            raise Transient("NoAddress", self._problem) from failure
        self._problem = None
        return listener

    async def lead(self, remaining: Callable[[], float]) -> None:
        """Look after the status of Receivers until cancelled. `remaining` tells for how long we may still write."""
        means = self._means
        async with term(means, "receivers", NOTIFICATION_MANAGER, remaining, grace_s=_GRACE_S) as office:
            objects = await office.informer(RECEIVER, Receiver, _WITHOUT)
            access = means.access(office.client)
            receivers = Receivers(Surroundings(office.client, objects, access, office.recorder, means.clock))
            controller: Controller[Key] = Controller(
                "receiver",
                receivers.reconcile,
                clock=means.clock,
                concurrency=_WORKERS,
                backoff_cap=receivers.backoff_cap,
            )
            office.attach(controller, objects, RECEIVER.kind, receivers.state)
            objects.start(office.tasks)
            await objects.synced.wait()
            await office.work()
