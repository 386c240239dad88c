import asyncio

import pytest

from trimtab.api.meta import ObjectMeta
from trimtab.base.errors import Transient
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound, Unreachable
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Gvk
from trimtab.runtime import finalizers

CONFIG_MAPS = Resource(Gvk("", "v1", "ConfigMap"), "configmaps", True)
OURS = "example.com/ours"  # ConfigMaps take only qualified names; our own kinds carry finalizers.fluxcd.io
THEIRS = "example.com/theirs"


async def meta(client: Client, home: str) -> ObjectMeta:
    return (await client.get(CONFIG_MAPS, "web", home, type=finalizers._Object)).metadata


async def create(client: Client, home: str, *carried: str) -> ObjectMeta:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "web", "namespace": home, "finalizers": list(carried)},
    }
    return (await client.create(CONFIG_MAPS, body, home, type=finalizers._Object)).metadata


async def touch(client: Client, home: str) -> None:
    await client.merge_patch(CONFIG_MAPS, "web", home, {"data": {"touched": "yes"}})


@pytest.mark.parametrize("carried", [(), (THEIRS,)])
async def test_ensure_adds_the_finalizer_beside_those_of_others(client, home, carried):
    added = (await finalizers.ensure(client, CONFIG_MAPS, await create(client, home, *carried), OURS)).metadata
    assert added.finalizers == (*carried, OURS)
    assert added == await meta(client, home)


async def test_ensure_writes_nothing_where_it_is_there(client, home, wire):
    seen = await create(client, home, OURS)
    wire.requests.clear()
    assert await finalizers.ensure(client, CONFIG_MAPS, seen, OURS) == (seen, False)
    assert wire.requests == []


async def test_ensure_with_an_old_view_looks_again_and_loses_nobody_elses_finalizer(client, home):
    seen = await create(client, home)
    await client.merge_patch(CONFIG_MAPS, "web", home, {"metadata": {"finalizers": [THEIRS]}})
    added = (await finalizers.ensure(client, CONFIG_MAPS, seen, OURS)).metadata
    assert added.finalizers == (THEIRS, OURS)


async def test_ensure_says_whether_what_was_looked_at_was_what_the_server_had(client, home):
    seen = await create(client, home)
    await touch(client, home)
    claim = await finalizers.ensure(client, CONFIG_MAPS, seen, OURS)
    assert not claim.undisturbed
    assert (await finalizers.ensure(client, CONFIG_MAPS, claim.metadata, THEIRS)).undisturbed


async def test_ensure_on_an_object_that_is_gone_or_made_anew_or_leaving_asks_for_another_look(client, home):
    seen = await create(client, home)
    await client.delete(CONFIG_MAPS, "web", home)
    with pytest.raises(Transient, match=f"ConfigMap {home}/web changed"):
        await finalizers.ensure(client, CONFIG_MAPS, seen, OURS)
    await create(client, home, THEIRS)
    with pytest.raises(Transient, match="changed"):
        await finalizers.ensure(client, CONFIG_MAPS, seen, OURS)
    seen = await meta(client, home)
    await client.delete(CONFIG_MAPS, "web", home)
    with pytest.raises(Transient, match="changed"):
        await finalizers.ensure(client, CONFIG_MAPS, seen, OURS)
    assert (await meta(client, home)).finalizers == (THEIRS,)


async def test_an_object_with_our_finalizer_stays_until_it_is_dropped(client, home):
    await finalizers.ensure(client, CONFIG_MAPS, await create(client, home), OURS)
    await client.delete(CONFIG_MAPS, "web", home)
    leaving = await meta(client, home)
    assert leaving.deleted
    await finalizers.drop(client, CONFIG_MAPS, leaving, OURS)
    with pytest.raises(NotFound):
        await meta(client, home)


async def test_drop_removes_ours_alone_also_with_an_old_view(client, home):
    seen = await create(client, home, OURS, THEIRS)
    await client.merge_patch(CONFIG_MAPS, "web", home, {"metadata": {"finalizers": [THEIRS, OURS, "example.com/3"]}})
    await finalizers.drop(client, CONFIG_MAPS, seen, OURS)
    assert (await meta(client, home)).finalizers == (THEIRS, "example.com/3")


async def test_drop_of_what_is_not_there_or_gone_is_nothing(client, home):
    seen = await create(client, home)
    await finalizers.drop(client, CONFIG_MAPS, seen, OURS)
    carrying = (await finalizers.ensure(client, CONFIG_MAPS, seen, OURS)).metadata
    await finalizers.drop(client, CONFIG_MAPS, carrying, OURS)
    await finalizers.drop(client, CONFIG_MAPS, carrying, OURS)
    await client.delete(CONFIG_MAPS, "web", home)
    await finalizers.drop(client, CONFIG_MAPS, carrying, OURS)


async def test_drop_does_not_touch_an_object_that_was_made_anew(client, home):
    old = (await finalizers.ensure(client, CONFIG_MAPS, await create(client, home), OURS)).metadata
    await client.delete(CONFIG_MAPS, "web", home)
    await finalizers.drop(client, CONFIG_MAPS, old, OURS)
    await create(client, home, OURS)
    await finalizers.drop(client, CONFIG_MAPS, old, OURS)
    assert (await meta(client, home)).finalizers == (OURS,)


async def test_many_writers_at_once_lose_nothing(client, home):
    seen = await create(client, home)
    names = [f"example.com/{number}" for number in range(3)]
    await asyncio.gather(*(finalizers.ensure(client, CONFIG_MAPS, seen, name) for name in names))
    assert sorted((await meta(client, home)).finalizers) == names


async def test_a_broken_wire_is_passed_on(client, home, wire):
    seen = await create(client, home)
    wire.cut = True
    with pytest.raises(Unreachable):
        await finalizers.ensure(client, CONFIG_MAPS, seen, OURS)
