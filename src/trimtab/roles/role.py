"""What every role of `trimtab run` is given, and what roles do alike while they are in office."""

import asyncio
import logging
from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from trimtab.audit.writing import Ledger
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.base.http import Transport
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.base.traces import NO_TRACES, Traces
from trimtab.controllers.access import Access, CrossNamespace
from trimtab.controllers.auditing import Auditor
from trimtab.controllers.offering import Named
from trimtab.controllers.standing import Standing
from trimtab.controllers.state import ObjectState
from trimtab.kube.client import Client
from trimtab.kube.errors import NO_ANSWER, ApiError, StaleGroup, UnknownKind, Unreachable
from trimtab.kube.informer import Informer
from trimtab.manifests.refs import Gvk, Key
from trimtab.remotes.outbound import Outbound
from trimtab.roles.attach import attach
from trimtab.roles.settings import Settings
from trimtab.runtime import server
from trimtab.runtime.controller import Controller
from trimtab.runtime.events import Recorder, Relay
from trimtab.targets.kubernetes.target import WRITE_MARGIN_S

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Named)

_LOOK_AGAIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Means:
    """What a role works with. `checks` is what /readyz asks, `relay` hears of every event that is recorded.

    What is done is put into the `ledger`, if there is one.
    """

    settings: Settings
    client: Client
    transport: Transport
    clock: Clock
    telemetry: Telemetry
    checks: ChainMap[str, server.Check] = field(default_factory=ChainMap)
    relay: Relay | None = None
    traces: Traces = NO_TRACES
    ledger: Ledger | None = None

    def outbound(self) -> Outbound:
        """The way to other servers, by the rules of this installation."""
        return Outbound(self.transport, self.clock, deny_private=self.settings.deny_private)

    def access(self, client: Client) -> Access:
        """Who may refer to what, where nothing is applied in anybody's name."""
        return Access(
            client,
            self.clock,
            namespace=self.settings.namespace,
            cross_namespace=CrossNamespace(self.settings.cross_namespace_refs),
        )

    async def auditor(self, client: Client, standing: Standing) -> Auditor | None:
        """Who writes to the ledger, if there is one."""
        if self.ledger is None:
            return None
        if not self.ledger.cluster:
            with suppress(ApiError, Unreachable):  # whoever cannot know writes all the same
                self.ledger.cluster = await cluster_id(client)
        return Auditor(self.ledger, standing)

    @contextmanager
    def checking(self, own: dict[str, server.Check]) -> Iterator[None]:
        """Have /readyz ask `own` as well, whatever comes into it meanwhile, and only as long as the block lasts."""
        self.checks.maps.append(own)
        try:
            yield
        finally:
            self.checks.maps[:] = [one for one in self.checks.maps if one is not own]

    async def informer(
        self,
        client: Client,
        gvk: Gvk,
        struct: type[T],
        without: str,
        *,
        level: int = logging.INFO,
        selector: str = "",
    ) -> Informer[T]:
        """An informer over all objects of a kind, or those `selector` selects; waits until the kind is installed.

        `without` says what is not done until then.
        """
        decode: Callable[[bytes], Any] = msgspec.json.Decoder(struct).decode
        said = ""
        while True:
            try:
                resource = await client.discovery.find(gvk)
                return Informer(client, resource, decode=decode, key_of=lambda item: item.key, label_selector=selector)
            except (*NO_ANSWER, UnknownKind, StaleGroup) as failure:
                if str(failure) != said:
                    log.log(level, "%s: %s", without, failure)
                said = str(failure)
            await self.clock.sleep(_LOOK_AGAIN_S)


async def cluster_id(client: Client) -> str:
    """What tells clusters apart. Raises what the client raises."""
    namespace = await client.discovery.find(Gvk("", "v1", "Namespace"))
    body = await client.get(namespace, "kube-system")
    return str(body["metadata"]["uid"])


@dataclass(slots=True)
class Term:
    """A time in office. `client` writes as long as nobody else can have begun to, and `recorder` tells events.

    `set_back` is set where the server shows an older state than before; `checks` and `controllers` end with the term.
    """

    means: Means
    tasks: Tasks
    client: Client
    recorder: Recorder
    set_back: asyncio.Event
    checks: dict[str, server.Check] = field(default_factory=dict)
    controllers: list[Controller[Key]] = field(default_factory=list)

    async def informer(self, gvk: Gvk, struct: type[T], without: str, *, shared: bool = False) -> Informer[T]:
        """As of the means; the term ends where the server shows an older state than before.

        `shared`: other processes look after other objects of the kind, as our selector says.
        """
        selector = self.means.settings.selector if shared else ""
        informer = await self.means.informer(self.client, gvk, struct, without, selector=selector)
        informer.add_rewind_handler(self.set_back.set)
        return informer

    def attach(
        self,
        controller: Controller[Key],
        informer: Informer[T],
        kind: str,
        state: Callable[[Key], ObjectState | None],
    ) -> None:
        """Connect a controller with what feeds it and what watches over it; it is begun by `work`."""
        means = self.means
        attach(
            self.tasks,
            controller,
            informer,
            kind,
            state,
            telemetry=means.telemetry,
            clock=means.clock,
            checks=self.checks,
        )
        self.controllers.append(controller)

    async def work(self) -> None:
        """Begin, and go on until cancelled. Raises Transient where the server shows an older state than before."""
        for controller in self.controllers:
            controller.start(self.tasks)
        await self.set_back.wait()
        raise Transient("ClusterRestored", "the API server shows an older state than before: all is read anew")


@asynccontextmanager
async def term(
    means: Means, name: str, component: str, remaining: Callable[[], float], *, grace_s: float
) -> AsyncIterator[Term]:
    """A time in office, as long as the block lasts; what is under way gets `grace_s` to come to its end.

    `component` is who says events. `remaining` tells for how many seconds we may still write.
    """
    tasks, set_back = Tasks(name), asyncio.Event()
    client = means.client.fenced(lambda: remaining() >= WRITE_MARGIN_S and not set_back.is_set())
    recorder = Recorder(client, component, means.clock, telemetry=means.telemetry, relay=means.relay)
    recorder.start(tasks)
    office = Term(means, tasks, client, recorder, set_back)
    try:
        with means.checking(office.checks):
            yield office
    finally:
        await asyncio.gather(*(controller.stop(grace_s) for controller in office.controllers))
        await recorder.stop()
        await tasks.close()
