"""Many calls side by side: all answered in order, bounded, and ended by the first failure."""

import asyncio

import pytest

from trimtab.base.abreast import abreast


async def test_answers_come_in_the_order_of_the_items_whatever_ends_first():
    async def late(number):
        await asyncio.sleep(0.02 if number % 2 else 0)
        return number * 10

    assert await abreast(late, range(50), most=7) == [number * 10 for number in range(50)]
    assert await abreast(late, []) == []


async def test_no_more_than_the_limit_are_under_way():
    under_way, highest = 0, 0

    async def counted(_number):
        nonlocal under_way, highest
        under_way += 1
        highest = max(highest, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    await abreast(counted, range(100), most=5)
    assert highest == 5


async def test_after_a_failure_nothing_more_is_begun():
    begun = []

    async def fails(number):
        begun.append(number)
        await asyncio.sleep(0)
        if number == 1:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await abreast(fails, range(1000), most=3)
    assert len(begun) < 10


async def test_after_a_call_that_was_cancelled_nothing_more_is_begun():
    begun = []

    async def ends(number):
        begun.append(number)
        await asyncio.sleep(0)
        if number == 1:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await abreast(ends, range(1000), most=3)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(begun) < 10


async def test_a_failure_is_raised_when_what_was_under_way_has_ended():
    ended = []
    failed, may_end = asyncio.Event(), asyncio.Event()

    async def call(number):
        if number == 2:
            failed.set()
            raise ValueError("the first")
        await may_end.wait()
        ended.append(number)
        raise OSError("another")

    calls = asyncio.create_task(abreast(call, range(3)))
    await failed.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not calls.done()
    may_end.set()
    with pytest.raises(ValueError, match="the first"):
        await calls
    assert ended == [0, 1]


async def test_all_that_is_under_way_ends_when_it_is_not_wanted_any_more():
    ended = []

    async def call(number):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    calls = asyncio.create_task(abreast(call, range(3)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calls.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls
    assert ended == [0, 1, 2]
