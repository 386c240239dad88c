"""What is made of many runs."""

from typing import Any

from bench.floor import Floor
from bench.linear import figures
from bench.measure import Phase
from bench.report import Run


def run(n: int, seconds: float, floor: float = 2.0) -> Run:
    more: dict[str, Any] = {"done": n, "harness_s": 0.1, "rss_peak_mib": 50, "requests_per_app": 1.0, "api": {}}
    first = Phase(phase="first", n=n, seconds=seconds, cpu_s=seconds / 2, **more)
    push = Phase(phase="push", n=n, seconds=1.5, cpu_s=0.5, **more)
    return Run(n, Floor(floor, 1.0, ()), Floor(floor, 1.0, ()), (first, push))


def test_one_run_on_a_slow_machine_changes_no_median() -> None:
    quiet = {row.key: row.value for row in figures({100: [run(100, 3.0), run(100, 3.0), run(100, 3.0)]})}
    slow = {row.key: row.value for row in figures({100: [run(100, 3.0), run(100, 9.0), run(100, 3.0)]})}
    assert quiet == slow
    assert quiet[("first", 100, "times the floor, median")] == 1.5
    assert quiet[("push", 100, "times the floor, median")] == 1.5
    assert quiet[("first", 100, "an app, median")] == 30.0
    assert quiet[("first", 100, "CPU for an app, median")] == 15.0


def test_each_number_of_apps_is_held_against_the_mean_of_all() -> None:
    rows = list(figures({100: [run(100, 2.0)], 300: [run(300, 6.6)], 1000: [run(1000, 26.0)]}))
    off = {row.n: row for row in rows if "off the mean" in row.figure}
    assert [round(row.value, 1) for row in off.values()] == [11.8, 2.9, 14.7]
    assert [row.kept for row in off.values()] == [False, True, False]


def test_more_than_twice_the_floor_is_missed() -> None:
    rows = {row.figure: row for row in figures({100: [run(100, 4.2)]}) if row.part == "first"}
    assert rows["times the floor, median"].kept is False
