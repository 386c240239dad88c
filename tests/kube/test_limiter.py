"""Who goes next."""

import asyncio

import pytest

from trimtab.kube.limiter import Limiter, Pace


async def test_a_lower_number_goes_first_and_equals_in_the_order_they_came():
    limiter = Limiter(1)
    order: list[str] = []

    async def go(name: str, priority: int) -> None:
        async with limiter.slot(priority):
            order.append(name)

    async with asyncio.TaskGroup() as group, limiter.slot():
        for name, priority in [("late", 9), ("first", 5), ("second", 5), ("urgent", 1)]:
            group.create_task(go(name, priority))
        await asyncio.sleep(0)
        assert limiter.waiting == 4
    assert order == ["urgent", "first", "second", "late"]


async def test_it_is_calm_while_next_to_nothing_is_under_way():
    limiter = Limiter(8)
    async with limiter.slot(), limiter.slot():
        assert limiter.calm
        async with limiter.slot():
            assert not limiter.calm
    assert limiter.calm


async def test_no_more_run_than_there_are_slots():
    limiter, running, most = Limiter(3), 0, 0

    async def go() -> None:
        nonlocal running, most
        async with limiter.slot():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(go())
    assert most == 3


async def test_a_slot_is_not_lost_when_the_one_it_was_handed_to_is_cancelled():
    limiter = Limiter(1)
    await limiter.acquire(5)
    waiting = [asyncio.ensure_future(limiter.acquire(5)) for _ in range(2)]
    await asyncio.sleep(0)
    limiter.release()  # now the first has the slot, and does not know it yet
    waiting[0].cancel()
    await asyncio.wait_for(waiting[1], 60)
    limiter.release()
    await asyncio.wait_for(limiter.acquire(5), 60)


async def test_one_who_gives_up_waiting_leaves_no_trace():
    limiter = Limiter(1)
    await limiter.acquire(5)
    waiting = asyncio.ensure_future(limiter.acquire(1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    assert limiter.waiting == 0
    limiter.release()
    await asyncio.wait_for(limiter.acquire(5), 60)


def test_a_limiter_without_slots_is_refused():
    with pytest.raises(ValueError, match="without slots"):
        Limiter(0)


async def served(limiter: Limiter, wanted: list[tuple[str, int]]) -> list[str]:
    """In which order flows are served, one slot at a time, that ask for so many requests each."""
    order: list[str] = []

    async def go(flow: str) -> None:
        async with limiter.slot(flow=flow):
            order.append(flow)

    async with asyncio.TaskGroup() as group, limiter.slot():
        for flow, number in wanted:
            for _ in range(number):
                group.create_task(go(flow))
        await asyncio.sleep(0)
    return order


async def test_flows_take_turns_however_much_each_of_them_asks():
    order = await served(Limiter(1), [("large", 100), ("small", 3), ("tiny", 1)])
    assert order[:7] == ["large", "small", "tiny", "large", "small", "large", "small"]
    assert order[7:] == ["large"] * 97


async def test_urgent_requests_go_before_those_of_every_flow():
    limiter, order = Limiter(1), list[str]()

    async def go(flow: str, priority: int) -> None:
        async with limiter.slot(priority, flow):
            order.append(f"{flow} {priority}")

    async with asyncio.TaskGroup() as group, limiter.slot():
        for flow, priority in [("a", 5), ("b", 50), ("a", 50), ("b", 0)]:
            group.create_task(go(flow, priority))
        await asyncio.sleep(0)
    assert order == ["b 0", "a 5", "b 50", "a 50"]


async def test_a_flow_that_was_sent_away_waits_and_holds_up_no_other():
    limiter, order = Limiter(4), list[str]()

    async def go(flow: str) -> None:
        async with limiter.slot(flow=flow):
            order.append(flow)

    async with asyncio.TaskGroup() as group:
        with limiter.pausing("busy"):
            for flow in ("busy", "busy", "calm"):
                group.create_task(go(flow))
            for _ in range(3):
                await asyncio.sleep(0)
            assert (order, limiter.waiting) == (["calm"], 2)
    assert order == ["calm", "busy", "busy"]


async def test_what_is_nobodys_is_not_slowed_down():
    limiter = Limiter(2)
    with limiter.pausing(""):
        await asyncio.wait_for(limiter.acquire(5), 60)


async def test_one_who_gives_up_in_the_line_of_a_flow_takes_nobody_along():
    limiter = Limiter(1)
    await limiter.acquire(5, "a")
    waiting = [asyncio.ensure_future(limiter.acquire(5, flow)) for flow in ("b", "b", "c")]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    await asyncio.sleep(0)
    limiter.release("a")
    await asyncio.wait_for(waiting[2], 60)
    limiter.release("c")
    assert repr(limiter) == "<Limiter 1 free, 0 waiting>"


def test_a_pace_is_halved_by_refusals_and_grows_by_answers():
    pace = Pace(32, 32.0)
    pace.refused()
    assert pace.allowed == 16
    pace.pausing = 1
    pace.refused()  # it went out together with the first
    assert (pace.allowed, pace.may_go) == (16, False)
    pace.pausing = 0
    for _ in range(10):
        pace.refused()
    assert (pace.allowed, pace.may_go) == (1, True)
    for _ in range(4):
        pace.answered()
    assert 2 < pace.allowed < 4
    for _ in range(1_000):
        pace.answered()
    assert pace.allowed == 32
