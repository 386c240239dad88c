"""Leadership by a coordination.k8s.io/v1 Lease, with the semantics of client-go, so that both can share a Lease.

Nobody trusts anybody's wall clock: a holder counts as alive until its Lease has not *changed* for the duration the
Lease names, measured on our own monotonic clock. Every write is guarded by the resourceVersion that was seen.

A Lease does not fence: a stopped process wakes up believing it leads. Who writes to a cluster asks `remaining()` first
and does not begin what may outlast it.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import msgspec

from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.kube.client import Client
from trimtab.kube.errors import AlreadyExists, ApiError, Conflict, NotFound, Unreachable
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body, Gvk

log = logging.getLogger(__name__)

LEASES = Resource(
    Gvk("coordination.k8s.io", "v1", "Lease"), "leases", True, frozenset({"get", "create", "patch", "update"})
)

_PRIORITY = -100
_RELEASE_TIMEOUT_S = 3.0
_LONGEST_DURATION_S = 3600
_RACES = 20
"""How often we look again when somebody was faster; each time one of them has got what it wanted."""


class LeaseSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a Lease says. Times are MicroTime strings; they are for people, never compared with our clock."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _LeaseMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    resource_version: str = ""


class _Lease(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    metadata: _LeaseMeta
    spec: LeaseSpec = LeaseSpec()


class Elector:
    """Competes for one Lease. Several electors of one process may hold several Leases, each for itself.

    `renew_s`: how often the Lease is renewed, or looked at while somebody else holds it. `renew_deadline_s`: without a
    renewal for so long we give up, before others may take the Lease after `duration_s`. All in seconds.
    `shared`: all who have this identity hold it together. It is never let go, as the others may hold it still.
    `notes` are annotations of the Lease, for people and for who examines the cluster.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        duration_s: float = 15.0,
        renew_s: float = 5.0,
        *,
        renew_deadline_s: float | None = None,
        telemetry: Telemetry | None = None,
        shared: bool = False,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.identity = identity
        self._client = client.with_priority(_PRIORITY)
        self._clock = clock
        self._duration_s = duration_s
        self._renew_s = renew_s
        self._renew_deadline_s = duration_s * 2 / 3 if renew_deadline_s is None else renew_deadline_s
        if not renew_s < self._renew_deadline_s < duration_s:
            raise ValueError("a Lease needs renew_s < renew_deadline_s < duration_s")
        self._telemetry = telemetry
        self._shared = shared
        self._notes = dict(notes or {})
        self._leading = False
        self._seen: _Lease | None = None
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self._said = ""
        self._asked = False
        """Whether the Lease may be ours though we do not lead: it was asked for since we stand by."""
        self.problem = ""
        """Why the last try to acquire or renew failed; empty where it did not, or where somebody else held it."""

    @property
    def leading(self) -> bool:
        """Whether we hold the Lease, as far as we know; `remaining` is what to trust before a write."""
        return self._leading

    @property
    def holder(self) -> str:
        """Who held the Lease when it was last seen; empty for nobody."""
        return (self._seen.spec.holder_identity or "") if self._seen else ""

    def remaining(self) -> float:
        """For how many seconds nobody else can have taken the Lease; 0 when we do not hold it."""
        if not self._leading:
            return 0.0
        return max(0.0, self._renewed_at + self._duration_s - self._clock.monotonic())

    async def look(self) -> None:
        """Take note of who holds the Lease: the wait for one that nobody keeps up begins now, not when it is its turn.

        For who needs several Leases, one after the other. What fails here is told when it is tried.
        """
        try:
            async with asyncio.timeout(self._renew_s):
                lease = await self._client.get(LEASES, self.name, self.namespace, type=_Lease)
        except (ApiError, Unreachable, Transient, TimeoutError):
            return
        if not self._leading:
            self._observed(lease)

    async def watch(self) -> None:
        """Keep looking, until cancelled, while somebody else holds the Lease."""
        while True:
            if not self._leading:
                await self.look()
            await self._clock.sleep(self._renew_s / 2)

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for leadership and call `lead` while it lasts, again and again.

        When leadership is lost `lead` is cancelled, and we stand by again once it has ended. When `lead` returns or
        raises, or when `run` is cancelled, the Lease is released and that is the end.
        """
        while not await self._term(lead):
            log.error("lost the Lease %s/%s, standing by", self.namespace, self.name)

    async def _term(self, lead: Callable[[], Awaitable[None]]) -> bool:
        """One time in office. False when it ended because the Lease was lost."""
        try:
            await self._acquire()
        except asyncio.CancelledError:
            await self._withdraw()
            raise
        tasks = Tasks(f"lease-{self.name}")
        leader = tasks.spawn(_awaited(lead), name="lead")
        renewal = tasks.spawn(self._renew_until_lost(), name="renew")
        try:
            await asyncio.wait({leader, renewal}, return_when=asyncio.FIRST_COMPLETED)
            if not leader.done():
                return False
            leader.result()
            return True
        finally:
            leader.cancel()
            try:
                # The Lease is kept up meanwhile: nobody shall begin before this work has ended.
                await asyncio.wait({leader})
            except asyncio.CancelledError:
                # Leases in each other are lost together: work that is told to end is told so once, or it is cut short.
                await asyncio.wait({leader})
                raise
            finally:
                await tasks.close()
                await self._release()

    async def _acquire(self) -> None:
        self._asked = False
        while not await self._attempt():
            if self.holder not in ("", self.identity):
                self._say(f"is held by {self.holder}, standing by")
                if self._telemetry is not None:
                    self._telemetry.stand_by()
            # Spread, so that competitors do not collide for ever; and not past the moment it may run out.
            pause = self._renew_s * random.uniform(0.5, 0.6)  # noqa: S311 - no secret
            if self._seen is not None and self.holder not in ("", self.identity):
                left = self._seen_at + _validity_s(self._seen.spec) - self._clock.monotonic()
                pause = min(pause, max(left, 0.0) + self._renew_s * random.uniform(0.01, 0.1))  # noqa: S311
            await self._clock.sleep(pause)
        self._turn(leading=True)
        self._say(f"is ours: {self.identity} leads")

    async def _attempt(self) -> bool:
        """Try once, and to its end: only what was given to us can be let go, and not what is still on its way."""
        tasks = Tasks(f"lease-{self.name}")
        trying = tasks.spawn(self._try(timeout_s=self._renew_s), name="acquire")
        try:
            await asyncio.wait({trying})
            return bool(trying.result())
        except asyncio.CancelledError:
            await asyncio.wait({trying}, timeout=_RELEASE_TIMEOUT_S)
            raise
        finally:
            await tasks.close()

    async def _renew_until_lost(self) -> None:
        await self._clock.sleep(self._renew_s)
        while await self._renew():
            await self._clock.sleep(self._renew_s)
        # Before the work is told to end: what it still wants to write asks `remaining` first.
        self._turn(leading=False)

    async def _renew(self) -> bool:
        """Renew, trying until the deadline. False: leadership is lost."""
        while not await self._try(timeout_s=self._renew_s):
            if self.holder != self.identity:
                self._say(f"was taken by {self.holder or 'somebody who left again'}")
                return False
            if self._clock.monotonic() >= self._renewed_at + self._renew_deadline_s:
                return False
            await self._clock.sleep(self._renew_s / 5)
        return True

    async def _try(self, *, timeout_s: float) -> bool:
        """Acquire or renew once. False: somebody else holds it, or the server did not take it."""
        if self._leading:
            left = self._renewed_at + self._renew_deadline_s - self._clock.monotonic()
            timeout_s = max(0.5, min(timeout_s, left))
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                held = await self._acquire_or_renew()
        except (ApiError, Unreachable, Transient, TimeoutError) as failure:
            self.problem = str(failure) or "no answer in time"
            self._say(f"could not be {'renewed' if self._leading else 'acquired'}: {self.problem}")
            return False
        self.problem = ""
        if held:
            # From before the request: the server may have counted from any moment since.
            self._renewed_at = started
        return held

    async def _acquire_or_renew(self) -> bool:
        if self._leading and self._seen is not None and self.holder == self.identity:
            try:
                return await self._write(self._seen)
            except Conflict:
                pass  # it changed since: look at it
        for _ in range(_RACES):  # who was faster may hold it together with us: look again at once
            try:
                lease = await self._client.get(LEASES, self.name, self.namespace, type=_Lease)
            except NotFound:
                if await self._create():
                    return True
                continue
            self._observed(lease)
            left = self._seen_at + _validity_s(lease.spec) - self._clock.monotonic()
            if self.holder not in ("", self.identity) and left > 0:
                return False
            try:
                return await self._write(lease)
            except Conflict:
                continue
        return False

    async def _create(self) -> bool:
        now, self._asked = self._now(), True
        body: Body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace, "annotations": self._notes},
            "spec": _spec_body(
                LeaseSpec(
                    holder_identity=self.identity,
                    lease_duration_seconds=round(self._duration_s),
                    acquire_time=now,
                    renew_time=now,
                    lease_transitions=0,
                )
            ),
        }
        try:
            self._saw(await self._client.create(LEASES, body, self.namespace, type=_Lease))
        except AlreadyExists:
            return False
        return True

    async def _write(self, lease: _Lease) -> bool:
        """Make the Lease ours, or keep it ours. Raises Conflict when it is not any more what we saw."""
        now, self._asked = self._now(), True
        ours = lease.spec.holder_identity == self.identity
        transitions = lease.spec.lease_transitions or 0
        spec = LeaseSpec(
            holder_identity=self.identity,
            lease_duration_seconds=round(self._duration_s),
            acquire_time=lease.spec.acquire_time if ours else now,
            renew_time=now,
            lease_transitions=transitions if ours else transitions + 1,
        )
        await self._patch(lease, spec)
        return True

    async def _patch(self, lease: _Lease, spec: LeaseSpec) -> None:
        metadata: Body = {"resourceVersion": lease.metadata.resource_version}
        if self._notes:
            metadata["annotations"] = self._notes
        patch: Body = {"metadata": metadata, "spec": _spec_body(spec)}
        self._saw(await self._client.merge_patch(LEASES, self.name, self.namespace, patch, type=_Lease))

    async def _release(self) -> None:
        """Let the next one in at once, instead of after the duration."""
        held, seen = self._leading, self._seen
        self._turn(leading=False)
        if not self._shared and held and seen is not None and self.holder == self.identity:
            await self._let_go(seen)

    async def _withdraw(self) -> None:
        """Let go of what was given to us as we were told to end, or by an answer that got lost."""
        if self._asked and not self._shared:
            await self._let_go(None)

    async def _let_go(self, seen: _Lease | None) -> None:
        """Leave the Lease if it is ours, as it was last `seen`, or as it is."""
        try:
            async with asyncio.timeout(_RELEASE_TIMEOUT_S):
                if seen is not None:
                    try:
                        return await self._leave(seen)
                    except Conflict:
                        pass  # a renewal whose answer nobody waited for
                seen = await self._client.get(LEASES, self.name, self.namespace, type=_Lease)
                if seen.spec.holder_identity == self.identity:
                    await self._leave(seen)
        except (ApiError, Unreachable, Transient, TimeoutError) as failure:
            self._say(f"was not released, it runs out by itself: {failure or 'no answer in time'}")

    async def _leave(self, lease: _Lease) -> None:
        now = self._now()
        spec = LeaseSpec(
            holder_identity="",
            lease_duration_seconds=1,
            acquire_time=now,
            renew_time=now,
            lease_transitions=lease.spec.lease_transitions,
        )
        await self._patch(lease, spec)
        self._say("is released")

    def _say(self, what: str) -> None:
        """Log `what`, unless it was the last thing said: a standby of days is one line."""
        if what != self._said:
            self._said = what
            log.info("Lease %s/%s %s", self.namespace, self.name, what)

    def _observed(self, lease: _Lease) -> None:
        """What is seen again unchanged goes on running out."""
        if self._seen is None or lease.spec != self._seen.spec:
            self._seen_at = self._clock.monotonic()
        self._seen = lease

    def _saw(self, lease: _Lease) -> None:
        self._seen = lease
        self._seen_at = self._clock.monotonic()

    def _turn(self, *, leading: bool) -> None:
        self._leading = leading
        if self._telemetry is not None:
            self._telemetry.leading(self.name, leading)

    def _now(self) -> str:
        return micro_time(self._clock.now())


def micro_time(moment: datetime) -> str:
    """`moment` as Kubernetes writes a MicroTime: UTC, six digits of a second, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _validity_s(spec: LeaseSpec) -> float:
    return float(min(max(spec.lease_duration_seconds or 0, 0), _LONGEST_DURATION_S))


def _spec_body(spec: LeaseSpec) -> Body:
    body: Body = msgspec.to_builtins(spec)
    return body


async def _awaited(lead: Callable[[], Awaitable[None]]) -> None:
    await lead()
