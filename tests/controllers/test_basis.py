"""The first write of a process about an app happens only on what the server has: its first view may be an old one."""

import pytest
from tests.controllers.test_records import Shop, entries

from trimtab.api.gvk import KUSTOMIZATION
from trimtab.controllers.basis import Outdated, confirm, outlived, recall
from trimtab.kube.client import Client


@pytest.fixture
async def shop(client: Client, home: str) -> Shop:
    shop = Shop(client, home)
    await shop.found()
    return shop


async def test_what_is_older_than_the_server_s_is_given_up(shop: Shop) -> None:
    early = await shop.app()
    await shop.record(await shop.read(), entries(2))
    app = await shop.records.read(early)
    with pytest.raises(Outdated, match="seen as it was some time ago"):
        await recall(shop.client, app)
    assert app.stale
    assert outlived(app, await shop.app()), "a newer view is read anew"


async def test_a_record_that_is_gone_on_the_server_is_not_taken_for_ours(shop: Shop) -> None:
    await shop.record(await shop.read(), entries(2))
    app = await shop.read()
    await shop.switch(None)
    with pytest.raises(Outdated):
        await recall(shop.client, app)


@pytest.mark.parametrize("count", [0, 2])
async def test_what_the_server_has_as_well_is_asked_once(shop: Shop, count: int) -> None:
    await shop.record(await shop.read(), entries(count))
    app = await shop.read()
    await recall(shop.client, app)
    assert app.seen is None
    await shop.record(await shop.read(), entries(3))
    await recall(shop.client, app)  # from here on it is we who write


async def test_a_list_of_another_cluster_is_no_sign_of_an_old_view(shop: Shop) -> None:
    """Its checksum is void here (P10): what was seen is compared, not what was made of it."""
    await shop.record(await shop.read(), entries(2))
    app = await shop.read()
    app.inventory, app.recorded = {}, ""
    await recall(shop.client, app)
    assert app.seen is None


async def test_an_app_that_is_gone_on_the_server_is_not_taken_for_confirmed(shop: Shop) -> None:
    app = await shop.read()
    resource = await shop.client.discovery.find(KUSTOMIZATION)
    await shop.client.delete(resource, "shop", shop.namespace)
    with pytest.raises(Outdated):
        await recall(shop.client, app)
    assert app.stale


async def test_nothing_is_deleted_on_a_view_that_is_an_old_one(shop: Shop) -> None:
    """Also where the lists agree: what was approved or refused may have been said since."""
    early = await shop.app()
    app = await shop.records.read(early)
    resource = await shop.client.discovery.find(KUSTOMIZATION)
    patch = {"status": {"lastAppliedRevision": "main@sha1:1"}}
    await shop.client.merge_patch(resource, "shop", shop.namespace, patch, subresource="status", type=dict)
    with pytest.raises(Outdated):
        await confirm(shop.client, early, app)
    assert app.stale
