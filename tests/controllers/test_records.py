"""Inventories on a real server: in the status, in Secrets beyond its limit, and what a crash or a vandal leaves."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.base.errors import Transient
from trimtab.base.http import AiohttpTransport, Request, Response, Transport
from trimtab.controllers.app import UNREAD, App
from trimtab.controllers.records import KEEP, LABEL, Records
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.manifests.refs import Body, Gvk, Key, Ref
from trimtab.targets.kubernetes import inventory
from trimtab.targets.kubernetes.inventory import INLINE, PART_BYTES, Entry

CLUSTER = "11111111-2222-3333-4444-555555555555"
KEY = Key("", "shop")


def entries(count: int, *, uids: bool = True) -> dict[Ref, Entry]:
    """As many ConfigMaps as it takes, with names and uids of the usual length."""
    found = {}
    for i in range(count):
        ref = Ref("", "ConfigMap", "a-namespace-of-usual-length", f"an-object-with-a-name-of-usual-length-{i:05}")
        found[ref] = Entry(ref, "v1", f"{i:08x}-0000-4000-8000-{i * 7919:012x}" if uids else "")
    return found


class Shop:
    """One app on the server, and what a controller would do about its record."""

    def __init__(self, client: Client, namespace: str, *, apart: bool = False) -> None:
        self.client, self.namespace = client, namespace
        self.records = Records(client, CLUSTER, apart=apart)

    async def found(self) -> None:
        spec = {"interval": "1h", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "repo"}}
        body = {"apiVersion": KUSTOMIZATION.api_version, "kind": "Kustomization", "metadata": {"name": "shop"}}
        resource = await self.client.discovery.find(KUSTOMIZATION)
        await self.client.create(resource, body | {"spec": spec}, self.namespace)

    async def app(self) -> Kustomization:
        resource = await self.client.discovery.find(KUSTOMIZATION)
        return await self.client.get(resource, "shop", self.namespace, type=Kustomization)

    async def read(self) -> App:
        """What a fresh process makes of it."""
        return await self.records.read(await self.app())

    async def switch(self, document: Body | None) -> None:
        resource = await self.client.discovery.find(KUSTOMIZATION)
        patch = {"status": {"inventory": document}}
        await self.client.merge_patch(resource, "shop", self.namespace, patch, subresource="status", type=dict)

    async def record(self, app: App, inventory: dict[Ref, Entry]) -> None:
        app.inventory = dict(inventory)
        document, app.recorded = await self.records.put(app)
        await self.switch(document)
        await self.records.tidy(app)

    async def secrets(self) -> list[Body]:
        resource = await self.client.discovery.find(Gvk("", "v1", "Secret"))
        return list((await self.client.list(resource, self.namespace, label_selector=f"{LABEL}=shop")).items)

    async def patch_secret(self, name: str, patch: Any) -> None:
        resource = await self.client.discovery.find(Gvk("", "v1", "Secret"))
        await self.client.merge_patch(resource, name, self.namespace, patch, type=dict)

    async def delete_secret(self, name: str) -> None:
        await self.client.delete(await self.client.discovery.find(Gvk("", "v1", "Secret")), name, self.namespace)


@pytest.fixture
async def shop(client: Client, home: str) -> Shop:
    shop = Shop(client, home)
    await shop.found()
    return shop


def names(secrets: Iterable[Body]) -> set[str]:
    return {secret["metadata"]["name"] for secret in secrets}


async def test_fifteen_thousand_and_one_objects_are_on_record_completely(shop: Shop) -> None:
    wanted = entries(15_001)
    await shop.record(await shop.read(), wanted)
    app = await shop.read()
    assert (app.problem, app.inventory) == ("", wanted)
    status = (await shop.app()).status.inventory
    assert status is not None
    assert (status.format, status.count, status.cluster) == (2, 15_001, CLUSTER)
    assert len(msgspec.json.encode(status)) < 4096, "the status and its echo stay small"
    held = await shop.secrets()
    assert {f"{shop.namespace}_{name}__Secret" for name in names(held)} == {entry.id for entry in status.entries}
    for secret in held:
        assert len(secret["data"]["inventory"]) * 3 / 4 <= 2 * PART_BYTES + 1024
        assert secret["metadata"]["finalizers"] == [KEEP]
        assert secret["metadata"]["ownerReferences"][0]["name"] == "shop"


async def test_up_to_the_limit_it_is_in_the_status_alone(shop: Shop) -> None:
    wanted = entries(INLINE)
    await shop.record(await shop.read(), wanted)
    assert (await shop.read()).inventory == wanted
    status = (await shop.app()).status.inventory
    assert status is not None
    assert (status.format, len(status.entries)) == (1, INLINE)
    assert await shop.secrets() == []


async def test_an_app_that_shrinks_comes_back_to_the_status_and_its_secrets_go(shop: Shop) -> None:
    await shop.record(await shop.read(), entries(INLINE + 1))
    assert await shop.secrets()
    app = await shop.read()
    await shop.record(app, entries(3))
    assert await shop.secrets() == []
    status = (await shop.app()).status.inventory
    assert status is not None
    assert (status.format, status.count, len(status.entries)) == (1, 0, 3)
    assert (await shop.read()).inventory == entries(3)


async def test_parts_that_did_not_change_are_not_written_again(shop: Shop) -> None:
    await shop.record(await shop.read(), entries(15_001))
    before = names(await shop.secrets())
    app = await shop.read()
    grown = dict(app.inventory)
    ref = Ref("", "ConfigMap", "n", "one-more")
    grown[ref] = Entry(ref, "v1", "u")
    await shop.record(app, grown)
    assert len(before & names(await shop.secrets())) == len(before) - 1
    assert (await shop.read()).inventory == grown


async def test_a_crash_before_the_switch_leaves_the_old_list_and_the_next_write_removes_the_rest(shop: Shop) -> None:
    old, new = entries(2_000), entries(4_000)
    await shop.record(await shop.read(), old)
    app = await shop.read()
    app.inventory = dict(new)
    await shop.records.put(app)  # the parts are written, and then the process is gone
    survivor = await shop.read()
    assert (survivor.problem, survivor.inventory) == ("", old)
    await shop.record(survivor, new)
    status = (await shop.app()).status.inventory
    assert status is not None
    assert len(await shop.secrets()) == len(status.entries)
    assert (await shop.read()).inventory == new


async def test_a_crash_after_the_switch_leaves_the_new_list(shop: Shop) -> None:
    new = entries(4_000)
    await shop.record(await shop.read(), entries(2_000))
    app = await shop.read()
    app.inventory = dict(new)
    document, _ = await shop.records.put(app)
    await shop.switch(document)  # and nothing is tidied
    survivor = await shop.read()
    assert (survivor.problem, survivor.inventory) == ("", new)


async def test_a_part_that_somebody_deletes_stays_until_its_lines_are_elsewhere(shop: Shop) -> None:
    wanted = entries(2_000)
    await shop.record(await shop.read(), wanted)
    for secret in await shop.secrets():
        await shop.delete_secret(secret["metadata"]["name"])
    app = await shop.read()
    assert (app.problem, app.inventory) == ("", wanted)
    await shop.record(app, app.inventory)
    assert all("deletionTimestamp" not in secret["metadata"] for secret in await shop.secrets())
    assert (await shop.read()).inventory == wanted


async def test_p13_a_part_that_is_gone_is_never_an_empty_list(shop: Shop) -> None:
    await shop.record(await shop.read(), entries(2_000))
    gone = (await shop.secrets())[0]["metadata"]["name"]
    await shop.patch_secret(gone, {"metadata": {"finalizers": None}})
    await shop.delete_secret(gone)
    app = await shop.read()
    assert gone in app.problem
    assert "is gone" in app.problem
    assert (app.inventory, app.recorded) == ({}, ""), "nothing is acted on, nothing is written over it"


async def test_p13_a_part_cannot_be_changed_and_another_in_its_place_is_not_trusted(shop: Shop) -> None:
    await shop.record(await shop.read(), entries(2_000))
    victim = (await shop.secrets())[0]
    name = victim["metadata"]["name"]
    with pytest.raises(Exception, match="immutable"):
        await shop.patch_secret(name, {"data": {"inventory": "e30="}})
    await shop.patch_secret(name, {"metadata": {"finalizers": None}})
    await shop.delete_secret(name)
    kept = {key: victim["metadata"][key] for key in ("name", "labels", "ownerReferences")}
    forged = {"metadata": kept, "type": victim["type"], "data": {"inventory": "e30="}}
    await shop.client.create(await shop.client.discovery.find(Gvk("", "v1", "Secret")), forged, shop.namespace)
    app = await shop.read()
    assert name in app.problem
    assert app.inventory == {}


async def test_p13_a_reference_that_was_cut_is_not_trusted(shop: Shop) -> None:
    await shop.record(await shop.read(), entries(15_001))
    listed = (await shop.app()).status.inventory
    assert listed is not None
    cut = [msgspec.to_builtins(entry) for entry in listed.entries][1:]
    await shop.switch({"entries": cut})
    assert "checksum" in (await shop.read()).problem


async def test_a_list_in_parts_is_not_read_from_the_status_alone(shop: Shop) -> None:
    await shop.record(await shop.read(), entries(2_000))
    assert App.of(await shop.app()).problem == UNREAD


async def test_what_cannot_be_recorded_is_refused_in_words(shop: Shop) -> None:
    powerless = Records(shop.client.acting_as(f"system:serviceaccount:{shop.namespace}:default"), CLUSTER)
    app = await shop.read()
    app.inventory = entries(INLINE + 1)
    with pytest.raises(Transient, match=r"1001 objects cannot be put on record .* forbidden"):
        await powerless.put(app)
    assert (await shop.read()).inventory == {}


async def test_the_secrets_are_let_go_with_the_app_and_can_be_read_until_then(shop: Shop) -> None:
    wanted = entries(2_000)
    await shop.record(await shop.read(), wanted)
    await shop.records.release(await shop.read())
    assert all("finalizers" not in secret["metadata"] for secret in await shop.secrets())
    assert (await shop.read()).inventory == wanted


class Died(Exception):
    """The process is gone: what it remembers is lost, what it sent may have arrived."""


class Mortal:
    """A network that dies with the nth request that writes: before it leaves, or after the server has acted on it."""

    def __init__(self, transport: Transport, nth: int, *, after: bool) -> None:
        self._transport, self._left, self._after = transport, nth, after

    async def send(self, request: Request) -> Response:
        if request.method == "GET":
            return await self._transport.send(request)
        self._left -= 1
        if self._left < 0 or (self._left == 0 and not self._after):
            raise Died
        response = await self._transport.send(request)
        if self._left == 0:
            await response.read()
            raise Died
        return response


@pytest.mark.parametrize("apart", [False, True], ids=["in the status", "under Flux's definitions"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_wherever_it_dies_the_old_list_or_the_new_one_is_there_whole(
    client: Client,
    transport: AiohttpTransport,
    kubeconfig: Path,
    home: str,
    monkeypatch: pytest.MonkeyPatch,
    after: bool,
    apart: bool,
) -> None:
    """From a short list to one in parts, to other parts, and back; every write in turn is the last one."""
    monkeypatch.setattr(inventory, "INLINE", 3)
    monkeypatch.setattr(inventory, "PART_BYTES", 256)
    everything = entries(12)
    few, some, many = (dict(list(everything.items())[:count]) for count in (2, 6, 12))
    shop = Shop(client, home, apart=apart)
    await shop.found()
    died = 0
    for old, new in ((few, many), (many, some), (some, few), (few, {})):
        for nth in range(1, 100):
            await shop.record(await shop.read(), old)
            mortal = Mortal(transport, nth, after=after)
            ghost = Shop(Client(config.load(kubeconfig), mortal), home, apart=apart)
            try:
                await ghost.record(await ghost.read(), new)
            except Died:
                died += 1
            else:
                break
            survivor = await shop.read()
            assert survivor.problem == "", f"write {nth}: {survivor.problem}"
            # a Secret is a write before its status: what only the status still lists comes back as if Flux had said it
            kept = survivor.inventory.keys()
            assert kept in (old.keys(), new.keys(), (old | new).keys()), f"write {nth}"
        await shop.record(await shop.read(), new)
        app = await shop.read()
        held = names(await shop.secrets())
        assert app.inventory == new
        assert held == {*app.parts.values(), *(["shop.inventory.trimtab.dev"] if apart else [])}, "nothing is left over"
    assert died > 20


async def test_two_deaths_between_record_and_copy_leave_more_than_was_recorded_last_and_never_less(
    client: Client, transport: AiohttpTransport, kubeconfig: Path, home: str
) -> None:
    """Under Flux's definitions the status is the copy: it is two lists behind then, and what it lists is looked at."""
    one, two, three = ({ref: entry} for ref, entry in entries(3).items())
    shop = Shop(client, home, apart=True)
    await shop.found()
    await shop.record(await shop.read(), one)
    for new in (two, three):
        ghost = Shop(Client(config.load(kubeconfig), Mortal(transport, 1, after=True)), home, apart=True)
        with pytest.raises(Died):
            await ghost.record(await ghost.read(), new)
    survivor = await shop.read()
    assert survivor.problem == ""
    assert survivor.inventory.keys() == (one | three).keys()
