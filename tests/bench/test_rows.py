"""What becomes of figures: goals, ratios, the table for the documentation, and the comparison with a baseline."""

import json
from pathlib import Path

from bench.rows import Row, Table, comparison, finish, markdown, read


def test_a_goal_of_what_has_a_floor_is_about_the_ratio() -> None:
    assert Row("first", 300, "seconds", 8.0, goal=2.0, floor=4.5).kept
    assert Row("first", 300, "seconds", 8.0, goal=2.0, floor=3.5).kept is False
    assert Row("first", 300, "seconds", 8.0, floor=3.5).kept is None


def test_what_is_worse_than_the_baseline_by_a_fifth_is_named_and_nothing_else() -> None:
    before = [Row("first", 100, "seconds", 3.0, floor=2.0), Row("idle", 100, "share", 0.01, "%")]
    now = [Row("first", 100, "seconds", 8.0, floor=4.0), Row("idle", 100, "share", 0.03, "%")]
    assert comparison(now, before) == ["first at 100, seconds: 2.00 × the floor, was 1.50"]
    assert comparison([Row("push", 100, "seconds", 9.0)], before) == []


def test_the_table_tells_the_share_of_flux_and_what_was_missed() -> None:
    line = markdown([Row("first", 300, "CPU", 5.2, "s", 4.3, flux=130.0)]).splitlines()[-1]
    assert line == "| first | 300 | CPU | 5.20 s |  |  | 130 (1/25) | ≤ 4.3 | **missed** |"


def test_figures_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [Row("push", 100, "seconds", 1.5, goal=2.0, floor=1.1, flux=27.1)]
    assert finish(Table("apps", {"cpus": 2}, rows), tmp_path / "apps.json") == 0
    assert read(tmp_path / "apps.json") == rows


def test_numbers_of_a_benchmark_with_a_form_of_its_own_are_rows_too(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    path.write_text(json.dumps({"machine": {"cpus": 2}, "first": {"seconds": 4.5, "steady": True}, "peak_mib": 120}))
    assert read(path) == [Row("large", 0, "first seconds", 4.5, ""), Row("large", 0, "peak_mib", 120.0, "")]
