"""What the benchmark of fairness makes of its figures."""

import pytest
from bench.fairness import Limited, Times, missed


def limited(before_large: int) -> Limited:
    return Limited(Times(20, 500, 1.0, 2.0, 2.1, 90.0, 1.0), 10.0, 90.5, 900, 300, before_large, 0)


def test_small_apps_that_are_not_held_up_miss_nothing() -> None:
    assert missed(2.0, limited(20)) == []
    assert missed(None, None) == []


@pytest.mark.parametrize(
    ("ratio", "through", "words"),
    [
        (2.1, None, "small apps beside a large one: p95 is 2.10 × that alone, budget 2"),
        (None, limited(-1), "limited: the large app was Ready before the last of the small ones"),
    ],
    ids=["together", "limited"],
)
def test_every_budget_of_fairness_can_be_missed(ratio: float | None, through: Limited | None, words: str) -> None:
    assert missed(ratio, through) == [words]
