"""What the benchmark of one large app makes of its figures."""

import pytest
from bench.large import files, missed


def test_a_large_app_that_costs_what_it_may_misses_nothing() -> None:
    assert missed(2.0, 1.0, 0.3, 1024) == []


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ((2.1, 0, 0, 0), "first: 2.10 × the floor, budget 2"),
        ((0, 1.5, 0, 0), "noop: 1.50 s, budget 1 s"),
        ((0, 0, 0.5, 0), "an answer takes 0.50 s more while the app is applied, budget 0.3 s"),
        ((0, 0, 0, 1500), "a part of the inventory has 1500 KiB, budget 1024 KiB"),
    ],
    ids=["first", "noop", "answers", "parts"],
)
def test_every_budget_of_a_large_app_can_be_missed(figures: tuple[float, float, float, float], words: str) -> None:
    assert missed(*figures) == [words]


def test_another_tag_changes_every_object() -> None:
    one, other = files(1_001, "1"), files(1_001, "2")
    assert len(one) == 3
    assert [text.count('tag: "1"') for text in one.values()] == [500, 500, 1]
    assert [text.count('tag: "2"') for text in other.values()] == [500, 500, 1]
