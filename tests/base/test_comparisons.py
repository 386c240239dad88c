"""Metrics of comparisons that are made again and again."""

from datetime import UTC, datetime

from trimtab.base.comparisons import Comparisons


class Fixed:
    """A clock that stands still."""

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def samples(metrics: Comparisons) -> list[str]:
    return [line for line in metrics.render().decode().splitlines() if line.startswith("trimtab")]


def test_what_was_counted_before_a_failure_is_gone_and_the_last_success_stays() -> None:
    metrics = Comparisons(Fixed(), complete=("same",), same="same")
    metrics.compared("same", {"same": 3}, 1.5)
    assert 'trimtab_diff_objects{state="same"} 3.0' in samples(metrics)
    metrics.failed(2.5)
    assert not any("trimtab_diff_objects" in line for line in samples(metrics))
    assert "trimtab_diff_last_success_timestamp_seconds 1.7672256e+09" in samples(metrics)
    assert "trimtab_diff_last_run_duration_seconds 2.5" in samples(metrics)
    assert 'trimtab_diff_runs_total{verdict="failed"} 1.0' in samples(metrics)
