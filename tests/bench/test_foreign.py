"""What is made of a process beside foreign objects and of its twin."""

import pytest
from bench.foreign import Pair, change


def test_what_both_have_and_what_one_has_always_is_no_change() -> None:
    slow_machine = [Pair(1.0, 2.0), Pair(3.0, 6.0)]
    assert change(slow_machine, [Pair(5.0, 10.0), Pair(0.5, 1.0)]) == (0.0, 0.0)


def test_what_comes_with_the_objects_is_the_change() -> None:
    by, error = change([Pair(1.1, 1.0), Pair(2.2, 2.0)], [Pair(1.0, 1.1), Pair(3.0, 3.3)])
    assert by == pytest.approx(10.0)
    assert error == pytest.approx(0.0, abs=1e-9)


def test_the_more_stretches_differ_the_less_sure_is_the_change() -> None:
    by, error = change([Pair(0.9, 1.0), Pair(1.1, 1.0)], [Pair(1.0, 1.0), Pair(1.0, 1.0)])
    assert by == pytest.approx(0.0)
    assert error == pytest.approx(5.0)
