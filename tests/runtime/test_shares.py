"""One slow side holds its share of the workers, and all others go on."""

import asyncio

import pytest

from trimtab.base.tasks import Tasks
from trimtab.runtime.controller import Controller, Done, Result
from trimtab.runtime.shares import Crowded, Shares

from .clocks import ManualClock, settle


def test_who_finds_no_room_is_woken_in_line_when_there_is_some() -> None:
    woken: list[str] = []
    shares = Shares[str](1, woken.append)
    with shares.of("a", "host slow", "namespace one"):
        for key in ("b", "c", "b"):
            with (
                pytest.raises(Crowded, match=f"{key}: 1 others wait for host slow already"),
                shares.of(key, "host slow", "namespace two"),
            ):
                raise AssertionError("there was no room")
        with shares.of("d", "host quick", "namespace two"):
            assert woken == []
    assert woken == ["b"]
    with shares.of("b", "host slow", "namespace two"):
        pass
    assert woken == ["b", "c"]


async def test_a_side_that_never_answers_stops_nobody_else() -> None:
    hung = asyncio.Event()
    done: list[str] = []

    async def reconcile(key: str) -> Result:
        side = key.partition("-")[0]
        with shares.of(key, side):
            if side == "slow":
                await hung.wait()
        done.append(key)
        return Done()

    controller: Controller[str] = Controller("c", reconcile, clock=ManualClock(), concurrency=4)
    shares = Shares[str](2, controller.queue.add)
    for key in [*(f"slow-{number}" for number in range(20)), "quick-1", "quick-2"]:
        controller.queue.add(key)
    tasks = Tasks("test")
    controller.start(tasks)
    await settle()
    assert done == ["quick-1", "quick-2"]
    hung.set()
    await settle()
    assert len(done) == 22, "each that left made room for the next, and no time had to pass"
    await controller.stop(0.0)
    await tasks.close()
