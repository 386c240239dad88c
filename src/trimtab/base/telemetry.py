"""Metrics, all of them, in one place and in a registry of our own.

What is measured per object is kept as plain numbers and turned into samples when somebody asks: a thousand objects cost
little memory, and the series of a deleted object are gone with one `forget`. The number of objects is bounded, and no
label is taken from an input without a bound.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

import trimtab
from trimtab.base.clock import Clock, SystemClock
from trimtab.base.samples import PASS_BUCKETS_S, Numbers, Samples, Subject, View

__all__ = ["CONTENT_TYPE", "Subject", "Telemetry"]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

MAX_OBJECTS = 20_000
_MAX_LABEL = 256
_DELIVERY_BUCKETS_S = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 30.0)
_CONVERGENCE_BUCKETS_S = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_LEAD_BUCKETS_S = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0, 86_400.0)


class Telemetry:
    """The metrics of one process. Its methods are cheap and never raise for what they are told."""

    def __init__(self, *, max_objects: int = MAX_OBJECTS, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._objects: dict[Subject, Numbers] = {}
        self._queues: dict[str, tuple[Callable[[], int], Callable[[], float]]] = {}
        self._max_objects = max_objects
        self._views: dict[str, View] = {}
        self._samples = Samples(self._objects)
        self._registry.register(self._samples)
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "trimtab_api_requests",
            "Requests to the Kubernetes API; code is `error` where there was no answer.",
            ("verb", "code"),
            registry=self._registry,
        )
        self._answered: dict[tuple[str, int | None], Counter] = {}
        """Of `_requests`, the series that there are: to look one up costs more than to count."""
        self._last_answer = Gauge(
            "trimtab_api_last_answer_timestamp_seconds",
            "When the API server last answered a request, with whatever; 0 for never.",
            registry=self._registry,
        )
        Gauge("trimtab_build_info", "1, of the version that runs.", ("version",), registry=self._registry).labels(
            trimtab.__version__
        ).set(1.0)
        self._convergence = Histogram(
            "trimtab_convergence_seconds",
            "From the moment a revision was seen until all it declares was healthy.",
            ("kind",),
            buckets=_CONVERGENCE_BUCKETS_S,
            registry=self._registry,
        )
        self._lead = Histogram(
            "trimtab_commit_lead_seconds",
            "From the time that a commit bears until all it declares was healthy; an app's first revision is left out.",
            ("kind",),
            buckets=_LEAD_BUCKETS_S,
            registry=self._registry,
        )
        self._unverified = Counter(
            "trimtab_verification_failures",
            "Looks at a source that ended with a revision held: refused, or no keys to judge it by.",
            ("reason",),
            registry=self._registry,
        )
        self._leading = Gauge(
            "trimtab_leading", "Whether this process holds the Lease.", ("lease",), registry=self._registry
        )
        self._lost = Counter(
            "trimtab_lost_objects",
            "Objects that were not looked at for three intervals and were queued again by the watchdog.",
            ("kind",),
            registry=self._registry,
        )
        self._events_dropped = Counter(
            "trimtab_events_dropped",
            "Kubernetes Events that were not written, by type and cause.",
            ("type", "cause"),
            registry=self._registry,
        )
        self._notifications = Counter(
            "trimtab_notifications",
            "Notices sent to providers, by outcome: delivered, retry, refused.",
            ("outcome",),
            registry=self._registry,
        )
        # A series that begins at 1 did not increase: rules would not see the first of what must never happen.
        for outcome in ("delivered", "retry", "refused"):
            self._notifications.labels(outcome)
        self._notifications_dropped = Counter(
            "trimtab_notifications_dropped",
            "Events and notices that had to go, by where: for lack of room progress first, or for being told in vain.",
            ("where",),
            registry=self._registry,
        )
        for where in ("early", "forwarding", "arriving", "journal", "outbox", "old", "gone"):
            self._notifications_dropped.labels(where)
        # Existing dashboards know this one by Flux's name. The path is a secret, and no label.
        self._deliveries = Histogram(
            "gotk_receiver_http_request_duration_seconds",
            "How long a call of a webhook took.",
            ("method", "code"),
            buckets=_DELIVERY_BUCKETS_S,
            registry=self._registry,
        )
        self._refused = Counter(
            "trimtab_deliveries_refused",
            "Calls of webhooks without an effect, by why.",
            ("reason",),
            registry=self._registry,
        )
        self._hints = Counter(
            "trimtab_hints",
            "What became of the wish to have an object looked at: asked, folded, missing, refused, dropped.",
            ("outcome",),
            registry=self._registry,
        )
        self._helm_runs = Counter(
            "trimtab_helm_runs",
            "Processes of helm that were begun to render a chart. At rest there are none.",
            registry=self._registry,
        )
        self._spans_dropped = Counter(
            "trimtab_spans_dropped",
            "Spans of traces that nobody got: there was no room for them (queue), or the collector did not take them.",
            ("cause",),
            registry=self._registry,
        )
        self._ledger_records = Counter(
            "trimtab_ledger_records", "Records that were written to the ledger.", registry=self._registry
        )
        self._ledger_bytes = Counter(
            "trimtab_ledger_bytes", "Bytes that were written to the ledger.", registry=self._registry
        )
        self._ledger_failures = Counter(
            "trimtab_ledger_failures", "Times that the ledger could not be written.", registry=self._registry
        )
        self._ledger_missed = Counter(
            "trimtab_ledger_missed",
            "Records that are missing in the ledger, since they found no room to wait in.",
            registry=self._registry,
        )
        self._ledger_lag = Gauge(
            "trimtab_ledger_lag_seconds",
            "For how long the oldest record has waited that is not on the disk; 0 for none.",
            registry=self._registry,
        )
        self._kustomize_runs = Counter(
            "trimtab_kustomize_runs",
            "Processes of kustomize that were begun to build an overlay. What is unchanged is not built again.",
            registry=self._registry,
        )
        self._overflow = Counter(
            "trimtab_metrics_overflow",
            f"Measurements that were not kept because {max_objects} objects have series already.",
            registry=self._registry,
        )

    def ready(self, subject: Subject, state: bool | None) -> None:
        """The Ready condition of `subject`: True, False, or None for Unknown."""
        if numbers := self._numbers(subject):
            numbers.ready = -1.0 if state is None else float(state)

    def suspended(self, subject: Subject, state: bool) -> None:
        """Whether `subject` is suspended."""
        if numbers := self._numbers(subject):
            numbers.suspended = state

    def revision(self, subject: Subject, revision: str) -> None:
        """The revision that is applied, or that a source offers."""
        if numbers := self._numbers(subject):
            numbers.revision = revision[:_MAX_LABEL]

    def succeeded(self, subject: Subject, moment: datetime) -> None:
        """`subject` was found, or made, as it should be."""
        if numbers := self._numbers(subject):
            numbers.last_success = moment.timestamp()

    def observed(self, subject: Subject, moment: datetime, interval_s: float) -> None:
        """`subject` was looked at, whatever was found; it is meant to be every `interval_s` (inf: when told to)."""
        if numbers := self._numbers(subject):
            numbers.last_observed, numbers.interval_s = moment.timestamp(), interval_s

    def holding(self, subject: Subject, *, deletions: bool, revision: bool) -> None:
        """Whether `subject` holds back deletions, or the revision that it is offered."""
        if numbers := self._numbers(subject):
            numbers.prune_held, numbers.revision_held = deletions, revision

    def reconciled(self, subject: Subject, seconds: float) -> None:
        """A pass over `subject` took `seconds`."""
        if numbers := self._numbers(subject):
            numbers.passes = numbers.passes or [0] * (len(PASS_BUCKETS_S) + 1)
            numbers.passes[bisect_left(PASS_BUCKETS_S, seconds)] += 1
            numbers.seconds += seconds

    def drifted(self, subject: Subject, answer: str) -> None:
        """An object that `subject` owns was changed by others; `answer` is what was done, of a handful of words."""
        if numbers := self._numbers(subject):
            numbers.drift[answer] = numbers.drift.get(answer, 0) + 1

    def drifting(self, subject: Subject, since: float | None) -> None:
        """Since when (Unix seconds) something of `subject` differs and stays so; None: nothing does."""
        if numbers := self._numbers(subject):
            numbers.drift_since = since

    def forget(self, subject: Subject) -> None:
        """`subject` is gone, and its series with it."""
        self._objects.pop(subject, None)

    def converged(self, kind: str, seconds: float) -> None:
        """An object of `kind` became healthy `seconds` after its revision was seen."""
        self._convergence.labels(kind).observe(seconds)

    def led(self, kind: str, seconds: float) -> None:
        """An object of `kind` became healthy `seconds` after the commit of its revision was made.

        A clock that is ahead of ours makes a commit of the future: it took no time.
        """
        self._lead.labels(kind).observe(max(0.0, seconds))

    def unverified(self, reason: str) -> None:
        """A revision was held for what it is, for one of a handful of reasons."""
        self._unverified.labels(reason).inc()

    def requested(self, verb: str, code: int | None) -> None:
        """A request to the API server was answered with `code`, or not at all (None)."""
        series = self._answered.get((verb, code))
        if series is None:
            series = self._requests.labels(verb[:16], "error" if code is None else str(code))
            self._answered[verb, code] = series
        series.inc()
        if code is not None:
            self._last_answer.set(self._clock.now().timestamp())

    def leading(self, lease: str, state: bool) -> None:
        """Whether this process holds `lease`."""
        self._leading.labels(lease).set(float(state))

    def lost(self, kind: str, count: int) -> None:
        """The watchdog found `count` objects of `kind` that nobody had looked at."""
        self._lost.labels(kind).inc(count)

    def event_dropped(self, type_: str, cause: str, count: int = 1) -> None:
        """Events of `type_` were not written because of `cause`."""
        self._events_dropped.labels(type_, cause).inc(count)

    def notified(self, outcome: str) -> None:
        """A notice was sent to a provider: `delivered`, `retry` or `refused`."""
        self._notifications.labels(outcome).inc()

    def notifications_dropped(self, where: str, count: int) -> None:
        """So many events or notices had to go at a place of our own."""
        self._notifications_dropped.labels(where).inc(count)

    def delivered(self, method: str, code: int, seconds: float) -> None:
        """A call of a webhook was answered with `code` after `seconds`."""
        self._deliveries.labels(method if method == "POST" else "other", str(code)).observe(seconds)

    def delivery_refused(self, reason: str) -> None:
        """A call of a webhook had no effect, for one of a handful of reasons."""
        self._refused.labels(reason).inc()

    def hinted(self, outcome: str) -> None:
        """What became of a hint, in one of a handful of words."""
        self._hints.labels(outcome).inc()

    def ran_helm(self) -> None:
        """A process of helm begins."""
        self._helm_runs.inc()

    def spans_dropped(self, cause: str, count: int) -> None:
        """So many spans were not exported: for lack of room (`queue`), or since they were not taken (`export`)."""
        self._spans_dropped.labels(cause).inc(count)

    def ledger_written(self, records: int, size: int) -> None:
        """So many records, of so many bytes, have reached the disk."""
        self._ledger_records.inc(records)
        self._ledger_bytes.inc(size)

    def ledger_failed(self) -> None:
        """The ledger could not be written."""
        self._ledger_failures.inc()

    def ledger_missed(self, count: int) -> None:
        """So many records are lost."""
        self._ledger_missed.inc(count)

    def watch_ledger(self, lag_s: Callable[[], float]) -> None:
        """Ask, whenever metrics are asked for, how long what is not on the disk has waited."""
        self._ledger_lag.set_function(lag_s)

    def ran_kustomize(self) -> None:
        """A process of kustomize begins."""
        self._kustomize_runs.inc()

    def watch_kind(self, kind: str, *, live: Callable[[], bool], there: Callable[[Subject], bool]) -> None:
        """Ask, whenever metrics are asked for, whether what is known of the objects of `kind` is what is.

        While it is not, each of them is neither ready nor not: it is unknown. While it is, those that are not `there`
        have no series.
        """
        self._views[kind] = View(live, there)
        self._lost.labels(kind)

    def stand_by(self) -> None:
        """Somebody else looks after what we do not look after: the series of those objects are theirs."""
        for kind, view in list(self._views.items()):
            if not view.live():
                del self._views[kind]
        for subject in [subject for subject in self._objects if subject.kind not in self._views]:
            del self._objects[subject]

    def watch_queue(self, name: str, *, depth: Callable[[], int], oldest: Callable[[], float]) -> None:
        """Report the length of a queue and the age of its oldest key (seconds) whenever metrics are asked for."""
        self._queues[name] = (depth, oldest)

    async def render(self) -> bytes:
        """All metrics in Prometheus' text format (CONTENT_TYPE).

        In a thread: a thousand objects are 20,000 lines and a fifth of a second.
        """
        self._samples.now = self._clock.now().timestamp()
        self._samples.queues = [(name, depth(), oldest()) for name, (depth, oldest) in self._queues.items()]
        self._samples.live = {kind: view.live() for kind, view in self._views.items()}
        for subject in [subject for subject in self._objects if self._is_gone(subject)]:
            del self._objects[subject]
        return await asyncio.to_thread(generate_latest, self._registry)

    def _is_gone(self, subject: Subject) -> bool:
        """Whether its kind is watched, and it is not among what is there."""
        return self._samples.live.get(subject.kind, False) and not self._views[subject.kind].there(subject)

    def _numbers(self, subject: Subject) -> Numbers | None:
        numbers = self._objects.get(subject)
        if numbers is None:
            if len(self._objects) >= self._max_objects:
                self._overflow.inc()
                return None
            numbers = self._objects[subject] = Numbers()
        return numbers
