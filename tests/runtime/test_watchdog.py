import pytest

from trimtab.base.errors import Terminal
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.runtime.controller import Again, Controller, Done
from trimtab.runtime.watchdog import Watchdog

from .clocks import settle


class Scene:
    def __init__(self, clock) -> None:
        self.outcome: dict[str, object] = {}
        self.expected: dict[str, float] = {}
        self.passes: list[str] = []
        self.controller: Controller[str] = Controller("apps", self.reconcile, clock=clock, concurrency=1)
        self.telemetry = Telemetry()
        self.watchdog = Watchdog(self.controller, self.intervals, clock, every_s=60, telemetry=self.telemetry)
        self.tasks = Tasks("test")

    async def reconcile(self, key: str):
        self.passes.append(key)
        outcome = self.outcome.get(key, Again(60))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def intervals(self) -> dict[str, float]:
        return dict(self.expected)


@pytest.fixture
async def scene(clock):
    scene = Scene(clock)
    scene.controller.start(scene.tasks)
    scene.tasks.keep(scene.watchdog.run, name="watchdog")
    yield scene
    await scene.tasks.close()


async def test_an_object_whose_timer_was_lost_is_found_told_and_queued_again(scene, clock, caplog):
    scene.expected = {"web": 60.0}
    scene.outcome = {"web": Done()}  # the mistake: nothing plans the next pass
    scene.controller.queue.add("web")
    await clock.advance(180)
    assert scene.passes == ["web"]
    assert scene.watchdog.check() is None
    await clock.advance(61)
    assert scene.passes == ["web", "web"]
    assert "apps web was not looked at for 4m" in caplog.text
    assert b'trimtab_lost_objects_total{kind="apps"} 1.0' in await scene.telemetry.render()


async def test_an_object_that_no_event_ever_announced_is_found(scene, clock):
    scene.expected = {"web": 60.0}
    await clock.advance(301)
    assert scene.passes[0] == "web"


async def test_objects_that_are_looked_at_in_time_are_left_alone(scene, clock, caplog):
    scene.expected = {"web": 60.0}
    scene.controller.queue.add("web")
    await clock.advance(600)
    assert scene.passes == ["web"] * 11
    assert caplog.text == ""
    assert scene.watchdog.check() is None


async def test_a_terminal_failure_waits_for_a_person_not_for_the_watchdog(scene, clock):
    scene.expected = {"web": 60.0}
    scene.outcome = {"web": Terminal("BuildFailed", "no")}
    scene.controller.queue.add("web")
    await clock.advance(3600)
    assert scene.passes == ["web"]
    assert scene.watchdog.check() is None


async def test_lost_objects_show_in_the_check_until_a_worker_came_to_them(clock):
    scene = Scene(clock)  # nobody works
    scene.expected = {"web": 60.0}
    await scene.watchdog.inspect()
    clock.jump(200)
    assert await scene.watchdog.inspect() == {"web"}
    assert "1 objects of apps" in (scene.watchdog.check() or "")
    scene.controller.start(scene.tasks)
    await settle()
    assert scene.watchdog.check() is None
    await scene.tasks.close()


async def test_a_deleted_object_is_not_missed(scene, clock):
    scene.expected = {"web": 60.0}
    await clock.advance(120)
    scene.expected = {}
    await clock.advance(600)
    assert scene.passes == []


async def test_time_on_standby_is_no_neglect(clock):
    scene = Scene(clock)
    scene.expected = {"web": 60.0}
    await scene.watchdog.inspect()
    clock.jump(86_400)
    scene.tasks.keep(scene.watchdog.run, name="watchdog")
    await clock.advance(61)
    assert scene.watchdog.check() is None
    await scene.tasks.close()


async def test_a_watchdog_that_sleeps_is_noticed_itself(clock):
    scene = Scene(clock)
    clock.jump(181)
    assert "self-check of apps has not run for 3m1s" in (scene.watchdog.check() or "")
