"""One run at a time for an app, by a Lease of a real API server."""

import asyncio

import pytest

from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient, Waiting
from trimtab.controllers.alone import Alone
from trimtab.manifests.refs import Key


async def test_the_second_waits_for_the_first_is_told_for_whom_and_gives_up_in_time(client, home):
    key, clock, told, order = Key(home, "shop"), SystemClock(), [], []
    first, second = (Alone(client, key, name, clock, told.append) for name in ("first", "second"))
    inside, leave = asyncio.Event(), asyncio.Event()

    async def long():
        inside.set()
        order.append("first")
        await leave.wait()
        return 1

    async def short():
        order.append("second")
        return 2

    running = asyncio.ensure_future(first.run(long, 60.0))
    await inside.wait()
    assert first.remaining() > 0 == second.remaining()
    with pytest.raises(Waiting, match="is being applied by first"):
        await second.run(short, 3.0)
    leave.set()
    assert (await running, await second.run(short, 60.0)) == (1, 2)
    assert (order, told) == (["first", "second"], ["first"])
    assert first.remaining() == second.remaining() == 0


async def test_who_may_not_have_the_lease_is_told_so_and_does_not_wait_for_nobody(client, home, monkeypatch):
    monkeypatch.setattr("trimtab.controllers.alone._HOPE_S", 0.5)
    stranger = client.acting_as("somebody")
    alone = Alone(stranger, Key(home, "shop"), "me", SystemClock(), lambda _: None)
    with pytest.raises(Transient, match=r"cannot be had: .*forbidden"):
        await alone.run(lambda: asyncio.sleep(0, "done"), 60.0)


async def test_what_the_work_raises_is_raised_and_the_lease_is_free(client, home):
    async def broken():
        raise Waiting("X", "something")

    alone = Alone(client, Key(home, "shop"), "me", SystemClock(), lambda _: None)
    with pytest.raises(Waiting, match="something"):
        await alone.run(broken, 60.0)
    other = Alone(client, Key(home, "shop"), "other", SystemClock(), lambda _: None)
    assert await other.run(lambda: asyncio.sleep(0, "done"), 60.0) == "done"
