"""What new apps are about to apply, on a real server: written together, found after a crash, gone with the record."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from trimtab.api.installed import INTENTS
from trimtab.api.kustomize import Kustomization
from trimtab.api.kustomizestatus import Inventory, KustomizationStatus
from trimtab.api.meta import ObjectMeta
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport, Request, Response, Transport
from trimtab.base.tasks import Tasks
from trimtab.controllers import intents
from trimtab.controllers.app import App
from trimtab.controllers.holders import CONFIG_MAP
from trimtab.controllers.intents import MOST_OBJECTS, Intents
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.manifests.conditions import Condition
from trimtab.manifests.refs import Body, Key, Ref
from trimtab.targets.kubernetes.inventory import Entry

CLUSTER = "11111111-2222-3333-4444-555555555555"


def new(name: str, objects: int = 2) -> App:
    refs = [Ref("apps", "Deployment", "shop", f"{name}-{number}") for number in range(objects)]
    owned = {ref: Entry(ref, "v1") for ref in refs}
    return App(Key("shop", name), f"uid-of-{name}", KustomizationStatus(), owned, "", cluster=CLUSTER)


def blank(name: str) -> App:
    """The same app, as a process that was not there before sees it."""
    return App(Key("shop", name), f"uid-of-{name}", KustomizationStatus(), {}, "")


def seen(name: str, uid: str, inventory: Inventory | None = None) -> Kustomization:
    metadata = ObjectMeta(name=name, namespace="shop", uid=uid)
    spec = {"interval": "1h", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "repo"}}
    app = msgspec.convert({"metadata": msgspec.to_builtins(metadata), "spec": spec}, type=Kustomization)
    return msgspec.structs.replace(app, status=KustomizationStatus(inventory=inventory))


class Desk:
    """Processes that put intents down in one namespace, and what is there."""

    def __init__(self, client: Client, namespace: str, tasks: Tasks) -> None:
        self.client, self.namespace, self.tasks = client, namespace, tasks
        self.objects: dict[Key, Kustomization] = {}

    def process(self, *, shared: bool = False) -> Intents:
        return Intents(self.client, self.namespace, self.objects, SystemClock(), self.tasks, shared=shared)

    async def page(self, number: int = 0) -> Body | None:
        resource = await self.client.discovery.find(CONFIG_MAP)
        try:
            return await self.client.get(resource, INTENTS[number], self.namespace)
        except NotFound:
            return None

    async def lines(self, number: int = 0) -> list[str]:
        page = await self.page(number)
        return page["data"]["intents"].splitlines() if page else []

    async def write(self, text: str, number: int = 0) -> None:
        resource = await self.client.discovery.find(CONFIG_MAP)
        await self.client.merge_patch(resource, INTENTS[number], self.namespace, {"data": {"intents": text}}, type=dict)


@pytest.fixture
async def desk(client: Client, home: str) -> AsyncIterator[Desk]:
    tasks = Tasks("test")
    yield Desk(client, home, tasks)
    await tasks.close()


async def test_what_was_intended_is_found_by_the_next_process(desk: Desk) -> None:
    app = new("cart", 3)
    assert await desk.process().take(app)
    found = blank("cart")
    await desk.process().recall(found)
    assert (found.inventory, found.cluster) == (app.inventory, CLUSTER)
    assert found.recorded == "", "its status has still to say so"


async def test_those_who_begin_at_the_same_moment_go_with_one_write(desk: Desk) -> None:
    process = desk.process()
    assert await asyncio.gather(*(process.take(new(f"app-{number}")) for number in range(50))) == [True] * 50
    page = await desk.page()
    assert page is not None
    assert len(page["data"]["intents"].splitlines()) == 50
    assert page["metadata"]["labels"] == {"app.kubernetes.io/part-of": "trimtab"}
    assert await process.take(new("late"))
    again = await desk.page()
    assert again is not None
    assert again["metadata"]["uid"] == page["metadata"]["uid"]
    assert len(again["data"]["intents"].splitlines()) == 51


async def test_an_app_with_a_record_of_its_own_is_left_out_of_the_next_write(desk: Desk) -> None:
    process, first = desk.process(), new("first")
    assert await process.take(first)
    assert process.holds(first)
    process.settle(first.uid)
    assert not process.holds(first)
    assert await process.take(new("second"))
    assert [line for line in await desk.lines() if "uid-of-first" in line] == []
    assert [line for line in await desk.lines() if "uid-of-second" in line] != []


async def test_only_what_is_on_record_is_held(desk: Desk) -> None:
    process, app = desk.process(), new("cart")
    assert await process.take(app)
    more = Ref("", "Secret", "shop", "late")
    app.inventory = app.inventory | {more: Entry(more, "v1")}
    assert not process.holds(app)


async def test_what_is_not_new_is_not_taken(desk: Desk) -> None:
    recorded, told, unconfirmed, long = new("a"), new("b"), new("c"), new("d", MOST_OBJECTS + 1)
    recorded.recorded = "sha256:x"
    told.status = KustomizationStatus(conditions=(Condition(type="Ready", status="False", reason="R", message="m"),))
    unconfirmed.seen = KustomizationStatus()
    process = desk.process()
    for app in (recorded, told, unconfirmed, long):
        assert not await process.take(app)
    assert not await desk.process(shared=True).take(new("e")), "other processes read the status"
    assert await desk.page() is None, "nothing was asked"
    assert await process.take(new("f", MOST_OBJECTS))


async def test_where_there_is_no_room_it_is_not_taken(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intents, "MOST_BYTES", 600)
    process = desk.process()
    taken = await asyncio.gather(*(process.take(new(f"app-{number}")) for number in range(5)))
    assert 0 < sum(taken) < 5, "a write is one page"
    more = [await process.take(new(f"late-{number}")) for number in range(20)]
    assert 0 < sum(more) < 20
    pages = [await desk.lines(number) for number in range(len(INTENTS))]
    assert sum(map(len, pages)) == sum(taken) + sum(more)
    assert all(0 < len("\n".join(lines)) <= 600 for lines in pages)
    before = [await desk.page(number) for number in range(len(INTENTS))]
    assert not await process.take(new("late-20"))
    assert before == [await desk.page(number) for number in range(len(INTENTS))], "nothing was written for it"
    process.settle("uid-of-app-0")
    assert await process.take(new("app-0")), "there is room again"


async def test_lines_of_another_process_stay_and_what_it_wrote_meanwhile_is_not_written_over(desk: Desk) -> None:
    old, young = desk.process(), desk.process()
    assert await old.take(new("first"))
    assert await young.take(new("second"))
    assert await old.take(new("third")), "on a version that it has not seen: it looks again"
    assert {line.split('"')[3] for line in await desk.lines()} == {f"uid-of-{n}" for n in ("first", "second", "third")}


async def test_a_line_that_somebody_has_damaged_is_left_out_and_the_others_are_read(desk: Desk) -> None:
    process = desk.process()
    assert await asyncio.gather(process.take(new("good")), process.take(new("bad"))) == [True, True]
    good, bad = await desk.lines()
    await desk.write("\n".join(["{", bad.replace("_apps_", "*"), good]))
    after = desk.process()
    found, lost = blank("good"), blank("bad")
    await after.recall(found)
    await after.recall(lost)
    assert found.inventory == new("good").inventory
    assert lost.inventory == {}


async def test_what_has_a_record_or_is_another_by_now_is_over(desk: Desk) -> None:
    before = desk.process()
    names = ("recorded", "anew", "new", "unseen")
    assert all(await asyncio.gather(*(before.take(new(name)) for name in names)))
    desk.objects = {
        Key("shop", "recorded"): seen("recorded", "uid-of-recorded", Inventory(entries=())),
        Key("shop", "anew"): seen("anew", "another-uid"),
        Key("shop", "new"): seen("new", "uid-of-new"),
    }
    after = desk.process()
    for name in names:
        app = blank(name)
        await after.recall(app)
        assert bool(app.inventory) is (name in ("new", "unseen")), name


async def test_what_has_a_record_is_not_asked_about(desk: Desk) -> None:
    process = desk.process()
    assert await process.take(new("cart"))
    app = blank("cart")
    app.recorded = "sha256:x"
    await desk.process().recall(app)
    assert app.inventory == {}


class Counting:
    """Passes everything on, and counts what is asked of ConfigMaps."""

    def __init__(self, inner: Transport) -> None:
        self._inner, self.asked = inner, 0

    async def send(self, request: Request) -> Response:
        self.asked += "/configmaps/" in request.url.path
        return await self._inner.send(request)


async def test_where_it_may_not_be_written_nothing_is_taken_and_not_asked_for_each(
    kubeconfig: Path, transport: AiohttpTransport, desk: Desk
) -> None:
    counting = Counting(transport)
    stranger = Client(config.load(kubeconfig), counting).acting_as("a-stranger")
    process = Intents(stranger, desk.namespace, {}, SystemClock(), desk.tasks)
    assert not await process.take(new("first"))
    asked = counting.asked
    assert asked
    assert not await process.take(new("second"))
    assert counting.asked == asked
    third = blank("third")
    await Intents(stranger, desk.namespace, {}, SystemClock(), desk.tasks).recall(third)
    assert counting.asked > asked
    assert third.inventory == {}, "an app without a record goes on under the rights of an earlier version"


async def test_who_is_called_off_does_not_take_the_others_with_it(desk: Desk) -> None:
    process = desk.process()
    first = asyncio.create_task(process.take(new("first")))
    second = asyncio.create_task(process.take(new("second")))
    await asyncio.sleep(0)
    first.cancel()
    assert await second
    assert len(await desk.lines()) == 2, "what is on record and not done does no harm"


class Held:
    """Passes everything on, but writes of ConfigMaps not before `open`."""

    def __init__(self, inner: Transport) -> None:
        self._inner, self.held, self.open = inner, asyncio.Event(), asyncio.Event()

    async def send(self, request: Request) -> Response:
        if request.method != "GET" and "/configmaps" in request.url.path:
            self.held.set()
            await self.open.wait()
        return await self._inner.send(request)


async def test_what_is_on_the_way_is_not_on_record_also_where_its_pass_was_called_off(
    kubeconfig: Path, transport: AiohttpTransport, desk: Desk
) -> None:
    wire = Held(transport)
    process = Intents(Client(config.load(kubeconfig), wire), desk.namespace, {}, SystemClock(), desk.tasks)
    app = new("cart")
    first = asyncio.create_task(process.take(app))
    await wire.held.wait()
    first.cancel()
    assert not process.holds(app), "the server has not answered"
    again = asyncio.create_task(process.take(app))
    await asyncio.sleep(0)
    assert not again.done()
    wire.open.set()
    assert await again
    assert process.holds(app)
    assert len(await desk.lines()) == 1
