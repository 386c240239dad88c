"""The past of what was published is looked at when nobody waits."""

import asyncio

import pytest

from trimtab.base.clock import SystemClock
from trimtab.base.tasks import Tasks
from trimtab.controllers import lookback
from trimtab.controllers.lookback import Lookback
from trimtab.manifests.refs import Key


@pytest.fixture
def seen():
    return []


def see(seen, step):
    async def look():
        seen.append(step)
        if step == "fails":
            raise ValueError(step)

    return look


async def test_every_step_is_looked_at_once_and_in_order_though_one_of_them_fails(seen, monkeypatch):
    monkeypatch.setattr(lookback, "AFTER_S", 0.0)
    back, tasks = Lookback(SystemClock()), Tasks()
    for source, step in (("a", "first"), ("a", "fails"), ("a", "last"), ("b", "of another")):
        back.add(Key("ns", source), see(seen, step))
    back.controller.start(tasks)
    try:
        async with asyncio.timeout(60):
            while len(seen) < 4:
                await asyncio.sleep(0.01)
    finally:
        await tasks.close()
    assert [step for step in seen if step != "of another"] == ["first", "fails", "last"]


async def test_what_is_left_at_the_end_is_looked_at_before_it(seen):
    back, tasks = Lookback(SystemClock()), Tasks()
    back.controller.start(tasks)
    back.add(Key("ns", "a"), see(seen, "first"))
    back.add(Key("ns", "b"), see(seen, "second"))
    await back.stop(15.0)
    await tasks.close()
    assert seen == ["first", "second"]
