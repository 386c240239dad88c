"""Before its first effect on a record a process asks the server, since its first view may be an old one."""

import pytest
from tests.controllers.test_records import Shop, entries

from trimtab.base.errors import Transient
from trimtab.controllers.basis import recall
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
    with pytest.raises(Transient, match="older than what the server has"):
        await recall(shop.client, app)
    assert app.stale
    assert not app.confirmed


async def test_a_record_that_is_gone_on_the_server_is_not_taken_for_ours(shop: Shop) -> None:
    await shop.record(await shop.read(), entries(2))
    app = await shop.read()
    await shop.switch(None)
    with pytest.raises(Transient):
        await recall(shop.client, app)


@pytest.mark.parametrize("count", [0, 2])
async def test_what_the_server_has_as_well_is_asked_once(shop: Shop, count: int) -> None:
    await shop.record(await shop.read(), entries(count))
    app = await shop.read()
    await recall(shop.client, app)
    assert app.confirmed
    await shop.record(await shop.read(), entries(3))
    await recall(shop.client, app)  # from here on it is we who write
