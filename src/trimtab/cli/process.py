"""The running process: the order in which it starts, leads and stops."""

import asyncio
import logging
import os
from collections import ChainMap
from collections.abc import Awaitable, Callable
from functools import partial

from trimtab.api import names
from trimtab.audit.writing import Ledger
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.base.traces import NO_TRACES
from trimtab.cli.assembly import Assembly
from trimtab.cli.recording import recording
from trimtab.cli.relaying import Relaying
from trimtab.cli.role import Means
from trimtab.cli.settings import Settings
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
        self._checks: ChainMap[str, server.Check] = ChainMap()
        self._alive: dict[str, server.Check] = {}
        self._electors: list[Elector] = []

    async def run(self, stop: asyncio.Event) -> int:
        """Work until `stop`; the exit code."""
        cluster = config.load(self._settings.options.kubeconfig, self._settings.options.context)
        client = Client(cluster, Counted(self._transport, self._telemetry), limiter=Limiter(slots=_IN_FLIGHT))
        pages = server.app(self._checks, alive=self._alive, telemetry=self._telemetry)
        runner = await server.listen(pages, self._settings.metrics_addr)
        relaying = self._relay()
        traces = recording(self._settings, self._telemetry, self._identity, os.environ)
        ledger = self._ledger()
        means = Means(
            self._settings,
            client,
            self._transport,
            self._clock,
            self._telemetry,
            self._checks,
            relaying,
            traces or NO_TRACES,
            ledger,
        )
        try:
            apart = self._apart(means, relaying)
            if self._settings.controllers <= _APART:
                work = apart[0]
            else:
                work = self._tasks.keep(self._led(means), name="lead")
            self._alive["lead"] = server.running(work)
            waiter = self._tasks.spawn(stop.wait(), name="stop")
            await asyncio.wait({work, waiter}, return_when=asyncio.FIRST_COMPLETED)
            log.info("stopping")
            ending = {work, *apart}
            for task in ending:
                task.cancel()
            await asyncio.wait(ending, timeout=GRACE_S + 5)
        finally:
            if ledger is not None:
                await ledger.close()
            await runner.cleanup()
            await self._tasks.close()
            await self._transport.close()
            if traces is not None:
                await traces.close()
        return 0

    def _ledger(self) -> Ledger | None:
        if self._settings.ledger is None:
            return None
        ledger = Ledger(self._settings.ledger, self._clock, self._telemetry)
        self._tasks.keep(ledger.run, name="ledger")
        return ledger

    def _led(self, means: Means) -> Callable[[], Awaitable[None]]:
        """The work, inside the Leases of the controllers of Flux that it stands in for."""

        async def work() -> None:
            tasks = Tasks("controllers")
            try:
                await Assembly(means).run(tasks, self._remaining)
            finally:
                await tasks.close()

        lead: Callable[[], Awaitable[None]] = work
        for controller, lease in _LEASES.items() if self._settings.leader_elect else ():
            if controller in self._settings.controllers:
                lead = self._elected(means.client, lease, lead)

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

    def _apart(self, means: Means, relaying: Relaying | None) -> tuple[asyncio.Task[None], ...]:
        """What needs none of the other controllers. There is `relaying` where there are notifications."""
        chosen, begun = self._settings.controllers, []
        # What is not asked for is not loaded either: it is memory of every process.
        if "notification" in chosen and relaying is not None:
            from trimtab.cli.telling import Telling
            from trimtab.cli.webhooks import Webhooks

            webhooks = Webhooks(means)

            async def notify(remaining: Callable[[], float]) -> None:
                tasks = Tasks("notification")
                # Each for itself: an address that is taken does not keep the other from its work.
                tasks.keep(lambda: Telling(means, relaying).lead(remaining), name="telling")
                tasks.keep(partial(webhooks.lead, remaining), name="receivers")
                try:
                    await asyncio.Event().wait()
                finally:
                    await tasks.close()

            begun.append(self._tasks.keep(webhooks.serve, name="webhooks"))  # whoever leads
            begun.append(self._led_apart(means.client, names.NOTIFICATION_LEASE, notify, "notification"))
        if "image-reflector" in chosen:
            from trimtab.cli.reflecting import Reflecting

            lead = Reflecting(means).lead
            begun.append(self._led_apart(means.client, names.REFLECTOR_LEASE, lead, "images"))
        if "image-automation" in chosen:
            from trimtab.cli.automation import Automation

            lead = Automation(means).lead
            begun.append(self._led_apart(means.client, names.AUTOMATION_LEASE, lead, "image-automation"))
        return tuple(begun)

    def _led_apart(
        self, client: Client, lease: str, lead: Callable[[Callable[[], float]], Awaitable[None]], name: str
    ) -> asyncio.Task[None]:
        """A role inside a Lease of its own; it is told for how many seconds nobody else can have begun to write."""
        if not self._settings.leader_elect:
            return self._tasks.keep(partial(lead, lambda: float("inf")), name=name)
        elector = self._elector(client, lease)
        return self._tasks.keep(partial(elector.run, partial(lead, elector.remaining)), name=name)

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
