"""The running process: the order in which it starts, leads and stops."""

import asyncio
import logging
import os
from collections import ChainMap
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from trimtab.api import names, shards
from trimtab.audit.writing import Ledger
from trimtab.base.clock import SystemClock
from trimtab.base.direct import Direct
from trimtab.base.http import AiohttpTransport
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.base.traces import NO_TRACES
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.limiter import Limiter
from trimtab.notify.forwarding import Forwarding
from trimtab.roles.assembly import Assembly
from trimtab.roles.recording import recording
from trimtab.roles.relaying import Relaying
from trimtab.roles.role import Means
from trimtab.roles.settings import Settings
from trimtab.runtime import server
from trimtab.runtime.counting import Counted
from trimtab.runtime.lease import Elector

log = logging.getLogger(__name__)

GRACE_S = 20.0
_IN_FLIGHT = 32
_GUARD_S = 45.0
"""How long the plain Leases stay when the last process with a selector has gone; they are renewed slowly."""
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
        self._to_cluster = Direct()
        self._telemetry = Telemetry()
        self._checks: ChainMap[str, server.Check] = ChainMap()
        self._alive: dict[str, server.Check] = {}
        self._electors: list[Elector] = []

    async def run(self, stop: asyncio.Event) -> int:
        """Work until `stop`; the exit code."""
        cluster = config.load(self._settings.kubeconfig, self._settings.context)
        client = Client(cluster, Counted(self._to_cluster, self._telemetry), limiter=Limiter(slots=_IN_FLIGHT))
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
            await self._to_cluster.close()
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
        chosen = [lease for controller, lease in _LEASES.items() if controller in self._settings.controllers]
        if self._settings.leader_elect:
            # the last is asked for first: who only stands by keeps up no guard
            for elector in (*self._guards(means.client, chosen), *(self._elector(means.client, one) for one in chosen)):
                self._electors.append(elector)
                lead = partial(elector.run, lead)

        async def run() -> None:
            # those of a process that died run out side by side, whenever that is
            watching = [self._tasks.spawn(elector.watch(), name="look") for elector in self._electors]
            try:
                await lead()
            finally:
                for task in watching:
                    task.cancel()

        return run

    def _elector(self, client: Client, lease: str) -> Elector:
        """Who competes for the Lease of a controller: of those with our selector, if we have one."""
        selector, (duration_s, deadline_s, period_s) = self._settings.selector, self._settings.lease_s
        return Elector(
            client,
            self._settings.namespace,
            shards.lease_name(lease, selector),
            self._identity,
            self._clock,
            duration_s,
            period_s,
            renew_deadline_s=deadline_s,
            telemetry=self._telemetry,
            notes={shards.SELECTOR: selector} if selector else None,
        )

    def _guards(self, client: Client, leases: Iterable[str]) -> list[Elector]:
        """With a selector: who keeps the plain Leases, so that nobody drives the objects of all beside us."""
        return [
            Elector(
                client,
                self._settings.namespace,
                lease,
                shards.TOGETHER,
                self._clock,
                _GUARD_S,
                _GUARD_S / 3,
                telemetry=self._telemetry,
                shared=True,
            )
            for lease in (leases if self._settings.selector else ())
        ]

    def _apart(self, means: Means, relaying: Relaying | None) -> tuple[asyncio.Task[None], ...]:
        """What needs none of the other controllers. There is `relaying` where there are notifications."""
        chosen, begun = self._settings.controllers, []
        # What is not asked for is not loaded either: it is memory of every process.
        if "notification" in chosen and relaying is not None:
            from trimtab.roles.telling import Telling
            from trimtab.roles.webhooks import Webhooks

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
            from trimtab.roles.reflecting import Reflecting

            lead = Reflecting(means).lead
            begun.append(self._led_apart(means.client, names.REFLECTOR_LEASE, lead, "images"))
        if "image-automation" in chosen:
            from trimtab.roles.automation import Automation

            lead = Automation(means).lead
            begun.append(self._led_apart(means.client, names.AUTOMATION_LEASE, lead, "image-automation"))
        return tuple(begun)

    def _led_apart(
        self, client: Client, lease: str, lead: Callable[[Callable[[], float]], Awaitable[None]], name: str
    ) -> asyncio.Task[None]:
        """A role inside a Lease of its own; it is told for how many seconds nobody else can have begun to write."""
        if not self._settings.leader_elect:
            return self._tasks.keep(partial(lead, lambda: float("inf")), name=name)
        electors = [*self._guards(client, [lease]), self._elector(client, lease)]
        run: Callable[[], Awaitable[None]] = partial(lead, lambda: min(one.remaining() for one in electors))
        for elector in electors:
            run = partial(elector.run, run)
        return self._tasks.keep(run, name=name)

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
