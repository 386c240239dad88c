"""What the benchmark makes of its figures."""

from datetime import UTC, datetime
from typing import Any

from bench.floor import Floor, Row, summary
from bench.measure import Drift, Phase

from bench import report

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
FLOOR = Floor(first=2.0, push=1.0, rows=())


def phase(name: str, seconds: float, n: int = 100, **more: Any) -> Phase:
    figures = {"done": n, "harness_s": 0.1, "cpu_s": 1.0, "rss_peak_mib": 50, "requests_per_app": 1.0, "api": {}}
    return Phase(phase=name, n=n, seconds=seconds, **(figures | more))


def run(*phases: Phase | Drift, n: int = 100) -> report.Run:
    return report.Run(n, FLOOR, FLOOR, phases)


def test_the_floor_of_a_phase_is_dry_run_plus_settled() -> None:
    rows = [
        Row("first dry", 100, 300, 0.5, 0.1),
        Row("first apply", 100, 300, 1.0, 0.1, 2.0),
        Row("push dry", 100, 100, 0.2, 0.1),
        Row("push apply", 100, 100, 0.3, 0.1, 1.1),
    ]
    assert (summary(rows).first, summary(rows).push) == (2.5, 1.3)


def test_budgets_are_ratios_to_the_floor_of_the_same_run() -> None:
    assert report.missed([run(phase("first", 4.0), phase("push", 2.0))]) == []
    assert report.missed([run(phase("first", 4.2), phase("push", 2.0))]) == ["first at 100: 2.10 × the floor, budget 2"]


def test_the_lower_floor_counts_and_a_busy_machine_is_named() -> None:
    busy = report.Run(100, Floor(first=9.0, push=1.0, rows=()), FLOOR, (phase("first", 6.0),))
    assert report.floor_ratio(busy, busy.phases[0]) == 3.0
    assert "BUSY" in report.table([busy])
    assert "BUSY" not in report.table([run(phase("first", 6.0))])


def test_a_phase_that_did_not_end_is_missed_whatever_it_took() -> None:
    assert report.missed([run(phase("first", 0.1, done=99))]) == ["first at 100: only 99 of 100 in time"]


def test_the_memory_of_processes_that_share_the_apps_may_be_that_of_each() -> None:
    two = report.Run(100, FLOOR, FLOOR, (phase("first", 4.0, rss_peak_mib=290),), processes=2)
    assert report.missed([two]) == []
    more = report.Run(100, FLOOR, FLOOR, (phase("first", 4.0, rss_peak_mib=301),), processes=2)
    assert report.missed([more]) == ["first at 100: 301 MiB, budget 300"]


def test_every_budget_can_be_missed() -> None:
    bad = run(
        phase("one", 1.5),
        phase("noop", 1.0, requests_per_app=1.4),
        phase("push", 1.0, rss_peak_mib=160),
        Drift("drift", 20, 0.1, 0.6),
    )
    assert len(report.missed([bad])) == 4


def test_the_table_relates_to_flux_where_a_figure_is_published() -> None:
    first, other = (report.table([run(phase("first", 16.1, n), n=n)]).splitlines()[1].split() for n in (100, 150))
    assert "1.000" in first
    assert len(other) == len(first) - 2


def test_only_what_is_worse_than_noise_is_called_worse() -> None:
    before = report.result([run(phase("first", 4.0))], machine={}, moment=MOMENT)
    within = report.result([run(phase("first", 4.7))], machine={}, moment=MOMENT)
    beyond = report.result([run(phase("first", 5.0))], machine={}, moment=MOMENT)
    assert "worse" not in report.comparison(within, before)
    assert "worse" in report.comparison(beyond, before)
    assert "better" in report.comparison(before, beyond)
