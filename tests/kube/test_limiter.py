"""Who goes next."""

import asyncio

import pytest

from trimtab.kube.limiter import Limiter


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
    await asyncio.wait_for(waiting[1], 1)
    limiter.release()
    await asyncio.wait_for(limiter.acquire(5), 1)


async def test_one_who_gives_up_waiting_leaves_no_trace():
    limiter = Limiter(1)
    await limiter.acquire(5)
    waiting = asyncio.ensure_future(limiter.acquire(1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    assert limiter.waiting == 0
    limiter.release()
    await asyncio.wait_for(limiter.acquire(5), 1)


def test_a_limiter_without_slots_is_refused():
    with pytest.raises(ValueError, match="without slots"):
        Limiter(0)
