"""What is made of a process beside foreign objects and of its twin."""

import pytest
from bench.foreign import Pair, change


def test_what_the_twin_has_as_well_is_no_change() -> None:
    by, error = change([Pair(1.0, 2.0), Pair(3.0, 6.0)], [Pair(5.0, 10.0), Pair(0.5, 1.0)])
    assert (by, error) == (0.0, 0.0)


def test_what_ours_alone_takes_is_the_change() -> None:
    by, error = change([Pair(1.0, 1.0), Pair(2.0, 2.0)], [Pair(1.1, 1.0), Pair(2.2, 2.0)])
    assert by == pytest.approx(10.0)
    assert error == pytest.approx(0.0, abs=1e-9)


def test_the_more_stretches_differ_the_less_sure_is_the_change() -> None:
    without = [Pair(1.0, 1.0), Pair(1.0, 1.0)]
    by, error = change(without, [Pair(0.9, 1.0), Pair(1.1, 1.0)])
    assert by == pytest.approx(0.0)
    assert error == pytest.approx(10.0)
