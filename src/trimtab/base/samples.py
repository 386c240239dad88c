"""What is known of each object, as plain numbers, and the samples that they become when somebody asks."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

PASS_BUCKETS_S = (0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
_OBJECT_LABELS = ("kind", "namespace", "name")


class Subject(NamedTuple):
    """The object that a series is about."""

    kind: str
    namespace: str
    name: str


class View(NamedTuple):
    """How a kind is seen: whether what is known of it is what is, and whether an object is among that."""

    live: Callable[[], bool]
    there: Callable[[Subject], bool]


@dataclass(slots=True)
class Numbers:
    """What is known of one object; None is not known yet, and then there is no series."""

    ready: float | None = None
    suspended: bool | None = None
    revision: str = ""
    last_success: float | None = None
    last_observed: float | None = None
    interval_s: float = float("inf")
    prune_held: bool | None = None
    revision_held: bool | None = None
    seconds: float = 0.0
    passes: list[int] = field(default_factory=list)
    drift: dict[str, int] = field(default_factory=dict)
    drift_since: float | None = None


class Samples(Collector):
    """The plain numbers as metric families. `collect` runs in a thread, so it reads only what holds still."""

    def __init__(self, objects: Mapping[Subject, Numbers]) -> None:
        self._objects = objects
        self.queues: list[tuple[str, int, float]] = []
        self.live: Mapping[str, bool] = {}
        self.now = 0.0

    def collect(self) -> Iterator[Metric]:
        yield from self._queue_samples()
        yield self._view_samples()
        yield from self._states()
        yield from self._moments()
        yield from self._counts()

    def _states(self) -> Iterator[Metric]:
        ready = _gauge("trimtab_ready", "Ready: 1 yes, 0 no, -1 unknown, also while its kind cannot be watched.")
        suspended = _gauge("trimtab_suspended", "Whether it is suspended.")
        revision = GaugeMetricFamily(
            "trimtab_revision_info", "The revision applied or offered.", labels=(*_OBJECT_LABELS, "revision")
        )
        prune_held = _gauge("trimtab_prune_held", "Whether deletions wait for an approval, or for something else.")
        revision_held = _gauge("trimtab_revision_held", "Whether the revision on offer is held: it is not verified.")
        for subject, numbers in list(self._objects.items()):
            if numbers.ready is not None:
                ready.add_metric(subject, numbers.ready if self.live.get(subject.kind, True) else -1.0)
            if numbers.revision:
                revision.add_metric((*subject, numbers.revision), 1.0)
            for family, state in (
                (suspended, numbers.suspended),
                (prune_held, numbers.prune_held),
                (revision_held, numbers.revision_held),
            ):
                if state is not None:
                    family.add_metric(subject, float(state))
        yield from (ready, suspended, revision, prune_held, revision_held)

    def _moments(self) -> Iterator[Metric]:
        success = _gauge("trimtab_last_success_timestamp_seconds", "When it was last as it should be.")
        observed = _gauge("trimtab_last_observed_timestamp_seconds", "When it was last looked at, whatever was found.")
        interval = _gauge("trimtab_interval_seconds", "How often it is meant to be looked at.")
        differs = _gauge("trimtab_drift_seconds", "Age of the oldest drift that is still there.")
        for subject, numbers in list(self._objects.items()):
            if numbers.last_success is not None:
                success.add_metric(subject, numbers.last_success)
            if numbers.last_observed is not None:
                observed.add_metric(subject, numbers.last_observed)
            if numbers.interval_s != float("inf"):
                interval.add_metric(subject, numbers.interval_s)
            if numbers.drift_since is not None:
                differs.add_metric(subject, max(0.0, self.now - numbers.drift_since))
        yield from (success, observed, interval, differs)

    def _counts(self) -> Iterator[Metric]:
        # Existing dashboards know this one by Flux's name.
        passes = HistogramMetricFamily(
            "gotk_reconcile_duration_seconds", "How long a reconciliation took.", labels=_OBJECT_LABELS
        )
        drift = CounterMetricFamily(
            "trimtab_drift",
            "Objects found changed by others, by what was done: corrected, reported, yielded, returned.",
            labels=(*_OBJECT_LABELS, "answer"),
        )
        for subject, numbers in list(self._objects.items()):
            for answer, count in list(numbers.drift.items()):
                drift.add_metric((*subject, answer), float(count))
            if numbers.passes:
                passes.add_metric(subject, _cumulative(numbers.passes), numbers.seconds)
        yield from (passes, drift)

    def _queue_samples(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("trimtab_queue_depth", "Keys that are ready to be worked on.", labels=("queue",))
        oldest = GaugeMetricFamily("trimtab_queue_oldest_seconds", "Age of the oldest ready key.", labels=("queue",))
        for name, length, age in self.queues:
            depth.add_metric((name,), float(length))
            oldest.add_metric((name,), age)
        yield from (depth, oldest)

    def _view_samples(self) -> Metric:
        family = GaugeMetricFamily(
            "trimtab_view_live",
            "Whether what is known of the objects of a kind is what is: 0 while it cannot be watched.",
            labels=("kind",),
        )
        for kind, live in self.live.items():
            family.add_metric((kind,), float(live))
        return family


def _gauge(name: str, words: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, words, labels=_OBJECT_LABELS)


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    buckets, total = [], 0
    for bound, count in zip((*PASS_BUCKETS_S, float("inf")), counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
    return buckets
