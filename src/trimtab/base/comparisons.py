"""Metrics of comparisons that are made again and again (`trimtab diff --serve`), apart from those of controllers.

How many objects differ is told only while it is known: a comparison that failed leaves no numbers of an older one
behind. When the last one succeeded is always told, as 0 where none ever did, so that an alert on its age can fire.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trimtab.base.clock import Clock

FAILED: Final = "failed"


class Comparisons(Collector):
    """What the comparisons of one process found. `complete` and `same` are the verdicts that count as success."""

    def __init__(self, clock: Clock, *, complete: tuple[str, ...], same: str) -> None:
        self._clock = clock
        self._complete = complete
        self._same = same
        self._runs: dict[str, int] = {}
        self._counts: Mapping[str, int] = {}
        self._last_run = self._last_success = self._last_same = 0.0
        self._seconds = 0.0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def compared(self, verdict: str, counts: Mapping[str, int], seconds: float) -> None:
        """A comparison was made, and took so long; `counts` are the numbers of objects by state."""
        now = self._clock.now().timestamp()
        self._ran(verdict, now, seconds)
        self._counts = dict(counts)
        if verdict in self._complete:
            self._last_success = now
        if verdict == self._same:
            self._last_same = now

    def failed(self, seconds: float) -> None:
        """A comparison could not be made at all."""
        self._ran(FAILED, self._clock.now().timestamp(), seconds)
        self.forget()

    def forget(self) -> None:
        """What was counted last no longer holds."""
        self._counts = {}

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The samples, for the registry."""
        objects = GaugeMetricFamily(
            "trimtab_diff_objects", "Objects by how they compare; absent while that is not known.", labels=("state",)
        )
        for state, count in self._counts.items():
            objects.add_metric((state,), float(count))
        runs = CounterMetricFamily(
            "trimtab_diff_runs", "Comparisons by verdict: same, differs, unknown, failed.", labels=("verdict",)
        )
        for verdict, number in self._runs.items():
            runs.add_metric((verdict,), float(number))
        yield from (objects, runs)
        moments = {
            "trimtab_diff_last_run_timestamp_seconds": ("When the last comparison ended.", self._last_run),
            "trimtab_diff_last_success_timestamp_seconds": (
                "When everything could be compared last, whether it differed or not; 0 for never.",
                self._last_success,
            ),
            "trimtab_diff_last_same_timestamp_seconds": ("When nothing differed last; 0 for never.", self._last_same),
            "trimtab_diff_last_run_duration_seconds": ("How long the last comparison took.", self._seconds),
        }
        for name, (words, value) in moments.items():
            yield GaugeMetricFamily(name, words, value=value)

    def _ran(self, verdict: str, now: float, seconds: float) -> None:
        self._runs[verdict] = self._runs.get(verdict, 0) + 1
        self._last_run, self._seconds = now, seconds
