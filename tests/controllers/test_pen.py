"""A status that follows late never ends up in the place of one that was written in a hurry."""

import asyncio
from typing import Any

import msgspec
import pytest

from trimtab.api.kustomizestatus import KustomizationStatus
from trimtab.base.clock import SystemClock
from trimtab.controllers.app import App
from trimtab.controllers.pen import Pen
from trimtab.controllers.records import Records
from trimtab.manifests.refs import Key

KEY = Key("home", "shop")


class Server:
    """Takes patches when the test says so."""

    def __init__(self) -> None:
        self.discovery = self
        self.status: dict[str, Any] = {}
        self.on_the_way: list[tuple[dict[str, Any], asyncio.Event]] = []

    async def find(self, _kind: Any) -> None:
        return None

    def with_priority(self, _priority: int) -> "Server":
        return self

    async def merge_patch(self, _resource: Any, _name: str, _namespace: str, patch: Any, **_: Any) -> None:
        answered = asyncio.Event()
        self.on_the_way.append((patch["status"], answered))
        await answered.wait()

    def take(self, patch: dict[str, Any]) -> None:
        for name, value in patch.items():
            if value is None:
                self.status.pop(name, None)
            else:
                self.status[name] = value


def status(applied: str, attempted: str, origin: str = "") -> KustomizationStatus:
    return KustomizationStatus(
        last_applied_revision=applied, last_attempted_revision=attempted, last_applied_origin_revision=origin
    )


FIRST, LATE, URGENT = status("1", "1"), status("2", "2", origin="git"), status("1", "3")


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class World:
    def __init__(self) -> None:
        self.server = Server()
        self.server.status = msgspec.to_builtins(FIRST)
        self.app = App(KEY, "u", FIRST, {}, "")
        client: Any = self.server
        self.pen = Pen(client, SystemClock(), Records(client, "c"), lambda _key: self.app)

    async def follow(self) -> None:
        """Write what is to follow late."""
        behind = self.pen.laggards._behind
        while behind:
            key = next(iter(behind))
            write = asyncio.create_task(self.pen._catch_up(key, behind.pop(key)))
            await turns()
            for patch, answered in self.server.on_the_way:
                self.server.take(patch)
                answered.set()
            self.server.on_the_way.clear()
            await write


@pytest.mark.parametrize(
    ("taken", "answered"), [((0, 1), (0, 1)), ((0, 1), (1, 0)), ((1, 0), (0, 1)), ((1, 0), (1, 0))]
)
async def test_the_urgent_status_stands_in_whichever_order_two_writes_are_taken_and_answered(taken, answered):
    world = World()
    writes = [asyncio.create_task(world.pen._catch_up(KEY, LATE))]
    await turns()
    writes.append(asyncio.create_task(world.pen.write(world.app, URGENT)))
    await turns()
    sent = world.server.on_the_way[:]
    world.server.on_the_way.clear()
    for which in taken:
        world.server.take(sent[which][0])
    for which in answered:
        sent[which][1].set()
        await writes[which]
        assert world.app.status in (LATE, URGENT)
    assert world.app.status == URGENT
    await world.follow()
    assert world.server.status == {name: value for name, value in msgspec.to_builtins(URGENT).items() if value}


async def test_a_status_that_is_as_it_was_again_takes_the_place_of_one_that_would_follow():
    world = World()
    world.pen.laggards.add(KEY, LATE)
    assert not await world.pen.write(world.app, FIRST)
    assert not world.pen.laggards
