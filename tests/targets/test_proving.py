"""A process that begins asks the server once about each object that stands, and writes nothing."""

from typing import Any

import pytest

from tests.targets.conftest import OWNER, Cluster, desired
from trimtab.base.clock import SystemClock
from trimtab.manifests.refs import Body
from trimtab.targets.contract import Action, Change
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.inventory import Entry
from trimtab.targets.kubernetes.proving import provable, stands
from trimtab.targets.kubernetes.sighting import sight
from trimtab.targets.kubernetes.tracking import News, Tracked
from trimtab.targets.kubernetes.wish import Wish


def body(cluster: Cluster, **data: str) -> Body:
    metadata = {"name": "x", "namespace": cluster.namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"colour": "red", **data}}


async def found(cluster: Cluster, item: Desired) -> Tracked:
    """What the next process knows of `item` when its watch has shown it."""
    live = await cluster.get("ConfigMap", "x")
    assert live is not None
    return Tracked(item.ref, OWNER.key, seen=sight(live, SystemClock().now()))


async def proven(cluster: Cluster, item: Desired, tracked: Tracked) -> bool:
    return await stands(cluster.client, item, tracked, cluster.tracker, SystemClock())


async def test_what_stands_is_proven_and_its_answer_is_the_baseline(cluster: Cluster) -> None:
    item = desired(body(cluster))
    await cluster.apply(item)
    tracked = await found(cluster, item)
    before = await cluster.get("ConfigMap", "x")
    assert await proven(cluster, item, tracked)
    assert tracked.as_wished(item.digest)
    assert await cluster.get("ConfigMap", "x") == before
    await cluster.merge("ConfigMap", "x", {"data": {"colour": "blue"}})
    live = await cluster.get("ConfigMap", "x")
    assert live is not None
    assert tracked.observe(sight(live, SystemClock().now())) is News.DISTURBED


@pytest.mark.parametrize("change", [{"colour": "blue"}, {"colour": None}], ids=["value", "gone"])
async def test_what_was_changed_meanwhile_is_not_proven(cluster: Cluster, change: dict[str, Any]) -> None:
    item = desired(body(cluster))
    await cluster.apply(item)
    await cluster.merge("ConfigMap", "x", {"data": change})
    tracked = await found(cluster, item)
    assert not await proven(cluster, item, tracked)
    assert tracked.baseline is None


async def test_what_was_changed_and_changed_back_is_not_proven(cluster: Cluster) -> None:
    item = desired(body(cluster))
    await cluster.apply(item)
    for colour in ("blue", "red"):
        await cluster.merge("ConfigMap", "x", {"data": {"colour": colour}})
    assert not await proven(cluster, item, await found(cluster, item))


async def test_another_wish_is_not_proven(cluster: Cluster) -> None:
    item = desired(body(cluster, size="large"))
    await cluster.apply(item)
    tracked = await found(cluster, item)
    assert not await proven(cluster, desired(body(cluster)), tracked)


async def test_an_old_view_proves_nothing(cluster: Cluster) -> None:
    item = desired(body(cluster))
    await cluster.apply(item)
    tracked = await found(cluster, item)
    await cluster.merge("ConfigMap", "x", {"data": {"colour": "blue"}})
    assert not await proven(cluster, item, tracked)


async def test_what_the_server_refuses_is_left_to_who_applies_it(cluster: Cluster) -> None:
    item = desired(body(cluster))
    await cluster.apply(item)
    tracked = await found(cluster, item)
    assert not await proven(cluster, desired({**body(cluster), "data": {"not a key": "x"}}), tracked)
    assert tracked.in_flight == 0


def wish(item: Desired, uid: str, **options: Any) -> Wish:
    entry = Entry(item.ref, item.gvk.version, uid)
    return Wish(OWNER, None, (item,), {item.ref: entry}, prune=True, **options)  # type: ignore[arg-type]


async def test_only_what_nobody_has_looked_at_since_may_be_proven(cluster: Cluster) -> None:
    item = desired(body(cluster))
    await cluster.apply(item)
    tracked = await found(cluster, item)
    assert tracked.seen is not None
    uid, change = tracked.seen.uid, Change(item.ref, Action.CORRECT, item, "", None)
    assert provable(wish(item, uid), change, tracked)
    assert not provable(wish(item, "another"), change, tracked)
    assert not provable(wish(item, uid, drift="alert"), change, tracked)
    assert not provable(wish(item, uid, hands_off=True), change, tracked)
    assert not provable(wish(item, uid), change._replace(action=Action.APPLY), tracked)
    tracked.observe(None)
    assert not provable(wish(item, uid), change, tracked)
    tracked = await found(cluster, item)
    assert await proven(cluster, item, tracked)
    assert not provable(wish(item, uid), change, tracked)
