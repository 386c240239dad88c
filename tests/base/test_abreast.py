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
    await asyncio.sleep(0.01)
    assert len(begun) < 10
