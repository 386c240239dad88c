"""The composition root of the receivers: every replica takes deliveries, who holds the Lease says where.

It stands apart from the controllers of sources and apps, with a Lease of its own: a controller of Flux that still
looks after alerts must not keep Trimtab from its main job.
"""

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from functools import partial

import msgspec

from trimtab.api.gvk import RECEIVER
from trimtab.api.receiver import Receiver
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.base.http import Transport
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.cli.attach import attach
from trimtab.cli.settings import Settings
from trimtab.controllers.access import Access, CrossNamespace
from trimtab.controllers.receiver import Receivers, Surroundings
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, UnknownKind, Unreachable
from trimtab.kube.informer import Informer
from trimtab.manifests.refs import Key
from trimtab.remotes.outbound import Outbound
from trimtab.runtime import server
from trimtab.runtime.controller import Controller
from trimtab.runtime.events import Recorder, Relay
from trimtab.targets.kubernetes.target import WRITE_MARGIN_S
from trimtab.web.hints import Hints
from trimtab.web.hooks import Hooks
from trimtab.web.identities import Identities
from trimtab.web.reception import Reception
from trimtab.web.server import Listener, app, listen
from trimtab.web.targets import Targets

log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 5.0
_GRACE_S = 5.0
_WORKERS = 4


class Webhooks:
    """What the role `notification` does. `checks` is what /readyz asks."""

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
        self._problem: str | None = "webhooks are not taken yet"
        self._outbound = Outbound(transport, clock, deny_private=settings.deny_private)

    async def serve(self) -> None:
        """Take deliveries until cancelled. Raises Transient where nobody can listen."""
        tasks = Tasks("webhooks")
        synced = asyncio.Event()
        hooks = Hooks(self._client, self._clock, synced.is_set)
        targets = Targets(self._client, self._clock, self._access(self._client).check_trigger)
        hints = Hints(self._client, self._clock, self._telemetry)
        identities = Identities(self._outbound, self._clock)
        reception = Reception(hooks, targets, hints, identities, self._clock)
        self._checks["webhooks"] = lambda: self._problem
        listener = await self._listen(reception)
        try:
            receivers = await self._informer(self._client)
            receivers.add_handler(hooks.hear)
            receivers.start(tasks)
            self._checks["watch webhooks"] = partial(getattr, receivers, "problem")
            hints.start(tasks)
            await receivers.synced.wait()
            synced.set()
            log.info("webhooks are taken at %s", self._settings.receiver_addr)
            await asyncio.Event().wait()
        finally:
            await listener.close()
            await hints.controller.stop(_GRACE_S)
            await tasks.close()

    async def _listen(self, reception: Reception) -> Listener:
        address = self._settings.receiver_addr
        try:
            listener = await listen(app(reception, self._telemetry, self._clock), address)
        except OSError as failure:
            why = failure.strerror or str(failure)
            self._problem = f"webhooks cannot be taken at {address}: {why}; --receiver-addr names another address"
            raise Transient("NoAddress", self._problem) from failure
        self._problem = None
        return listener

    async def lead(self, remaining: Callable[[], float]) -> None:
        """Look after the status of Receivers until cancelled. `remaining` tells for how long we may still write."""
        tasks = Tasks("receivers")
        set_back = asyncio.Event()
        client = self._client.fenced(lambda: remaining() >= WRITE_MARGIN_S and not set_back.is_set())
        recorder = Recorder(
            client, "notification-controller", self._clock, telemetry=self._telemetry, relay=self._relay
        )
        recorder.start(tasks)
        try:
            objects = await self._informer(client)
            objects.add_rewind_handler(set_back.set)
            receivers = Receivers(Surroundings(client, objects, self._access(client), recorder, self._clock))
            controller: Controller[Key] = Controller(
                "receiver",
                receivers.reconcile,
                clock=self._clock,
                concurrency=_WORKERS,
                backoff_cap=receivers.backoff_cap,
            )
            attach(
                tasks,
                controller,
                objects,
                RECEIVER.kind,
                receivers.state,
                telemetry=self._telemetry,
                clock=self._clock,
                checks=self._checks,
            )
            objects.start(tasks)
            try:
                await objects.synced.wait()
                controller.start(tasks)
                await set_back.wait()
                raise Transient("ClusterRestored", "the API server shows an older state than before: all is read anew")
            finally:
                await controller.stop(_GRACE_S)
        finally:
            await recorder.stop()
            await tasks.close()

    def _access(self, client: Client) -> Access:
        return Access(
            client,
            self._clock,
            namespace=self._settings.namespace,
            cross_namespace=CrossNamespace(self._settings.cross_namespace_refs),
        )

    async def _informer(self, client: Client) -> Informer[Receiver]:
        """An informer over all Receivers; waits until the kind is installed, which it need not be."""
        said = ""
        while True:
            try:
                resource = await client.discovery.find(RECEIVER)
                decode = msgspec.json.Decoder(Receiver).decode
                return Informer(client, resource, decode=decode, key_of=lambda item: item.key)
            except (UnknownKind, ApiError, Unreachable) as failure:
                if str(failure) != said:
                    log.info("no webhooks are taken yet: %s", failure)
                said = str(failure)
            await self._clock.sleep(_LOOK_AGAIN_S)
