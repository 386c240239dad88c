"""The distance between requests, in the time that the test turns."""

import asyncio

import pytest

from tests.runtime.clocks import ManualClock, settle
from trimtab.images.pace import AT_ONCE, BURST, GAP_S, Held, Pace
from trimtab.remotes.oci.wire import TooMany


async def test_a_host_is_asked_a_few_things_at_a_time_and_others_meanwhile() -> None:
    pace, asking, other, over = Pace(ManualClock()), 0, 0, asyncio.Event()

    async def ask(host: str) -> None:
        nonlocal asking, other
        async with pace.turn(host):
            asking, other = asking + (host == "one"), other + (host == "two")
            await over.wait()

    tasks = [asyncio.ensure_future(ask("one")) for _ in range(10)] + [asyncio.ensure_future(ask("two"))]
    await settle()
    assert (asking, other) == (AT_ONCE, 1)
    over.set()
    await asyncio.gather(*tasks)
    assert asking == 10


async def test_after_a_burst_requests_keep_their_distance() -> None:
    clock = ManualClock()
    pace, done = Pace(clock), 0

    async def ask() -> None:
        nonlocal done
        async with pace.turn("one"):
            done += 1

    tasks = [asyncio.ensure_future(ask()) for _ in range(100)]
    await settle()
    assert done <= BURST + AT_ONCE
    await clock.advance(1)
    assert done <= BURST + AT_ONCE + 1 / GAP_S
    await clock.advance(10)
    assert done == 100
    await asyncio.gather(*tasks)


async def test_who_was_told_to_wait_waits_and_others_do_not() -> None:
    clock = ManualClock()
    pace = Pace(clock)

    async def refused(retry_after: float | None) -> None:
        async with pace.turn("one", "me"):
            raise TooMany("too many", retry_after=retry_after)

    async def ask(who: str) -> None:
        async with pace.turn("one", who):
            return

    with pytest.raises(TooMany):
        await refused(7.0)
    await ask("somebody else")
    with pytest.raises(Held) as held:
        await ask("me")
    assert held.value.seconds == 7
    clock.jump(7)
    with pytest.raises(TooMany):
        await refused(None)
    waiting = asyncio.ensure_future(ask("me"))
    await clock.advance(0.9)
    assert not waiting.done(), "slower than before"
    clock.jump(10)
    await clock.advance(10)
    await waiting
    for _ in range(60):
        task = asyncio.ensure_future(ask("me"))
        await clock.advance(2)
        await task
    again = [asyncio.ensure_future(ask("me")) for _ in range(BURST)]
    await settle()
    assert all(task.done() for task in again), "it has been patient for long"
