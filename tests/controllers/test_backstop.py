"""D11: everything applied is looked at once in the period, evenly, and nothing else is."""

import asyncio
from types import SimpleNamespace

from tests.runtime.clocks import ManualClock
from tests.targets.test_tracking import seen

from trimtab.controllers.backstop import Backstop
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes.tracking import News, Tracker

APP = Key("flux-system", "shop")


async def test_d11_objects_are_looked_at_one_after_the_other_over_the_period():
    told = []
    tracker = Tracker(lambda app, news: told.append(news), lambda ref: None)
    refs = [Ref("", "ConfigMap", "shop", f"c{number}") for number in range(4)]
    for ref in refs:
        tracker.track(ref, APP).applied("d1", seen(4))
    tracker.get(refs[3]).leave("alert", "d1", seen(4))
    clock = ManualClock()
    place = SimpleNamespace(target=SimpleNamespace(tracker=tracker))
    running = asyncio.ensure_future(Backstop([place], clock, 40.0).run())
    try:
        await clock.advance(40.0)
        assert told == []
        for number in range(3):
            await clock.advance(10.0)
            assert told == [News.DISTURBED] * (number + 1)
            assert not tracker.get(refs[number]).as_wished("d1")
        await clock.advance(10.0)
        # what was reported and left is not looked at again and again
        assert len(told) == 3
    finally:
        running.cancel()
