"""How often, and how long something is believed: plain numbers, and what keeps them from growing."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.clocks import ManualClock
from trimtab.web.fresh import Fresh
from trimtab.web.pace import Buckets, Seen, Spacing


def test_a_bucket_has_a_burst_and_fills_again() -> None:
    buckets: Buckets[str] = Buckets(burst=3, per_s=2, most=10)
    assert [buckets.take("a", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert buckets.take("b", 0.0), "everybody has one of their own"
    assert [buckets.take("a", 1.0) for _ in range(3)] == [True, True, False]
    assert [buckets.take("a", 1000.0) for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0, 2), max_size=200))
def test_never_more_than_the_burst_and_the_rate(pauses: list[float]) -> None:
    buckets: Buckets[str] = Buckets(burst=5, per_s=3, most=10)
    now, taken = 0.0, 0
    for pause in pauses:
        now += pause
        taken += buckets.take("a", now)
        assert taken <= 5 + 3 * now + 1e-6


@given(st.lists(st.floats(0, 10), max_size=100))
def test_looks_are_never_closer_than_their_distance_and_never_further_than_five_seconds(pauses: list[float]) -> None:
    spacing: Spacing[str] = Spacing(most=10)
    now, last = 0.0, float("-inf")
    for pause in pauses:
        now += pause
        wait = spacing.wait("a", now)
        assert 0 <= wait <= 5
        now += wait
        assert now - last >= 0.25 - 1e-6
        spacing.asked("a", now)
        last = now


def test_who_is_asked_at_this_very_moment_waits_for_the_distance_and_no_longer() -> None:
    """Sums of moments are not exact: 5 seconds after 3.3 is more than 5 seconds away, if one reckons carelessly."""
    for tenths in range(1, 400):
        spacing: Spacing[str] = Spacing(most=10)
        now = tenths / 10
        for _ in range(8):
            spacing.asked("a", now)
        assert spacing.wait("a", now) == 5.0


def test_what_is_remembered_has_an_end() -> None:
    buckets: Buckets[int] = Buckets(burst=1, per_s=0.0, most=3)
    spacing: Spacing[int] = Spacing(most=3)
    seen: Seen[int] = Seen(for_s=60, most=3)
    for number in range(10):
        buckets.take(number, 0.0)
        spacing.asked(number, 0.0)
        seen.remember(number, 0.0)
    assert [buckets.take(number, 0.0) for number in (9, 0)] == [False, True]
    assert [spacing.wait(number, 0.0) > 0 for number in (9, 0)] == [True, False]
    assert [seen.knows(number, 0.0) for number in (9, 0)] == [True, False]
    assert not seen.knows(9, 61.0)


class Source:
    """Answers with a number, when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def load(self) -> int:
        self.asked += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.asked


def fresh(clock: ManualClock, most: int = 10) -> Fresh[str, int]:
    return Fresh(clock, good_s=10, bad_s=2, most=most, expected=(ValueError,))


async def test_many_who_wait_are_one_question() -> None:
    clock, source = ManualClock(), Source()
    values = fresh(clock)
    source.gate.clear()
    waiting = [asyncio.ensure_future(values.get("a", source.load)) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    source.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    # Who asked first went away: the next one asked again, for all others.
    assert answers[1:] == [2] * 49
    assert source.asked == 2


async def test_an_answer_and_a_failure_are_believed_for_their_time() -> None:
    clock, source = ManualClock(), Source()
    values = fresh(clock)
    assert await values.get("a", source.load) == 1
    clock.jump(9)
    assert await values.get("a", source.load) == 1
    assert await values.get("a", source.load, within_s=5) == 2
    clock.jump(11)
    source.failure = ValueError("no")
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            await values.get("a", source.load)
    assert source.asked == 3
    clock.jump(3)
    source.failure = None
    assert await values.get("a", source.load) == 4
    source.failure = KeyError("unforeseen")
    clock.jump(11)
    for _ in range(2):
        with pytest.raises(KeyError):
            await values.get("a", source.load)
    assert source.asked == 6, "what is not foreseen is not remembered"


async def test_only_so_many_answers_are_kept() -> None:
    clock, source = ManualClock(), Source()
    values = fresh(clock, most=2)
    for key in ("a", "b", "c", "c", "b", "a"):
        await values.get(key, source.load)
    assert source.asked == 4
