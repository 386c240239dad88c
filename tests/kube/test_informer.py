"""A shared view of the objects of a kind against the real server, over a wire that fails."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.kube.conftest import CONFIG_MAPS, config_map
from tests.kube.faults import Canned, Faults
from tests.kube.test_discovery import definition
from trimtab.base.http import TransportError
from trimtab.base.tasks import Tasks
from trimtab.kube.client import Client
from trimtab.kube.discovery import CRDS
from trimtab.kube.informer import Applied, Deleted, Event, Informer, State
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Gvk, Key


@dataclass
class Hurry:
    """Wall and monotonic time as they are, but pauses a hundred times shorter."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


@pytest.fixture
def hasty(client: Client, faults: Faults) -> Client:
    return Client(client.config, faults, clock=Hurry(), seed=1)


class Listener:
    """Keeps what an informer tells: + new, ~ changed, - deleted, ? found missing."""

    def __init__(self, informer: Informer[Body]) -> None:
        self.events: list[str] = []
        self.states: list[State] = []
        self.informer = informer
        informer.add_handler(self.hear)
        informer.add_state_handler(self.states.append)

    def hear(self, event: Event[Body]) -> None:
        match event:
            case Applied(old, new):
                name = new["metadata"]["name"]
                self.events.append(f"{'+' if old is None else '~'}{name}")
            case Deleted(old, final):
                self.events.append(f"{'-' if final else '?'}{old['metadata']['name']}")


async def until(check: Callable[[], Any], timeout: float = 60.0) -> None:
    async with asyncio.timeout(timeout):
        while not check():
            await asyncio.sleep(0.01)


def informer_of(client: Client, home: str, **options: Any) -> Informer[Body]:
    options = {"label_selector": "t", "decode": codec.decode} | options
    return Informer(client, CONFIG_MAPS, namespace=home, **options)


async def put(client: Client, home: str, name: str, **data: str) -> Body:
    return await client.apply(CONFIG_MAPS, name, home, config_map(name, {"t": "1"}, **data), field_manager="t")


@pytest.mark.parametrize("streaming", [True, False])
async def test_the_store_follows_the_cluster(client: Client, tasks: Tasks, home: str, streaming: bool):
    for number in range(5):
        await put(client, home, f"a{number}")
    await client.create(CONFIG_MAPS, config_map("other"), home)
    informer = informer_of(client, home, streaming=streaming, page=2)
    listener = Listener(informer)
    informer.start(tasks)
    await asyncio.wait_for(informer.synced.wait(), 60)
    await until(lambda: informer.state is State.LIVE)
    assert {body["kind"] for body in informer.store.values()} == {"ConfigMap"}
    assert sorted(informer.store) == [Key(home, f"a{number}") for number in range(5)]
    assert sorted(listener.events) == [f"+a{number}" for number in range(5)]
    listener.events.clear()
    await put(client, home, "a0", x="1")
    await client.delete(CONFIG_MAPS, "a1", home)
    await client.merge_patch(CONFIG_MAPS, "a2", home, {"metadata": {"labels": {"t": None}}})
    await until(lambda: len(listener.events) == 3)
    assert listener.events == ["~a0", "-a1", "-a2"]
    assert informer.store[(home, "a0")]["data"] == {"x": "1"}
    assert informer.problem is None
    await informer.stop()
    assert informer.state is State.IDLE


async def test_what_nobody_keeps_up_is_not_live_whatever_was_seen_last(client: Client, home: str):
    tasks, informer = Tasks("term"), informer_of(client, home)
    assert not informer.live
    informer.start(tasks)
    await until(lambda: informer.live)
    await tasks.close()
    assert (informer.state, informer.live) == (State.LIVE, False)


async def test_one_object_by_name_and_only_its_metadata(client: Client, tasks: Tasks, home: str):
    for name in "ab":
        await put(client, home, name, x="1")
    informer = informer_of(client, home, name="a", metadata_only=True)
    informer.start(tasks)
    await asyncio.wait_for(informer.synced.wait(), 60)
    [body] = informer.store.values()
    assert (body["kind"], body["metadata"]["name"], "data" in body) == ("PartialObjectMetadata", "a", False)


async def test_a_server_without_streaming_lists_is_read_in_pages(
    client: Client, tasks: Tasks, home: str, faults: Faults
):
    await put(client, home, "a")

    async def refuse(request: Any) -> Canned | None:
        if "sendInitialEvents" not in request.url.query:
            return None
        words = b"sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
        return Canned(422, b'{"message":"%s","reason":"Invalid","code":422}' % words)

    faults.faults.append(refuse)
    informer = informer_of(client, home)
    informer.start(tasks)
    await asyncio.wait_for(informer.synced.wait(), 60)
    await until(lambda: informer.state is State.LIVE)
    assert list(informer.store) == [(home, "a")]
    assert informer.problem is None


RESET = TransportError("reset by peer")
EXPIRED = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'


async def test_a_broken_watch_resumes_and_nothing_is_told_twice(hasty: Client, tasks: Tasks, home: str, faults: Faults):
    path = CONFIG_MAPS.path(home)
    for name in "ab":
        await put(hasty, home, name)
    informer = informer_of(hasty, home)
    listener = Listener(informer)
    informer.start(tasks)
    await until(lambda: informer.state is State.LIVE)
    down = [TransportError("connection refused")] * 3
    faults.answer(*down, path=path)
    faults.streams[path].say(RESET)
    await until(lambda: informer.problem and "connection refused" in informer.problem)
    assert informer.state is State.RECONNECTING
    await put(hasty, home, "c")
    await hasty.delete(CONFIG_MAPS, "a", home)
    await until(lambda: len(listener.events) == 4)
    assert listener.events[2:] == ["+c", "-a"]
    assert (informer.state, informer.problem) == (State.LIVE, None)
    lists = [request for request in faults.sent("GET", path) if "sendInitialEvents" in request.url.query]
    assert len(lists) == 1, "a resumed watch reads nothing again"


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("in_stream", [True, False])
async def test_history_that_is_lost_means_a_new_list_that_is_compared_with_what_was_known(
    hasty: Client, tasks: Tasks, home: str, faults: Faults, streaming: bool, in_stream: bool
):
    path = CONFIG_MAPS.path(home)
    for name in "abcd":
        await put(hasty, home, name)
    informer = informer_of(hasty, home, streaming=streaming, page=2)
    listener = Listener(informer)
    informer.start(tasks)
    await until(lambda: informer.state is State.LIVE)
    listener.events.clear()
    down: list[int] = [1]

    async def away(request: Any) -> Any:
        if down and request.method == "GET" and path in request.url.path:
            raise TransportError("connection refused")
        return None

    faults.faults.append(away)
    faults.streams[path].say(EXPIRED if in_stream else RESET)
    await until(lambda: informer.state is State.RECONNECTING)
    await put(hasty, home, "a", x="1")
    await hasty.delete(CONFIG_MAPS, "b", home)
    await put(hasty, home, "e")
    if not in_stream:
        faults.answer(Canned(410, b'{"message":"too old","reason":"Expired","code":410}'), path=path)
    down.clear()
    await until(lambda: informer.state is State.LIVE)
    assert sorted(listener.events) == ["+e", "?b", "~a"]
    assert sorted(informer.store) == [(home, name) for name in "acde"]


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_list_that_breaks_off_deletes_nothing(
    hasty: Client, tasks: Tasks, home: str, faults: Faults, streaming: bool
):
    path = CONFIG_MAPS.path(home)
    for name in "abcd":
        await put(hasty, home, name)
    informer = informer_of(hasty, home, streaming=streaming, page=2)
    listener = Listener(informer)
    informer.start(tasks)
    await until(lambda: informer.state is State.LIVE)
    listener.events.clear()
    lists: list[int] = []

    class Half:
        """The beginning of the server's answer, and then a reset."""

        def __init__(self, response: Any) -> None:
            self.status, self.headers, self.close = response.status, response.headers, response.close
            self._response = response

        async def chunks(self):
            async for chunk in self._response.chunks():
                yield chunk[: chunk.index(b"\n") + 1]
                raise RESET

    async def break_off(request: Any) -> Any:
        query = request.url.query
        if path not in request.url.path or len(lists) >= 3:
            return None
        if "sendInitialEvents" in query:
            lists.append(1)
            return Half(await faults.real.send(request))
        if "continue" in query:
            lists.append(1)
            return Canned(500, b'{"message":"etcdserver: leader changed","code":500}')
        return None

    faults.faults.append(break_off)
    faults.streams[path].say(EXPIRED)
    await until(lambda: len(lists) == 3)
    assert informer.state is State.RECONNECTING
    assert sorted(informer.store) == [(home, name) for name in "abcd"]
    await until(lambda: informer.state is State.LIVE)
    assert listener.events == []


async def test_a_half_open_connection_is_found_by_its_silence(client: Client, tasks: Tasks, home: str, faults: Faults):
    await put(client, home, "a")
    silent: list[int] = []

    class Mute:
        """A stream whose other side is gone without a word."""

        status = 200
        headers: dict[str, str] = {}  # noqa: RUF012

        async def chunks(self):
            try:
                await asyncio.sleep(0.2)
                raise TimeoutError
            except TimeoutError as failure:
                raise TransportError("timed out") from failure
            yield b""

        async def close(self) -> None:
            pass

    async def mute(request: Any) -> Any:
        if request.url.query.get("resourceVersion") and not silent:
            silent.append(1)
            return Mute()
        return None

    informer = informer_of(client, home, idle_timeout=1.0)
    listener = Listener(informer)
    informer.start(tasks)
    await asyncio.wait_for(informer.synced.wait(), 60)
    faults.faults.append(mute)
    await until(lambda: silent)
    await put(client, home, "b")
    await until(lambda: "+b" in listener.events)
    assert State.RECONNECTING in listener.states
    assert "?a" not in listener.events


async def test_a_reader_without_rights_says_so_and_goes_on_when_it_gets_them(
    hasty: Client, tasks: Tasks, home: str, namespace
):
    await put(hasty, home, "a")
    account = f"system:serviceaccount:{home}:default"
    informer = informer_of(hasty.acting_as(account), home)
    informer.start(tasks)
    await until(lambda: informer.state is State.FORBIDDEN)
    assert informer.problem is not None
    assert f'User "{account}" cannot watch resource "configmaps"' in informer.problem
    assert not informer.synced.is_set()
    assert informer.store == {}
    await grant(hasty, home)
    await until(lambda: informer.state is State.LIVE)
    assert list(informer.store) == [(home, "a")]


async def grant(client: Client, home: str) -> None:
    find = client.discovery.find_by_name
    api = "rbac.authorization.k8s.io/v1"
    metadata = {"name": "read", "namespace": home}
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]
    role = {"apiVersion": api, "kind": "Role", "metadata": metadata, "rules": rules}
    subjects = [{"kind": "ServiceAccount", "name": "default", "namespace": home}]
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "read"}
    binding = {"apiVersion": api, "kind": "RoleBinding", "metadata": metadata, "subjects": subjects, "roleRef": ref}
    await client.apply(await find("roles"), "read", home, role, field_manager="t")
    await client.apply(await find("rolebindings"), "read", home, binding, field_manager="t")


async def test_a_kind_that_goes_away_makes_its_objects_unknown_and_comes_back_when_the_definition_does(
    client: Client, tasks: Tasks, home: str, namespace, faults: Faults
):
    group = f"{namespace()[-20:].strip('-')}.example.com"
    gvk, name = Gvk(group, "v1", "Widget"), f"widgets.{group}"
    await client.discovery.start(tasks)
    await client.apply(CRDS, name, "", definition(group), field_manager="t")
    widgets = await client.discovery.wait_for(gvk, 60)
    informer = Informer(client, widgets, decode=codec.decode, namespace=home)
    listener = Listener(informer)
    informer.start(tasks)
    await until(lambda: informer.state is State.LIVE)
    body = {"apiVersion": gvk.api_version, "kind": "Widget", "metadata": {"name": "a"}}
    await client.apply(widgets, "a", home, body, field_manager="t")
    await until(lambda: listener.events == ["+a"])
    # An API server that restarts answers 404 for custom resources for a moment: that deletes nothing.
    faults.answer(*[Canned(404, b"404 page not found")] * 2, path=widgets.path(home))
    faults.streams[widgets.path(home)].say(RESET)
    await until(lambda: informer.state is State.GONE)
    assert listener.events == ["+a"]
    assert list(informer.store) == [(home, "a")]
    assert informer.problem is not None
    assert "does not serve" in informer.problem
    await client.delete(CRDS, name)
    await until(lambda: not client.discovery.serves(gvk))
    assert listener.events == ["+a"], "what cannot be seen is not gone"
    await client.apply(CRDS, name, "", definition(group), field_manager="t")
    await until(lambda: informer.state is State.LIVE)
    assert listener.events == ["+a", "?a"]


async def test_an_object_that_cannot_be_decoded_does_not_stop_the_others(client: Client, tasks: Tasks, home: str):
    def decode(data: bytes) -> Body:
        body = codec.decode(data)
        return {"metadata": body["metadata"], "x": body["data"]["x"]}

    await put(client, home, "good", x="1")
    await put(client, home, "bad")
    informer = informer_of(client, home, decode=decode)
    informer.start(tasks)
    await asyncio.wait_for(informer.synced.wait(), 60)
    assert list(informer.store) == [(home, "good")]
    assert list(informer.unreadable) == [(home, "bad")]
    await put(client, home, "bad", x="2")
    await until(lambda: (home, "bad") in informer.store)
    assert informer.unreadable == {}
