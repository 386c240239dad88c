"""Tasks that are meant to run for ever come back at once when they fail after a long time."""

import asyncio

import pytest

from trimtab.base import tasks
from trimtab.base.tasks import Tasks


async def test_a_failure_after_a_long_run_is_followed_by_the_shortest_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, pauses = asyncio.get_running_loop(), list[float]()
    now, real = [0.0], asyncio.sleep
    monkeypatch.setattr(loop, "time", lambda: now[0])

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await real(0)

    async def work() -> None:
        now[0] += 100.0
        if len(pauses) < 3:
            raise RuntimeError("after a long time")

    nursery = Tasks("test")
    monkeypatch.setattr(tasks.asyncio, "sleep", pause)
    await nursery.keep(work, name="work")
    assert pauses == [0.1, 0.1, 0.1]
