"""What the metrics are told after a pass: what is a success, what is a look, and what is neither."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.base.test_telemetry import samples
from tests.runtime.clocks import ManualClock
from trimtab.base.errors import Transient, Waiting
from trimtab.base.telemetry import Telemetry
from trimtab.controllers.state import ObjectState
from trimtab.kube.errors import Unreachable
from trimtab.manifests.refs import Key
from trimtab.roles.attach import attach
from trimtab.runtime.controller import Again, Controller

KEY = Key("ns", "shop")


class Scene:
    """A controller with one app, attached to metrics; the test says what a pass finds and how the watch is."""

    def __init__(self) -> None:
        self.outcome: Exception | None = None
        self.state = ObjectState(True, "main@sha1:1", False, 60.0)
        self.informer = SimpleNamespace(live=True, store={KEY: None}, problem=None, add_handler=lambda _: None)
        self.clock = ManualClock()
        self.telemetry = Telemetry(clock=self.clock)
        self.controller = Controller("kustomization", self._reconcile, clock=self.clock)
        attach(
            SimpleNamespace(keep=lambda *_, **__: None),  # type: ignore[arg-type]
            self.controller,
            self.informer,  # type: ignore[arg-type]
            "Kustomization",
            lambda _: self.state,
            telemetry=self.telemetry,
            clock=self.clock,
            checks={},
        )

    async def _reconcile(self, _: Key) -> Again:
        if self.outcome is not None:
            raise self.outcome
        return Again(60.0)

    async def passed(self) -> dict[str, float]:
        """The series of the app after another minute and a pass."""
        await self.clock.advance(60)
        await self.controller._run(KEY)
        found: dict[str, Any] = {}
        for (name, labels), value in (await samples(self.telemetry)).items():
            if ("name", "shop") in labels or name.startswith("trimtab_verification"):
                found[name] = value
        return found


SUCCESS, LOOK = "trimtab_last_success_timestamp_seconds", "trimtab_last_observed_timestamp_seconds"


async def test_a_pass_that_found_all_well_is_a_look_and_a_success():
    scene = Scene()
    first, second = await scene.passed(), await scene.passed()
    assert second[SUCCESS] == second[LOOK] == first[SUCCESS] + 60


@pytest.mark.parametrize(
    "failure",
    [Transient("X", "failed"), Waiting("X", "waits"), RuntimeError("unforeseen")],
    ids=["failed", "waits", "bug"],
)
async def test_a_pass_that_failed_is_a_look_and_no_success(failure: Exception):
    scene = Scene()
    before = await scene.passed()
    scene.outcome = failure
    after = await scene.passed()
    assert (after[SUCCESS], after[LOOK]) == (before[SUCCESS], before[LOOK] + 60)


async def test_a_pass_over_what_cannot_be_watched_is_neither():
    scene = Scene()
    before = await scene.passed()
    scene.informer.live = False
    after = await scene.passed()
    assert (after[SUCCESS], after[LOOK]) == (before[SUCCESS], before[LOOK])
    assert after["trimtab_ready"] == -1


async def test_a_pass_that_could_not_reach_the_server_is_neither():
    scene = Scene()
    before = await scene.passed()
    scene.outcome = Unreachable("https://h", "no answer")
    after = await scene.passed()
    assert (after[SUCCESS], after[LOOK]) == (before[SUCCESS], before[LOOK])


async def test_what_is_held_is_told_and_a_refused_revision_counted_with_each_look():
    scene = Scene()
    scene.state = scene.state._replace(ready=False, prune_held=True, revision_held=True, unverified="refused")
    await scene.passed()
    found = await scene.passed()
    assert (found["trimtab_prune_held"], found["trimtab_revision_held"]) == (1, 1)
    assert found["trimtab_verification_failures_total"] == 2


async def test_an_app_that_is_gone_has_no_series_before_its_last_pass():
    scene = Scene()
    await scene.passed()
    scene.informer.store.clear()
    assert not [name for name, labels in await samples(scene.telemetry) if ("name", "shop") in labels]


async def test_what_a_term_in_office_left_in_its_queue_does_not_grow_old_here():
    scene = Scene()
    scene.controller.queue.add(KEY)
    await scene.clock.advance(90)
    oldest = ("trimtab_queue_oldest_seconds", (("queue", "kustomization"),))
    assert (await samples(scene.telemetry))[oldest] == 90
    scene.controller.queue.close()
    assert (await samples(scene.telemetry))[oldest] == 0
