"""The running process: the order in which it starts, leads and stops."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from trimtab.api import names
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.cli.assembly import Assembly
from trimtab.cli.automation import Automation
from trimtab.cli.reflecting import Reflecting
from trimtab.cli.relaying import Relaying
from trimtab.cli.settings import Settings
from trimtab.cli.telling import Telling
from trimtab.cli.webhooks import Webhooks
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.limiter import Limiter
from trimtab.notify.forwarding import Forwarding
from trimtab.runtime import server
from trimtab.runtime.counting import Counted
from trimtab.runtime.lease import Elector

log = logging.getLogger(__name__)

GRACE_S = 20.0
_IN_FLIGHT = 32
_APART = frozenset({"notification", "image-reflector", "image-automation"})
"""Controllers that need none of the others, each in a Lease of its own."""
_LEASES = {
    "kustomize": names.KUSTOMIZE_LEASE,
    "source-watcher": names.WATCHER_LEASE,
    "source": names.SOURCE_LEASE,
    "helm": names.HELM_LEASE,
}


class Process:
    """All controllers in one process, working while it holds the Leases."""

    def __init__(self, settings: Settings, *, identity: str) -> None:
        self._settings = settings
        self._identity = identity
        self._clock = SystemClock()
        self._tasks = Tasks("run")
        self._transport = AiohttpTransport()
        self._telemetry = Telemetry()
        self._checks: dict[str, server.Check] = {}
        self._alive: dict[str, server.Check] = {}
        self._electors: list[Elector] = []
        self._relaying: Relaying | None = None

    async def run(self, stop: asyncio.Event) -> int:
        """Work until `stop`; the exit code."""
        cluster = config.load(self._settings.options.kubeconfig, self._settings.options.context)
        client = Client(cluster, Counted(self._transport, self._telemetry), limiter=Limiter(slots=_IN_FLIGHT))
        pages = server.app(self._checks, alive=self._alive, telemetry=self._telemetry)
        runner = await server.listen(pages, self._settings.metrics_addr)
        self._relaying = self._relay()
        try:
            apart = self._apart(client)
            if self._settings.controllers <= _APART:
                work = apart[0]
            else:
                work = self._tasks.keep(self._led(client), name="lead")
            self._alive["lead"] = server.running(work)
            waiter = self._tasks.spawn(stop.wait(), name="stop")
            await asyncio.wait({work, waiter}, return_when=asyncio.FIRST_COMPLETED)
            log.info("stopping")
            ending = {work, *apart}
            for task in ending:
                task.cancel()
            await asyncio.wait(ending, timeout=GRACE_S + 5)
        finally:
            await runner.cleanup()
            await self._tasks.close()
            await self._transport.close()
        return 0

    def _led(self, client: Client) -> Callable[[], Awaitable[None]]:
        """The work, inside the Leases of the controllers of Flux that it stands in for."""

        async def work() -> None:
            tasks = Tasks("controllers")
            assembly = Assembly(
                self._settings,
                client,
                self._transport,
                self._clock,
                self._telemetry,
                self._checks,
                self._relaying,
            )
            try:
                await assembly.run(tasks, self._remaining)
            finally:
                await tasks.close()

        lead: Callable[[], Awaitable[None]] = work
        for controller, lease in _LEASES.items() if self._settings.leader_elect else ():
            if controller in self._settings.controllers:
                lead = self._elected(client, lease, lead)

        async def run() -> None:
            # those of a process that died run out side by side
            await asyncio.gather(*(elector.look() for elector in self._electors))
            await lead()

        return run

    def _elected(
        self, client: Client, lease: str, lead: Callable[[], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        elector = self._elector(client, lease)
        self._electors.append(elector)

        async def run() -> None:
            await elector.run(lead)

        return run

    def _elector(self, client: Client, lease: str) -> Elector:
        return Elector(client, self._settings.namespace, lease, self._identity, self._clock, telemetry=self._telemetry)

    def _apart(self, client: Client) -> tuple[asyncio.Task[None], ...]:
        """What needs none of the other controllers."""
        chosen = self._settings.controllers
        return (
            *(self._webhooks(client) if "notification" in chosen else ()),
            *((self._images(client),) if "image-reflector" in chosen else ()),
            *((self._automation(client),) if "image-automation" in chosen else ()),
        )

    def _images(self, client: Client) -> asyncio.Task[None]:
        """Look after ImageRepositories and ImagePolicies, inside a Lease of their own."""
        images = Reflecting(
            self._settings, client, self._transport, self._clock, self._telemetry, self._checks, self._relaying
        )
        elector = self._elector(client, names.REFLECTOR_LEASE) if self._settings.leader_elect else None

        async def lead() -> None:
            await images.lead(elector.remaining if elector is not None else lambda: float("inf"))

        async def led() -> None:
            await (elector.run(lead) if elector is not None else lead())

        return self._tasks.keep(led, name="images")

    def _automation(self, client: Client) -> asyncio.Task[None]:
        """Write chosen images into repositories, inside a Lease of its own."""
        automation = Automation(
            self._settings, client, self._transport, self._clock, self._telemetry, self._checks, self._relaying
        )
        elector = self._elector(client, names.AUTOMATION_LEASE) if self._settings.leader_elect else None

        async def lead() -> None:
            await automation.lead(elector.remaining if elector is not None else lambda: float("inf"))

        async def led() -> None:
            await (elector.run(lead) if elector is not None else lead())

        return self._tasks.keep(led, name="image-automation")

    def _webhooks(self, client: Client) -> tuple[asyncio.Task[None], ...]:
        """Take webhooks, whoever leads; look after the status of Receivers, and tell of events, inside a Lease."""
        webhooks = Webhooks(
            self._settings, client, self._transport, self._clock, self._telemetry, self._checks, self._relaying
        )
        assert self._relaying is not None  # noqa: S101 - there is one where there is this controller
        telling = Telling(
            self._settings, client, self._transport, self._clock, self._telemetry, self._checks, self._relaying
        )
        elector = self._elector(client, names.NOTIFICATION_LEASE) if self._settings.leader_elect else None

        async def lead() -> None:
            remaining = elector.remaining if elector is not None else lambda: float("inf")
            tasks = Tasks("notification")
            # Each for itself: an address that is taken does not keep the other from its work.
            tasks.keep(partial(telling.lead, remaining), name="telling")
            tasks.keep(partial(webhooks.lead, remaining), name="receivers")
            try:
                await asyncio.Event().wait()
            finally:
                await tasks.close()

        async def led() -> None:
            await (elector.run(lead) if elector is not None else lead())

        return self._tasks.keep(webhooks.serve, name="webhooks"), self._tasks.keep(led, name="receivers")

    def _relay(self) -> Relaying | None:
        """Where events go: to this process's own desk while it leads, else to the address that was given."""
        address = self._settings.events_to
        if not address and "notification" not in self._settings.controllers:
            return None
        forwarding = None
        if address:
            forwarding = Forwarding(address, self._transport, self._clock, self._telemetry.notifications_dropped)
            forwarding.start(self._tasks)
        hear = forwarding.hear if forwarding is not None else None
        return Relaying(self._clock, self._telemetry, identity=self._identity, hear=hear)

    def _remaining(self) -> float:
        """For how many seconds nobody else can have begun to write."""
        return min((elector.remaining() for elector in self._electors), default=float("inf"))
