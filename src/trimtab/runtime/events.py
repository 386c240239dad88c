"""Kubernetes Events about our own objects: what `kubectl describe` and `flux events` show.

They are for people, so they must never hold up the work they tell of: recording is a call that returns at once and
cannot fail, writing happens at the lowest priority, repeats are folded into a count, and what cannot be written is
dropped and counted. What is normal waits until the process has little else to ask of the server, or until it is old.
What must not be lost goes to the notifications: `relay` gets every event as it was said.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

from trimtab.base.clock import Clock, rfc3339
from trimtab.base.errors import Transient, TrimtabError
from trimtab.base.logs import escape, redact
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.base.traces import TRACEPARENT, traceparent
from trimtab.kube.client import Client
from trimtab.kube.errors import AlreadyExists, ApiError, NotFound, Unreachable
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body, Gvk
from trimtab.runtime.queue import Closed, Queue

log = logging.getLogger(__name__)

EVENTS = Resource(Gvk("", "v1", "Event"), "events", True, frozenset({"create", "patch"}))

FOLD_S = 300.0
"""One event per object, reason and message is written in so many seconds."""
MAX_MESSAGE_BYTES = 1024
OLD_S = 30.0
"""A normal event waits for a calm moment so long at most."""
MAX_UNWRITTEN = 3000
MAX_SERIES = 4096
"""So many different events are remembered to fold their repeats, as in client-go: more than may be unwritten, so that
there is always one to forget.
"""
BURST = 20
REFILL_S = 15.0
"""Per object: so many different events at once, and another every so many seconds."""

_PRIORITY = 100
_RECHECK_S = (0.25, 5.0)
"""The moment is looked at anew after half the age of the event, within these bounds."""
_RETRY_CAP_S = 60.0
_PAUSE_S = 1.0
_MAX_ANNOTATIONS = 32
_MAX_ANNOTATION = 4096

EventType: TypeAlias = Literal["Normal", "Warning"]

_URGENCY: Mapping[EventType, int] = {"Warning": 0, "Normal": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """The object that an event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""
    resource_version: str = ""


Relay: TypeAlias = Callable[[str, ObjectRef, EventType, str, str, Mapping[str, str]], None]
"""Hears component, object, type, reason, message and annotations of every event. Returns at once and does not fail."""


class _Said(NamedTuple):
    """What makes two events the same. The resourceVersion is not part of it: repeats come from later versions."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    type: EventType
    reason: str
    message: str


@dataclass(slots=True)
class _Series:
    """An event and its repeats; the last `unwritten` of `count` are not on the server yet."""

    involved: ObjectRef
    annotations: Mapping[str, str]
    first: datetime
    last: datetime
    name: str
    count: int = 0
    unwritten: int = 0
    created: bool = False
    written_at: float = float("-inf")


class Recorder:
    """Writes events in the name of `component`, such as kustomize-controller."""

    def __init__(
        self,
        client: Client,
        component: str,
        clock: Clock,
        *,
        telemetry: Telemetry | None = None,
        max_unwritten: int = MAX_UNWRITTEN,
        relay: Relay | None = None,
    ) -> None:
        self.component = component
        self._client = client.with_priority(_PRIORITY)
        self._clock = clock
        self._telemetry = telemetry
        self._max_unwritten = max_unwritten
        self._relay = relay
        self._series: dict[_Said, _Series] = {}
        # Both in the order in which they were said.
        self._unwritten: dict[EventType, dict[_Said, None]] = {"Normal": {}, "Warning": {}}
        self._buckets: dict[tuple[str, str, str], tuple[float, float]] = {}
        self._queue: Queue[_Said] = Queue(clock, cap_s=_RETRY_CAP_S, name="events")
        self._worker: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many events wait to be written, repeats of one counted once."""
        return sum(map(len, self._unwritten.values()))

    def record(
        self,
        involved: ObjectRef,
        type: EventType,  # noqa: A002 - Kubernetes' own name for it
        reason: str,
        message: str,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Say that something happened to `involved`. Returns at once and does not fail."""
        if trace := traceparent():
            annotations = {**(annotations or {}), TRACEPARENT: trace}
        if self._relay is not None:
            self._relay(self.component, involved, type, reason, message, annotations or {})
        ref = involved
        said = _Said(ref.api_version, ref.kind, ref.namespace, ref.name, ref.uid, type, reason, _presentable(message))
        now = self._clock.now()
        series = self._series.pop(said, None)
        if series is None:
            if not self._admits(said):
                self._count_dropped(type, "rate")
                return
            series = _Series(ref, {}, now, now, _event_name(ref.name))
        self._series[said] = series
        series.involved, series.annotations, series.last = ref, annotations or {}, now
        series.count += 1
        series.unwritten += 1
        self._unwritten[type][said] = None
        self._queue.add(said, priority=_URGENCY[type], after=self._fold_left(series))
        self._make_room()

    def start(self, tasks: Tasks) -> None:
        """Begin to write. What was recorded before is not lost."""
        self._queue.open()
        self._worker = tasks.keep(self._work, name=f"events-{self.component}")

    async def stop(self, grace_s: float = 3.0) -> None:
        """Write what is left, as far as `grace_s` seconds allow."""
        self._queue.close()
        worker, self._worker = self._worker, None
        if worker is None:
            return
        try:
            async with asyncio.timeout(grace_s):
                await asyncio.wait({worker})
                for said in [*self._unwritten["Warning"], *self._unwritten["Normal"]]:
                    await self._write(said)
        except (ApiError, Unreachable, TrimtabError, TimeoutError) as failure:
            log.info("%d events of %s were not written: %s", len(self), self.component, failure or "no time left")
        finally:
            worker.cancel()

    async def _work(self) -> None:
        while True:
            try:
                said = await self._queue.get()
            except Closed:
                return
            try:
                await self._write_or_plan(said)
            finally:
                self._queue.done(said)

    async def _write_or_plan(self, said: _Said) -> None:
        series = self._series.get(said)
        if series is None or not series.unwritten:
            return
        if (left := self._fold_left(series)) > 0:
            self._queue.add(said, priority=_URGENCY[said.type], after=left)
            return
        if (left := self._calm_left(series, said.type)) > 0:
            self._queue.add(said, priority=_URGENCY[said.type], after=left)
            return
        try:
            await self._write(said)
        except Unreachable as failure:
            log.debug("event not written yet: %s", failure)
            self._queue.retry(said)
            await self._clock.sleep(_PAUSE_S)
        except (ApiError, TrimtabError) as failure:
            if getattr(failure, "transient", isinstance(failure, Transient)):
                log.debug("event not written yet: %s", failure)
                self._queue.retry(said)
            else:
                log.info("event about %s/%s/%s dropped: %s", said.kind, said.namespace, said.name, failure)
                self._drop(said, "refused")
        else:
            self._queue.forget(said)
            if series.unwritten:
                self._queue.add(said, priority=_URGENCY[said.type], after=FOLD_S)

    async def _write(self, said: _Said) -> None:
        """Create the event, or raise the count of the one that is there."""
        series = self._series.get(said)
        if series is None:
            return  # dropped to make room
        writing = series.unwritten
        namespace = said.namespace or "default"
        if series.created:
            patch = {"count": series.count, "lastTimestamp": rfc3339(series.last)}
            try:
                await self._client.merge_patch(EVENTS, series.name, namespace, patch)
            except NotFound:
                # The server keeps events for an hour: this is a new one.
                series.created, series.name = False, _event_name(said.name)
                series.count, series.first = series.unwritten, series.last
        if not series.created:
            # A name of its own for each event makes the request safe to repeat after a lost answer.
            with contextlib.suppress(AlreadyExists):
                await self._client.create(EVENTS, self._body(said, series, namespace), namespace)
        series.created = True
        series.unwritten -= writing
        series.written_at = self._clock.monotonic()
        if not series.unwritten:
            self._unwritten[said.type].pop(said, None)

    def _body(self, said: _Said, series: _Series, namespace: str) -> Body:
        involved = {
            "apiVersion": said.api_version,
            "kind": said.kind,
            "namespace": said.namespace,
            "name": said.name,
            "uid": said.uid,
            "resourceVersion": series.involved.resource_version,
        }
        annotations = {
            key: redact(value)[:_MAX_ANNOTATION] for key, value in islice(series.annotations.items(), _MAX_ANNOTATIONS)
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": series.name, "namespace": namespace, "annotations": annotations},
            "involvedObject": {name: value for name, value in involved.items() if value},
            "type": said.type,
            "reason": said.reason,
            "message": said.message,
            "count": series.count,
            "firstTimestamp": rfc3339(series.first),
            "lastTimestamp": rfc3339(series.last),
            "source": {"component": self.component},
            "reportingComponent": self.component,
        }

    def _fold_left(self, series: _Series) -> float:
        """Seconds until the next repeat may be written."""
        return max(0.0, series.written_at + FOLD_S - self._clock.monotonic())

    def _calm_left(self, series: _Series, type_: EventType) -> float:
        """Seconds until it is worth another look whether the event is in nobody's way; 0 where it is to be written."""
        age = (self._clock.now() - series.last).total_seconds()
        if type_ != "Normal" or self._client.calm or age >= OLD_S:
            return 0.0
        soonest, latest = _RECHECK_S
        return min(max(age / 2, soonest), latest)

    def _admits(self, said: _Said) -> bool:
        """Take a token of the object's bucket. The last quarter is kept for warnings."""
        key = (said.kind, said.namespace, said.name)
        now = self._clock.monotonic()
        tokens, at = self._buckets.pop(key, (float(BURST), now))
        tokens = min(float(BURST), tokens + (now - at) / REFILL_S)
        admitted = tokens >= (1 if said.type == "Warning" else 1 + BURST / 4)
        self._buckets[key] = (tokens - admitted, now)
        if len(self._buckets) > MAX_SERIES:
            del self._buckets[next(iter(self._buckets))]
        return admitted

    def _make_room(self) -> None:
        if len(self) > self._max_unwritten:
            oldest = next(iter(self._unwritten["Normal"] or self._unwritten["Warning"]))
            self._drop(oldest, "backlog")
        if len(self._series) > MAX_SERIES:
            # The one that was not said for longest.
            written = (said for said, series in self._series.items() if not series.unwritten)
            if (stale := next(written, None)) is not None:
                del self._series[stale]

    def _drop(self, said: _Said, cause: str) -> None:
        self._queue.discard(said)
        self._unwritten[said.type].pop(said, None)
        if (series := self._series.pop(said, None)) is not None:
            self._count_dropped(said.type, cause, series.unwritten)

    def _count_dropped(self, type_: EventType, cause: str, count: int = 1) -> None:
        if self._telemetry is not None:
            self._telemetry.event_dropped(type_, cause, count)


def _presentable(message: str) -> str:
    """`message` without credentials and control characters, cut to what a server takes. Lines stay lines."""
    text = "\n".join(escape(line) for line in redact(message[: 4 * MAX_MESSAGE_BYTES]).splitlines())
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_MESSAGE_BYTES:
        return text
    return data[: MAX_MESSAGE_BYTES - 3].decode("utf-8", "ignore") + "…"


def _event_name(name: str) -> str:
    tail = secrets.token_hex(8)
    return f"{name[: 252 - len(tail)].rstrip('-.')}.{tail}"
