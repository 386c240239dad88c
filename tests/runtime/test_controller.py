import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from trimtab.base import logs
from trimtab.base.errors import Terminal, Transient, Waiting
from trimtab.base.flows import current
from trimtab.base.tasks import Tasks
from trimtab.kube.errors import Forbidden, Unreachable
from trimtab.runtime.controller import Again, Controller, Done, Pass, Result

from .clocks import ManualClock, settle


class Harness:
    """A controller whose passes do what `script` says, and a record of what they did."""

    def __init__(self, clock: ManualClock, **options) -> None:
        self.clock = clock
        self.script: Callable[[str], Awaitable[Result]] | None = None
        self.started: list[tuple[str, float]] = []
        self.passes: list[Pass[str]] = []
        self.controller: Controller[str] = Controller("apps", self.reconcile, clock=clock, **options)
        self.controller.queue._chance = lambda: 0.0
        self.controller.on_pass(self.passes.append)
        self.tasks = Tasks("test")

    async def reconcile(self, key: str) -> Result:
        self.started.append((key, self.clock.monotonic() - 1000))
        if self.script is None:
            return Done()
        return await self.script(key)

    def times(self, key: str) -> list[float]:
        return [at for name, at in self.started if name == key]


@pytest.fixture
async def harness(clock):
    harness = Harness(clock, concurrency=2)
    harness.controller.start(harness.tasks)
    yield harness
    await harness.controller.stop(0)
    await harness.tasks.close()


def failing(*failures: Exception):
    """The outcomes of the first passes; after them all is done."""
    left = list(failures)

    async def script(_: str) -> Result:
        if left:
            raise left.pop(0)
        return Done()

    return script


async def test_done_is_not_looked_at_again(harness, clock):
    harness.controller.queue.add("web")
    await clock.advance(86_400)
    assert harness.times("web") == [0]


async def test_again_comes_back_after_its_time(harness, clock):
    async def script(_: str) -> Result:
        return Again(60)

    harness.script = script
    harness.controller.queue.add("web")
    await clock.advance(150)
    assert harness.times("web") == [0, 60, 120]


async def test_waiting_comes_back_after_its_time_and_is_no_failure(harness, clock):
    harness.script = failing(Waiting("DependencyNotReady", "db is not ready", after=5))
    harness.controller.queue.add("web")
    await clock.advance(100)
    assert harness.times("web") == [0, 5]
    assert not harness.passes[0].failed
    assert harness.passes[0].next_s == 5


async def test_what_may_heal_is_retried_with_growing_delays(harness, clock):
    failure = Transient("GitOperationFailed", "no route to host")
    harness.script = failing(failure, Unreachable("https://server", "refused"), failure)
    harness.controller.queue.add("web")
    await clock.advance(100)
    assert harness.times("web") == [0, 1, 3, 7]
    assert [done.failed for done in harness.passes] == [True, True, True, False]


async def test_a_success_starts_the_backoff_anew(harness, clock):
    harness.script = failing(Transient("X", "x"), Transient("X", "x"))
    harness.controller.queue.add("web")
    await clock.advance(100)
    harness.script = failing(Transient("X", "x"))
    harness.controller.queue.add("web")
    await clock.advance(100)
    assert harness.times("web") == [0, 1, 3, 100, 101]


async def test_a_look_that_finds_all_well_starts_the_backoff_anew(harness, clock):
    outcomes: list[Result | Exception] = [Transient("X", "x"), Transient("X", "x"), Again(50), Transient("X", "x")]

    async def script(_: str) -> Result:
        outcome = outcomes.pop(0) if outcomes else Done()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    harness.script = script
    harness.controller.queue.add("web")
    await clock.advance(100)
    assert harness.times("web") == [0, 1, 3, 53, 54]


async def test_what_the_other_side_asked_for_is_heeded(harness, clock):
    harness.script = failing(Transient("TooManyRequests", "slow down", retry_after=30))
    harness.controller.queue.add("web")
    await clock.advance(100)
    assert harness.times("web") == [0, 30]


async def test_the_cap_of_the_backoff_may_depend_on_the_key(clock):
    harness = Harness(clock, backoff_cap=lambda key: {"web": 2.0, "db": 8.0}[key])

    async def script(_: str) -> Result:
        raise Transient("X", "x")

    harness.script = script
    harness.controller.start(harness.tasks)
    harness.controller.queue.add("web")
    harness.controller.queue.add("db")
    await clock.advance(20)
    assert harness.times("web") == [0, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]
    assert harness.times("db") == [0, 1, 3, 7, 15]
    await harness.controller.stop(0)


async def test_a_terminal_failure_waits_for_a_change(harness, clock, caplog):
    harness.script = failing(Terminal("BuildFailed", "apps/web.yaml:3: tab"))
    harness.controller.queue.add("web")
    await clock.advance(86_400)
    assert harness.times("web") == [0]
    assert harness.passes[0].next_s is None
    assert "apps/web.yaml:3: tab" in caplog.text
    harness.controller.queue.add("web")
    await settle()
    assert len(harness.started) == 2


async def test_an_unforeseen_failure_is_logged_with_its_traceback_and_retried(harness, clock, caplog):
    harness.script = failing(ZeroDivisionError("oops"))
    harness.controller.queue.add("web")
    await clock.advance(10)
    assert harness.times("web") == [0, 1]
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def test_every_line_logged_by_a_pass_names_controller_and_object(harness, clock, caplog):
    caplog.handler.addFilter(logs.remember_subject)
    harness.script = failing(Transient("X", "no route"))
    harness.controller.queue.add("web")
    await settle()
    caplog.handler.removeFilter(logs.remember_subject)
    assert [(record.about, record.getMessage()) for record in caplog.records] == [
        ("apps web", "failed, again in 1.0 s: no route")
    ]


async def test_a_refusal_nobody_foresaw_is_retried_too(harness, clock):
    harness.script = failing(Forbidden(403, "Forbidden", "may not patch status"))
    harness.controller.queue.add("web")
    await clock.advance(10)
    assert harness.times("web") == [0, 1]


async def test_a_pass_that_awaited_something_cancelled_does_not_take_its_worker_along(harness, clock):
    async def script(_: str) -> Result:
        raise asyncio.CancelledError

    harness.script = script
    harness.controller.queue.add("web")
    await clock.advance(3)
    assert harness.times("web") == [0, 1, 3]


@pytest.mark.parametrize("deadline_s", [0.01, {"web": 0.01, "slow": 3600.0}.__getitem__], ids=["for-all", "per-key"])
async def test_a_pass_that_hangs_is_cut_off_and_retried(deadline_s):
    clock = ManualClock()
    harness = Harness(clock, concurrency=1, deadline_s=deadline_s)
    ended = asyncio.Event()
    harness.controller.on_pass(lambda _: ended.set())
    harness.script = lambda _: asyncio.Event().wait()
    harness.controller.start(harness.tasks)
    harness.controller.queue.add("web")
    await asyncio.wait_for(ended.wait(), 60)
    assert "cut off" in str(harness.passes[0].outcome)
    assert harness.controller.queue.waiting == 1
    await harness.controller.stop(0)


async def test_a_key_changed_during_its_pass_runs_again_and_never_twice_at_once(harness, clock):
    gate = asyncio.Event()
    running = 0

    async def script(_: str) -> Result:
        nonlocal running
        running += 1
        assert running == 1
        await gate.wait()
        running -= 1
        return Done()

    harness.script = script
    harness.controller.queue.add("web")
    await settle()
    for _ in range(3):
        harness.controller.queue.add("web")
    await settle()
    assert len(harness.started) == 1
    gate.set()
    await settle()
    assert len(harness.started) == 2


async def test_no_more_passes_run_at_once_than_there_are_workers(harness):
    gate = asyncio.Event()

    async def script(_: str) -> Result:
        await gate.wait()
        return Done()

    harness.script = script
    for key in "abcd":
        harness.controller.queue.add(key)
    await settle()
    assert len(harness.started) == 2
    gate.set()
    await settle()
    assert len(harness.started) == 4


async def test_workers_come_as_they_are_needed_and_stay(clock):
    harness = Harness(clock, concurrency=20)
    harness.controller.start(harness.tasks)
    await settle()
    assert len(harness.tasks) == 1
    for _ in range(3):
        harness.controller.queue.add("web")
        await settle()
    assert len(harness.tasks) == 2, "one at work, and one that waits"
    gate = asyncio.Event()
    harness.script = lambda _: gate.wait()
    for number in range(30):
        harness.controller.queue.add(str(number))
    await settle()
    assert (len(harness.tasks), len(harness.controller.queue.in_flight)) == (20, 20)
    gate.set()
    await settle()
    assert len(harness.started) == 33
    await harness.controller.stop(0)
    assert len(harness.tasks) == 0


async def test_stop_waits_for_passes_in_flight_and_starts_no_new_ones(harness):
    gate = asyncio.Event()

    async def script(_: str) -> Result:
        await gate.wait()
        return Done()

    harness.script = script
    for key in "abc":
        harness.controller.queue.add(key)
    await settle()
    stopping = asyncio.ensure_future(harness.controller.stop(5))
    await settle()
    assert not stopping.done()
    gate.set()
    assert await stopping == frozenset()
    assert [done.key for done in harness.passes] == ["a", "b"]
    assert "c" in harness.controller.queue


async def test_stop_cuts_off_what_does_not_end_in_time_and_a_later_start_takes_it_up(harness, clock):
    harness.script = lambda _: asyncio.Event().wait()
    harness.controller.queue.add("web")
    await settle()
    assert await harness.controller.stop(0.01) == {"web"}
    assert harness.controller.queue.in_flight == frozenset()
    assert len(harness.tasks) == 0
    harness.script = None
    harness.controller.start(harness.tasks)
    await clock.advance(2)
    assert [done.key for done in harness.passes] == ["web"]


async def test_a_worker_ends_although_its_pass_failed_at_something_while_it_was_ended(harness):
    async def script(_: str) -> Result:
        try:
            return await asyncio.Event().wait()
        finally:
            raise Unreachable("https://x", "this life is over")

    harness.script = script
    harness.controller.queue.add("web")
    await settle()
    await asyncio.wait_for(harness.tasks.close(), 60)
    assert len(harness.tasks) == 0


async def test_cancelling_stop_still_ends_the_workers(harness):
    harness.script = lambda _: asyncio.Event().wait()
    harness.controller.queue.add("web")
    await settle()
    stopping = asyncio.ensure_future(harness.controller.stop(60))
    await settle()
    stopping.cancel()
    await settle()
    assert len(harness.tasks) == 0


async def test_a_key_survives_a_cap_that_cannot_be_had(clock, caplog):
    def cap(_: str) -> float:
        raise KeyError("gone")

    harness = Harness(clock, concurrency=1, backoff_cap=cap)
    harness.script = failing(Transient("X", "x"))
    harness.controller.start(harness.tasks)
    harness.controller.queue.add("web")
    await settle()
    assert "web" in harness.controller.queue
    assert harness.controller.queue.in_flight == frozenset()
    await harness.controller.stop(0)
    await harness.tasks.close()


async def test_what_a_pass_asks_for_is_in_the_line_of_its_key_and_of_no_other() -> None:
    seen: list[tuple[str, str]] = []
    lasting = Tasks("lasting")

    async def note(what: str) -> None:
        seen.append((what, current()))

    async def reconcile(key: str) -> Result:
        await asyncio.gather(note(f"{key} at once"))
        await lasting.keep(partial(note, f"{key} for ever"), name=key)
        return Done()

    controller: Controller[str] = Controller("apps", reconcile, clock=ManualClock(), concurrency=2)
    controller.queue.add("a")
    controller.queue.add("b")
    tasks = Tasks("test")
    controller.start(tasks)
    await settle()
    await controller.stop()
    await tasks.close()
    assert sorted(seen) == [("a at once", "apps a"), ("a for ever", ""), ("b at once", "apps b"), ("b for ever", "")]
