"""The past of what was published is looked at when nobody waits."""

import asyncio

from trimtab.base.clock import SystemClock
from trimtab.base.tasks import Tasks
from trimtab.controllers import lookback
from trimtab.controllers.lookback import Lookback
from trimtab.manifests.refs import Key


async def test_every_step_is_looked_at_once_in_order_and_a_failure_of_one_does_not_stop_the_next(monkeypatch):
    monkeypatch.setattr(lookback, "AFTER_S", 0.0)
    back, seen, all_seen = Lookback(SystemClock()), [], asyncio.Event()

    async def see(step):
        seen.append(step)
        if step == "fails":
            raise ValueError(step)
        if step == "last":
            all_seen.set()

    tasks = Tasks()
    back.add(Key("ns", "a"), lambda: see("first"))
    back.add(Key("ns", "a"), lambda: see("second"))
    back.add(Key("ns", "b"), lambda: see("fails"))
    back.controller.start(tasks)
    try:
        async with asyncio.timeout(15):
            while "fails" not in seen:
                await asyncio.sleep(0)
            back.add(Key("ns", "c"), lambda: see("last"))
            await all_seen.wait()
    finally:
        await tasks.close()
    assert seen == ["first", "second", "fails", "last"]
