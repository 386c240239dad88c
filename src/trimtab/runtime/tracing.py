"""Traces over OTLP/HTTP, by the SDK of OpenTelemetry, which is imported here and nowhere else (the extra `tracing`).

The loop puts spans into a queue with an end, and goes on; a thread of its own sends them. So a collector that is slow,
away or hostile costs spans, which are counted, and nothing else. How and where to is said by the variables OTEL_* that
programs have in common; the SDK and its exporter read them.
"""

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, set_span_in_context

import trimtab
from trimtab.base.logs import redact
from trimtab.base.traces import Span

log = logging.getLogger(__name__)

MOST_WAITING: Final = 8192
MOST_AT_ONCE: Final = 512
DELAY_S: Final = 5.0
FLUSH_S: Final = 5.0
"""So long a process that ends waits for the collector."""
_QUIET: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class Exporting:
    """Records spans. `dropped` is told how many were lost, and why (`queue`, `export`), also from the thread."""

    on: bool = True

    def __init__(self, *, identity: str, cluster: str, dropped: Callable[[str, int], None]) -> None:
        self._dropped = dropped
        self._most_waiting = _number("OTEL_BSP_MAX_QUEUE_SIZE", MOST_WAITING)
        self._most_at_once = min(_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", MOST_AT_ONCE), self._most_waiting)
        self._delay_s = _number("OTEL_BSP_SCHEDULE_DELAY", int(DELAY_S * 1000)) / 1000
        self._waiting: deque[Span] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._failing = False
        self._sending = 0
        self._said = _Said()
        logger = logging.getLogger(_QUIET)
        logger.handlers, logger.propagate = [self._said], False
        self._exporter = OTLPSpanExporter(session=_session())
        self._sdk = _Sdk(_resource(identity, cluster))
        # Not of the loop, and no hindrance to the end of the process.
        self._thread = threading.Thread(target=self._work, name="traces", daemon=True)
        self._thread.start()

    def record(self, spans: Iterable[Span]) -> None:
        """Keep `spans`, as far as there is room. Returns at once and does not fail."""
        lost = 0
        with self._changed:
            for span in spans:
                if len(self._waiting) < self._most_waiting:
                    self._waiting.append(span)
                else:
                    lost += 1
            self._changed.notify()
        if lost:
            self._dropped("queue", lost)

    async def close(self, timeout_s: float = FLUSH_S) -> None:
        """Send what is waiting, as far as `timeout_s` allows; what is left is counted as lost."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join, timeout_s)
        if self._thread.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # it does not try again
            with self._changed:
                lost = len(self._waiting) + self._sending
                self._waiting.clear()
            if lost:
                self._dropped("export", lost)
                log.warning("the collector of traces took too long: %d spans are lost", lost)

    def _work(self) -> None:
        while batch := self._take():
            try:
                spans = self._sdk.spans(batch)
                taken = not spans or self._exporter.export(spans) is SpanExportResult.SUCCESS
            except Exception:
                # Here every failure of an export ends: whatever it is, tracing goes on.
                log.exception("traces are not exported")
                taken = False
            if not taken:
                self._dropped("export", len(batch))
            self._tell(taken=taken)

    def _take(self) -> list[Span]:
        """What is to be sent next, after a while; nothing once the end has come and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._ending)
            until = time.monotonic() + self._delay_s
            while len(self._waiting) < self._most_at_once and not self._ending:
                if (left := until - time.monotonic()) <= 0 or not self._changed.wait(left):
                    break
            count = min(len(self._waiting), self._most_at_once)
            self._sending = count
            return [self._waiting.popleft() for _ in range(count)]

    def _tell(self, *, taken: bool) -> None:
        """A line when it begins to fail and one when that is over, not one a batch."""
        if taken == self._failing:
            if taken:
                log.info("traces are exported again")
            else:
                log.warning("traces are not taken, spans are dropped and counted: %s", redact(self._said.last)[:500])
        self._failing = not taken


class _Said(logging.Handler):
    """Keeps what the exporter has said last, in place of a line in the log for every try."""

    last: str = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


class _Ids(IdGenerator):
    """Gives out the ids that were laid ready: all of ours are known before."""

    trace = 0
    span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class _Ended(SpanProcessor):
    """Gathers the spans that ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class _Sdk:
    """Makes spans of the SDK's out of ours, as its settings (samplers, limits) want them. Used by one thread."""

    def __init__(self, resource: Resource) -> None:
        self._ids, self._ended = _Ids(), _Ended()
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(self._ended)
        self._tracer = self._provider.get_tracer("trimtab", trimtab.__version__)

    def spans(self, batch: Iterable[Span]) -> list[ReadableSpan]:
        """Those of `batch` whose traces are sampled: in whole, since the choice is by the trace, in every process."""
        self._ended.spans = []
        for span in batch:
            if self._sampled(span):
                self._make(span)
        return self._ended.spans

    def _sampled(self, span: Span) -> bool:
        result = self._provider.sampler.should_sample(Context(), span.trace, span.name)
        return result.decision is Decision.RECORD_AND_SAMPLE

    def _make(self, span: Span) -> None:
        self._ids.trace, self._ids.span = span.trace, span.id
        context = Context()
        if span.parent:
            context = set_span_in_context(NonRecordingSpan(_context(span.trace, span.parent)), context)
        made = self._tracer.start_span(
            span.name,
            context=context,
            attributes=span.attributes,
            links=[Link(_context(before.id, before.root)) for before in span.follows],
            start_time=span.began,
        )
        if span.error:
            made.set_attribute("error.type", span.error)
            made.set_status(Status(StatusCode.ERROR, span.message or span.error))
        made.end(span.ended)


def _context(trace: int, span: int) -> SpanContext:
    return SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _resource(identity: str, cluster: str) -> Resource:
    """Who says it. What the variables say of that comes first."""
    ours = {"service.name": "trimtab", "service.version": trimtab.__version__, "service.instance.id": identity}
    if cluster:
        ours["k8s.cluster.name"] = cluster
    return Resource.create(ours).merge(OTELResourceDetector().detect())


def _session() -> requests.Session:
    session = requests.Session()
    session.hooks["response"].append(_refuse_elsewhere)
    return session


def _refuse_elsewhere(response: requests.Response, **_: object) -> None:
    """The exporter does not follow a redirect, but takes it for a success."""
    if 300 <= response.status_code < 400:
        words = f"the collector answers {response.status_code} and sends us elsewhere: name its final address"
        raise requests.RequestException(words)


def _number(name: str, otherwise: int) -> int:
    try:
        return max(1, int(os.environ.get(name) or otherwise))
    except ValueError:
        return otherwise
