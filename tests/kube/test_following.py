"""One object of the real server, followed over a wire that fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.kube.conftest import CONFIG_MAPS, config_map
from tests.kube.faults import Canned, Faults
from trimtab.base.http import TransportError
from trimtab.kube.client import Client
from trimtab.kube.errors import Forbidden
from trimtab.kube.following import Following
from trimtab.manifests.refs import Body

PATH = "/configmaps"


@asynccontextmanager
async def following(client: Client, seen: Body, **more: Any) -> AsyncIterator[tuple[Following, asyncio.Event]]:
    woken = asyncio.Event()
    async with Following(more.get("view", client), CONFIG_MAPS, seen, woken) as one:
        yield one, woken


async def until(one: Following, woken: asyncio.Event, true: Any) -> None:
    async with asyncio.timeout(60):
        while not true():
            woken.clear()
            await one.look()
            if not true():
                # As whoever waits does: for news, and now and then.
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), 0.1)


@pytest.fixture
async def seen(client: Client, home: str) -> Body:
    return await client.create(CONFIG_MAPS, config_map("a", x="1"), home)


async def test_changes_are_seen_and_the_last_word_on_what_is_gone_stays(client: Client, home: str, seen: Body):
    async with following(client, seen) as (one, woken):
        assert one.last == seen
        await client.merge_patch(CONFIG_MAPS, "a", home, {"data": {"x": "2"}})
        await until(one, woken, lambda: one.last["data"] == {"x": "2"})
        assert not one.gone
        # Both before anybody looks.
        await client.merge_patch(CONFIG_MAPS, "a", home, {"data": {"x": "3"}})
        await client.delete(CONFIG_MAPS, "a", home)
        await until(one, woken, lambda: one.gone)
        assert one.last["data"] == {"x": "3"}
        assert one.last["kind"] == "ConfigMap"
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("following")]


async def test_another_object_of_the_same_name_is_not_it(client: Client, home: str, seen: Body):
    await client.delete(CONFIG_MAPS, "a", home)
    await client.create(CONFIG_MAPS, config_map("a", x="9"), home)
    async with following(client, seen) as (one, woken):
        await until(one, woken, lambda: one.gone)
        assert one.last == seen


async def test_what_may_not_be_watched_is_read_and_less_and_less_often(
    client: Client, home: str, seen: Body, faults: Faults
):
    async def refuse(request: Any) -> Canned | None:
        if "metadata.name" not in request.url.query.get("fieldSelector", ""):
            return None
        return Canned(403, b'{"message":"you cannot watch","reason":"Forbidden","code":403}')

    faults.faults.append(refuse)
    async with following(client, seen) as (one, woken):
        await client.merge_patch(CONFIG_MAPS, "a", home, {"data": {"x": "2"}})
        await until(one, woken, lambda: one.last["data"] == {"x": "2"})
        path = f"/namespaces/{home}/configmaps/a"
        before = len(faults.sent("GET", path))
        for _ in range(100):
            await one.look()
        assert len(faults.sent("GET", path)) == before, "not before the pause is over"
        await client.delete(CONFIG_MAPS, "a", home)
        await until(one, woken, lambda: one.gone)
        assert len(faults.sent("GET", path)) <= before + 3


async def test_who_may_neither_watch_nor_read_is_told_so(client: Client, home: str, seen: Body):
    nobody = client.acting_as(f"system:serviceaccount:{home}:default")
    async with following(client, seen, view=nobody) as (one, woken):
        with pytest.raises(Forbidden, match="cannot get resource"):
            await until(one, woken, lambda: one.gone)


async def test_a_server_that_is_away_is_no_proof_that_the_object_is_gone(
    client: Client, home: str, seen: Body, faults: Faults
):
    away = [True]

    async def refuse(request: Any) -> None:
        if away and PATH in request.url.path:
            raise TransportError("refused")

    faults.faults.append(refuse)
    async with following(client, seen) as (one, woken):
        await until(one, woken, lambda: one.problem)
        assert "cannot be reached: refused" in one.problem
        assert (one.gone, one.last) == (False, seen)
        away.clear()
        await client.delete(CONFIG_MAPS, "a", home)
        await until(one, woken, lambda: one.gone)
