import asyncio
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trimtab.base.clock import SystemClock
from trimtab.manifests.refs import Key
from trimtab.runtime.queue import Closed, Priority, Queue

from .clocks import ManualClock, settle


@pytest.fixture
def queue(clock: ManualClock) -> Queue[str]:
    return Queue(clock, chance=lambda: 0.0)


def drain(queue: Queue[str]) -> list[str]:
    taken = []
    while (key := queue.take()) is not None:
        taken.append(key)
    for key in taken:
        queue.done(key)
    return taken


def test_a_key_added_twice_is_taken_once(queue):
    queue.add("a")
    queue.add("a")
    assert len(queue) == 1
    assert drain(queue) == ["a"]


def test_keys_of_one_priority_leave_in_the_order_they_came(queue):
    for key in "cab":
        queue.add(key)
    queue.add("c")
    assert drain(queue) == ["c", "a", "b"]


def test_lower_numbers_go_first(queue):
    queue.add("resync", priority=Priority.RESYNC)
    queue.add("event")
    queue.add("retry", priority=Priority.RETRY)
    queue.add("request", priority=Priority.REQUEST)
    assert drain(queue) == ["request", "event", "retry", "resync"]


def test_a_more_urgent_add_moves_a_ready_key_forward_and_a_less_urgent_one_does_not_move_it_back(queue):
    queue.add("a", priority=5)
    queue.add("b", priority=3)
    queue.add("a", priority=1)
    queue.add("a", priority=9)
    assert drain(queue) == ["a", "b"]


def test_a_delayed_key_is_ready_when_its_time_has_come(queue, clock):
    queue.add("a", after=10)
    assert (len(queue), queue.waiting) == (0, 1)
    clock.jump(9.9)
    assert queue.take() is None
    clock.jump(0.1)
    assert drain(queue) == ["a"]


def test_the_earlier_of_two_times_wins_whichever_came_first(queue, clock):
    queue.add("a", after=10)
    queue.add("a", after=3)
    queue.add("b", after=3)
    queue.add("b", after=10)
    clock.jump(3)
    assert drain(queue) == ["a", "b"]
    clock.jump(20)
    assert drain(queue) == []


def test_an_add_without_delay_makes_a_waiting_key_ready_at_once(queue):
    queue.add("a", after=600, priority=Priority.RESYNC)
    queue.add("b")
    queue.add("a")
    assert drain(queue) == ["b", "a"]


def test_a_key_that_became_due_before_another_was_added_goes_before_it(queue, clock):
    queue.add("waited", after=5)
    clock.jump(6)
    queue.add("fresh")
    assert drain(queue) == ["waited", "fresh"]


def test_a_key_in_flight_is_not_handed_out_again_until_it_is_done(queue):
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a")
    assert queue.take() is None
    assert len(queue) == 1
    queue.done("a")
    assert queue.take() == "a"
    queue.done("a")
    assert queue.take() is None


def test_a_key_whose_time_comes_while_it_is_in_flight_runs_after_it_is_done(queue, clock):
    queue.add("a")
    queue.take()
    queue.add("a", after=5)
    clock.jump(6)
    assert queue.take() is None
    queue.done("a")
    assert queue.take() == "a"


def test_done_of_a_key_that_is_not_in_flight_is_an_error(queue):
    with pytest.raises(ValueError, match="not in flight"):
        queue.done("a")


def test_backoff_doubles_to_its_cap_and_forget_starts_it_anew(queue):
    assert [queue.retry("a", cap=10) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert queue.failures("a") == 6
    queue.forget("a")
    assert queue.retry("a", cap=10) == 1


def test_backoff_is_spread_downwards_by_up_to_a_quarter(clock):
    queue: Queue[str] = Queue(clock, chance=lambda: 1.0)
    assert queue.retry("a") == 0.75
    assert queue.retry("a") == 1.5


def test_a_retry_waits_as_long_as_the_other_side_asked_but_never_beyond_the_cap(queue):
    assert queue.retry("a", floor=7) == 7
    assert queue.retry("b", floor=86_400, cap=60) == 60


def test_backoff_survives_thousands_of_failures(queue):
    for _ in range(5000):
        delay = queue.retry("a", cap=300)
    assert delay == 300


def test_a_retry_does_not_delay_a_key_that_was_added_meanwhile(queue):
    queue.add("a")
    queue.take()
    queue.add("a")
    queue.retry("a")
    queue.done("a")
    assert queue.take() == "a"


def test_a_retry_goes_behind_fresh_events(queue, clock):
    queue.retry("failed")
    clock.jump(2)
    queue.add("fresh")
    assert drain(queue) == ["fresh", "failed"]


def test_a_discarded_key_is_not_handed_out_whether_ready_or_waiting(queue, clock):
    queue.add("a")
    queue.add("b", after=1)
    queue.discard("a")
    queue.discard("b")
    clock.jump(2)
    assert (len(queue), queue.waiting, queue.take()) == (0, 0, None)
    queue.add("a")
    assert drain(queue) == ["a"]


def test_oldest_is_the_age_of_the_key_that_is_ready_for_longest(queue, clock):
    assert queue.oldest() == 0
    queue.add("later", after=10)
    queue.add("a")
    clock.jump(5)
    queue.add("b")
    assert queue.oldest() == 5
    drain(queue)
    clock.jump(15)  # due since ten seconds, though nobody looked
    assert queue.oldest() == 10


def test_slowest_is_the_age_of_the_longest_pass(queue, clock):
    queue.add("a")
    queue.take()
    clock.jump(7)
    assert queue.slowest() == 7
    queue.done("a")
    assert queue.slowest() == 0


def test_entries_that_no_longer_count_do_not_pile_up(queue):
    for _ in range(5000):
        queue.add("a", after=600)
        queue.add("a", priority=5)
        queue.add("a", priority=4)
        queue.add("b", priority=9)
        queue.add("b", priority=8)
        queue.take()
        queue.done("a")
    assert len(queue._waiting) < 200
    assert len(queue._ready) < 200


async def test_get_waits_for_an_add(queue):
    getting = asyncio.ensure_future(queue.get())
    await settle()
    assert not getting.done()
    queue.add("a")
    assert await getting == "a"


async def test_get_waits_for_the_time_of_a_delayed_key(queue, clock):
    queue.add("late", after=10)
    getting = asyncio.ensure_future(queue.get())
    await clock.advance(5)
    queue.add("early", after=1)  # the alarm was set for later
    await clock.advance(0.9)
    assert not getting.done()
    await clock.advance(0.2)
    assert getting.result() == "early"
    getting = asyncio.ensure_future(queue.get())
    await clock.advance(3.9)
    assert getting.result() == "late"


async def test_each_key_wakes_one_getter(queue):
    getters = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await settle()
    queue.add("a")
    queue.add("b")
    await settle()
    assert sorted(getter.result() for getter in getters if getter.done()) == ["a", "b"]
    queue.add("c")
    await asyncio.gather(*getters)


async def test_keys_that_become_due_together_wake_as_many_getters(queue, clock):
    for key in "abc":
        queue.add(key, after=5)
    getters = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await clock.advance(5)
    assert sorted(await asyncio.gather(*getters)) == ["a", "b", "c"]


async def test_a_getter_called_in_the_moment_it_is_cancelled_ends_cancelled(queue):
    getter = asyncio.create_task(queue.get())
    await settle()
    getter.cancel()
    queue.add("a")
    with pytest.raises(asyncio.CancelledError):
        await getter
    assert drain(queue) == ["a"]


async def test_a_getter_cancelled_in_the_moment_it_is_called_passes_the_call_on(queue):
    first = asyncio.ensure_future(queue.get())
    second = asyncio.ensure_future(queue.get())
    await settle()
    queue.add("a")  # wakes the first
    first.cancel()
    assert await asyncio.wait_for(second, 60) == "a"


async def test_a_closed_queue_hands_nothing_out_but_keeps_what_comes_in(queue):
    getting = asyncio.ensure_future(queue.get())
    await settle()
    queue.close()
    with pytest.raises(Closed):
        await getting
    queue.add("a")
    with pytest.raises(Closed):
        await queue.get()
    queue.open()
    assert await queue.get() == "a"


async def test_a_closed_queue_leaves_no_task_behind(queue):
    queue.add("a", after=60)
    getting = asyncio.ensure_future(queue.get())
    await settle()
    queue.close()
    with pytest.raises(Closed):
        await getting
    await settle()
    assert len(queue._tasks) == 0


def test_a_flood_of_adds_is_deduplicated_fast_and_in_flat_memory():
    queue: Queue[Key] = Queue(SystemClock())
    keys = [Key("apps", f"app-{number}") for number in range(1000)]
    started = time.process_time()  # other processes' load is none of ours
    for _ in range(100):
        for key in keys:
            queue.add(key)
    rate = 100_000 / (time.process_time() - started)
    assert len(queue) == 1000
    assert len(queue._ready) == 1000
    assert rate > 200_000


class Model(RuleBasedStateMachine):
    """The queue against a list that is searched from end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.queue: Queue[str] = Queue(self.clock, chance=lambda: 0.0)
        # key → [priority, due or None when ready, place in line]
        self.model: dict[str, list] = {}
        self.in_flight: set[str] = set()
        self.failures: dict[str, int] = {}
        self.line = 0

    keys = st.sampled_from("abcd")

    def promote(self) -> None:
        now = self.clock.monotonic()
        due = [(entry[1], entry[2], key) for key, entry in self.model.items() if entry[1] is not None]
        for at, _, key in sorted(due):
            if at <= now:
                self.model[key][1:] = [None, self.next_in_line()]

    def next_in_line(self) -> int:
        self.line += 1
        return self.line

    def model_add(self, key: str, priority: int, after: float) -> None:
        self.promote()
        due = self.clock.monotonic() + after if after else None
        old = self.model.get(key)
        if old is None:
            self.model[key] = [priority, due, self.next_in_line()]
            return
        old[0] = min(old[0], priority)
        if old[1] is None:
            return
        if due is None or due < old[1]:
            old[1:] = [due, self.next_in_line()]

    @rule(key=keys, priority=st.integers(-2, 2), after=st.sampled_from([0, 0, 1, 2, 5]))
    def add(self, key: str, priority: int, after: float) -> None:
        self.queue.add(key, priority=priority, after=after)
        self.model_add(key, priority, after)

    @rule(key=keys, cap=st.sampled_from([1, 3, 100]))
    def retry(self, key: str, cap: float) -> None:
        failed = self.failures.get(key, 0)
        self.failures[key] = failed + 1
        expected = min(cap, 2.0**failed)
        assert self.queue.retry(key, cap=cap) == expected
        self.model_add(key, Priority.RETRY, expected)

    @rule(key=keys)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.failures.pop(key, None)

    @rule(key=keys)
    def discard(self, key: str) -> None:
        self.queue.discard(key)
        self.promote()
        self.model.pop(key, None)
        self.failures.pop(key, None)

    @rule(seconds=st.sampled_from([0.5, 1, 2, 10]))
    def pass_time(self, seconds: float) -> None:
        self.clock.jump(seconds)

    @rule()
    def take(self) -> None:
        self.promote()
        ready = [
            (entry[0], entry[2], key)
            for key, entry in self.model.items()
            if entry[1] is None and key not in self.in_flight
        ]
        expected = min(ready)[2] if ready else None
        assert self.queue.take() == expected
        if expected is not None:
            del self.model[expected]
            self.in_flight.add(expected)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.in_flight)))
        self.queue.done(key)
        self.in_flight.remove(key)

    @invariant()
    def nothing_is_lost_and_nothing_is_there_twice(self) -> None:
        self.promote()
        ready = sum(entry[1] is None for entry in self.model.values())
        assert len(self.queue) == ready
        assert self.queue.waiting == len(self.model) - ready
        assert set(self.queue) == set(self.model)
        assert self.queue.in_flight == self.in_flight


Model.TestCase.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
TestQueueAgainstModel = Model.TestCase
