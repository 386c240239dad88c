"""The verbs against the real server, and what happens when the way to it fails."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest

from tests.kube.conftest import CONFIG_MAPS, NAMESPACES, config_map
from tests.kube.faults import Canned, Faults
from trimtab.base.flows import flow
from trimtab.base.http import TransportError
from trimtab.kube import errors
from trimtab.kube.client import Client
from trimtab.kube.config import Impersonation
from trimtab.kube.limiter import Limiter
from trimtab.kube.resource import Resource
from trimtab.manifests import codec
from trimtab.manifests.refs import Gvk

ROLES = Resource(Gvk("rbac.authorization.k8s.io", "v1", "ClusterRole"), "clusterroles", False)
BUSY = Canned(429, b'{"message":"busy"}', {"Retry-After": "1"})


class Meta(msgspec.Struct, rename="camel"):
    name: str
    uid: str
    resource_version: str


class Thing(msgspec.Struct):
    metadata: Meta


async def test_apply_get_and_delete(client: Client, home: str):
    made = await client.apply(CONFIG_MAPS, "a", home, config_map("a", x="1"), field_manager="us")
    assert made["data"] == {"x": "1"}
    assert await client.get(CONFIG_MAPS, "a", home) == made
    typed = await client.get(CONFIG_MAPS, "a", home, type=Thing)
    assert typed.metadata.uid == made["metadata"]["uid"]
    raw = await client.get(CONFIG_MAPS, "a", home, type=msgspec.Raw)
    assert codec.decode(bytes(raw)) == made
    await client.delete(CONFIG_MAPS, "a", home, uid=typed.metadata.uid)
    with pytest.raises(errors.NotFound, match='configmaps "a" not found'):
        await client.get(CONFIG_MAPS, "a", home)


async def test_apply_takes_encoded_bytes_and_an_unchanged_apply_does_not_move_the_version(client: Client, home: str):
    body = codec.encode(config_map("a", x="1"))
    first = await client.apply(CONFIG_MAPS, "a", home, body, field_manager="us", type=Thing)
    second = await client.apply(CONFIG_MAPS, "a", home, body, field_manager="us", type=Thing)
    assert first.metadata.resource_version == second.metadata.resource_version


async def test_what_is_applied_arrives_as_it_is_however_yaml_would_read_it(client: Client, home: str):
    odd = [
        "a: b",
        "- x",
        "{",
        "]",
        "#",
        "---\n...",
        "\t",
        "a\nb\n",
        "yes",
        "0x1f",
        "a\u2028b\u2029c\x85d",
        "\x85\u2028\ufeff",
        "é𝄞",
        '"',
        "\\",
        "",
        "k" * 9_000,
    ]
    values = {f"k{number}": value for number, value in enumerate(odd)}
    assert (await client.apply(CONFIG_MAPS, "a", home, config_map("a", **values), field_manager="us"))["data"] == values


async def test_a_field_that_the_kind_does_not_have_is_refused(client: Client, home: str):
    with pytest.raises(errors.ApiError, match=r"\.extra: field not declared in schema"):
        await client.apply(CONFIG_MAPS, "a", home, config_map("a") | {"extra": 1}, field_manager="us")


async def test_a_dry_run_leaves_nothing_behind(client: Client, home: str):
    await client.apply(CONFIG_MAPS, "a", home, config_map("a"), field_manager="us", dry_run=True)
    await client.create(CONFIG_MAPS, config_map("b"), home, dry_run=True)
    names = {item["metadata"]["name"] for item in (await client.list(CONFIG_MAPS, home)).items}
    assert not names & {"a", "b"}
    await client.create(CONFIG_MAPS, config_map("c"), home, field_manager="us")
    await client.delete(CONFIG_MAPS, "c", home, dry_run=True)
    await client.merge_patch(CONFIG_MAPS, "c", home, {"data": {"x": "1"}}, dry_run=True)
    assert "data" not in await client.get(CONFIG_MAPS, "c", home)


async def test_without_force_a_foreign_field_is_a_conflict_that_names_both(client: Client, home: str):
    await client.apply(CONFIG_MAPS, "a", home, config_map("a", x="1"), field_manager="us")
    with pytest.raises(errors.Conflict, match='conflict with "us"') as caught:
        await client.apply(CONFIG_MAPS, "a", home, config_map("a", x="2"), field_manager="them", force=False)
    assert caught.value.of_managers
    assert [cause.field for cause in caught.value.causes] == [".data.x"]
    forced = await client.apply(CONFIG_MAPS, "a", home, config_map("a", x="2"), field_manager="them")
    assert forced["data"] == {"x": "2"}


async def test_an_object_that_moved_on_is_not_deleted(client: Client, home: str):
    made = await client.create(CONFIG_MAPS, config_map("a"), home, type=Thing)
    with pytest.raises(errors.Conflict, match="UID in the precondition"):
        await client.delete(CONFIG_MAPS, "a", home, uid="other")
    await client.merge_patch(CONFIG_MAPS, "a", home, {"data": {"x": "1"}})
    with pytest.raises(errors.Conflict, match="ResourceVersion in the precondition"):
        await client.delete(CONFIG_MAPS, "a", home, resource_version=made.metadata.resource_version)


async def test_patches(client: Client, home: str):
    await client.create(CONFIG_MAPS, config_map("a", x="1"), home)
    merged = await client.merge_patch(CONFIG_MAPS, "a", home, {"data": {"y": "2", "x": None}})
    assert merged["data"] == {"y": "2"}
    version = merged["metadata"]["resourceVersion"]
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
    patch = [test, {"op": "replace", "path": "/data/y", "value": "3"}]
    assert (await client.json_patch(CONFIG_MAPS, "a", home, patch))["data"] == {"y": "3"}
    with pytest.raises(errors.Invalid, match=r"rejected our request.*\(PATCH /api/v1/namespaces/"):
        await client.json_patch(CONFIG_MAPS, "a", home, patch)
    with pytest.raises(errors.Conflict):
        await client.merge_patch(CONFIG_MAPS, "a", home, {"metadata": {"resourceVersion": version}})


async def test_a_subresource_is_patched_apart(client: Client, home: str):
    status = {"status": {"conditions": [{"type": "X", "status": "True"}]}}
    patched = await client.merge_patch(NAMESPACES, home, "", status, subresource="status", field_manager="us")
    assert [condition["type"] for condition in patched["status"]["conditions"]] == ["X"]


async def test_names_with_colons(client: Client):
    role = {"apiVersion": ROLES.gvk.api_version, "kind": "ClusterRole", "metadata": {"name": "t:a:b"}, "rules": []}
    await client.apply(ROLES, "t:a:b", "", role, field_manager="us")
    assert (await client.get(ROLES, "t:a:b"))["metadata"]["name"] == "t:a:b"
    await client.delete(ROLES, "t:a:b")


async def test_a_list_is_read_in_pages_and_says_what_its_items_are(client: Client, home: str, faults: Faults):
    for number in range(5):
        await client.create(CONFIG_MAPS, config_map(f"a{number}", labels={"t": "x"}), home)
    faults.requests.clear()
    listing = await client.list(CONFIG_MAPS, home, label_selector="t in (x, y)", page=2)
    assert [item["metadata"]["name"] for item in listing.items] == [f"a{number}" for number in range(5)]
    assert {(item["apiVersion"], item["kind"]) for item in listing.items} == {("v1", "ConfigMap")}
    assert listing.resource_version
    assert len(faults.requests) == 3
    typed = await client.list(CONFIG_MAPS, home, field_selector="metadata.name=a1", type=Thing)
    assert [item.metadata.name for item in typed.items] == ["a1"]


async def test_a_list_whose_snapshot_expires_between_pages_is_read_again_whole(
    client: Client, home: str, faults: Faults
):
    for name in "abc":
        await client.create(CONFIG_MAPS, config_map(name, labels={"t": "x"}), home)

    async def expire(request: Any) -> Canned | None:
        if "continue" in request.url.query and len(faults.sent("GET")) == 2:
            return Canned(410, b'{"message":"expired","reason":"Expired"}')
        return None

    faults.requests.clear()
    faults.faults.append(expire)
    listing = await client.list(CONFIG_MAPS, home, label_selector="t=x", page=2)
    assert [item["metadata"]["name"] for item in listing.items] == ["a", "b", "c"]


async def test_a_refusal_names_the_field_and_is_not_sent_again(client: Client, home: str, faults: Faults):
    faults.requests.clear()
    with pytest.raises(errors.Invalid, match=r"\.dta: field not declared in schema") as caught:
        await client.apply(CONFIG_MAPS, "a", home, config_map("a") | {"dta": {}}, field_manager="us")
    assert caught.value.status == 500
    with pytest.raises(errors.Invalid) as caught:
        await client.create(CONFIG_MAPS, config_map("A_"), home)
    assert [cause.field for cause in caught.value.causes] == ["metadata.name"]
    with pytest.raises(errors.RequestTooLarge):
        await client.apply(CONFIG_MAPS, "a", home, config_map("a", x="x" * (4 << 20)), field_manager="us")
    with pytest.raises(errors.AlreadyExists, match="already exists"):
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": home}})
    assert len(faults.requests) == 4


async def test_a_view_acts_with_the_rights_of_its_user_only(client: Client, home: str):
    nobody = client.acting_as(f"system:serviceaccount:{home}:default")
    with pytest.raises(errors.Forbidden, match=f'User "system:serviceaccount:{home}:default" cannot get'):
        await nobody.get(CONFIG_MAPS, "a", home)
    somebody = client.acting_as("alice", ["one", "system:masters"]).with_priority(1)
    assert (await somebody.list(CONFIG_MAPS, home)).resource_version
    assert somebody.discovery is client.discovery
    with pytest.raises(errors.NotFound):
        await client.get(CONFIG_MAPS, "a", home)


@pytest.mark.parametrize("user", ["", "a\r\nImpersonate-Group: system:masters"])
async def test_a_user_that_would_not_arrive_as_such_is_refused(client: Client, user: str):
    with pytest.raises(ValueError, match="impersonation"):
        client.acting_as(user)


async def test_a_busy_server_is_obeyed_and_any_verb_comes_again(client: Client, home: str, faults: Faults):
    faults.answer(BUSY, method="POST")
    loop = asyncio.get_running_loop()
    started = loop.time()
    await client.create(CONFIG_MAPS, config_map("a"), home)
    assert loop.time() - started >= 1.0
    assert len(faults.sent("POST", "/configmaps")) == 2


async def test_a_wait_that_is_too_long_goes_back_to_the_caller(client: Client, home: str, faults: Faults):
    faults.answer(Canned(503, b"later", {"Retry-After": "31"}), method="GET")
    with pytest.raises(errors.ServerError) as caught:
        await client.get(CONFIG_MAPS, "a", home)
    assert caught.value.retry_after == 31.0
    assert "later" in str(caught.value)


async def test_a_lost_answer_is_asked_for_again_where_that_is_safe(client: Client, home: str, faults: Faults):
    faults.lose_answer(method="PATCH")
    await client.apply(CONFIG_MAPS, "a", home, config_map("a", x="1"), field_manager="us")
    faults.lose_answer(method="DELETE")
    uid = (await client.get(CONFIG_MAPS, "a", home, type=Thing)).metadata.uid
    with pytest.raises(errors.NotFound):
        await client.delete(CONFIG_MAPS, "a", home, uid=uid)


@pytest.mark.parametrize("verb", ["create", "delete", "json_patch"])
async def test_a_lost_answer_is_the_callers_to_judge_where_it_is_not(
    client: Client, home: str, faults: Faults, verb: str
):
    await client.create(CONFIG_MAPS, config_map("a", x="1"), home)
    faults.requests.clear()
    faults.lose_answer(method={"create": "POST", "delete": "DELETE", "json_patch": "PATCH"}[verb])
    calls = {
        "create": lambda: client.create(CONFIG_MAPS, config_map("b"), home),
        "delete": lambda: client.delete(CONFIG_MAPS, "a", home),
        "json_patch": lambda: client.json_patch(CONFIG_MAPS, "a", home, [{"op": "remove", "path": "/data/x"}]),
    }
    with pytest.raises(errors.Unreachable, match="reset by peer"):
        await calls[verb]()
    assert len(faults.requests) == 1


async def test_retries_end_and_the_error_names_the_server(client: Client, home: str, faults: Faults):
    faults.answer(*[TransportError("connection refused")] * 9, method="GET")
    with pytest.raises(errors.Unreachable, match="connection refused") as caught:
        await client.get(CONFIG_MAPS, "a", home)
    assert client.server in str(caught.value)
    assert len(faults.sent("GET")) == 4


async def test_no_more_requests_are_in_flight_than_there_are_slots(client: Client, home: str, faults: Faults):
    narrow, running, most = Client(client.config, faults, limiter=Limiter(2)), 0, 0

    async def count(request: Any) -> Canned:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return Canned(200, b"{}")

    faults.faults.append(count)
    await asyncio.gather(*[narrow.get(CONFIG_MAPS, "a", home) for _ in range(10)])
    assert most == 2


async def test_a_slot_is_free_while_its_request_pauses(client: Client, home: str, faults: Faults):
    narrow = Client(client.config, faults, limiter=Limiter(1), seed=1)
    busy = Canned(429, b'{"message":"busy"}', {"Retry-After": "30"})
    faults.answer(busy, method="GET", path="/configmaps/slow")
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(narrow.exchange("GET", CONFIG_MAPS.path(home, "slow"), repeatable=True))
        slow.add_done_callback(lambda task: task.exception())
        while not faults.sent("GET", "/configmaps/slow"):
            await asyncio.sleep(0.01)
        await narrow.list(CONFIG_MAPS, home)
        assert not slow.done(), "it pauses for half a minute"
        slow.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await slow


async def test_what_is_done_for_an_app_outlasts_a_server_that_is_busy_for_longer(
    client: Client, home: str, faults: Faults
):
    soon = Canned(429, b'{"message":"busy"}', {"Retry-After": "0"})
    faults.answer(*[soon] * 6, method="GET", path="/configmaps/mine")
    with flow("app"), pytest.raises(errors.NotFound):
        await client.get(CONFIG_MAPS, "mine", home)
    assert len(faults.sent("GET", "/configmaps/mine")) == 7
    faults.answer(*[soon] * 6, method="GET", path="/configmaps/ours")
    with pytest.raises(errors.TooManyRequests):
        await client.get(CONFIG_MAPS, "ours", home)
    assert len(faults.sent("GET", "/configmaps/ours")) == 4


async def test_an_answer_from_something_else_is_not_taken_for_the_servers(client: Client, home: str, faults: Faults):
    faults.answer(Canned(200, b"<html>please log in</html>"), method="GET")
    with pytest.raises(errors.ServerError, match="cannot be understood"):
        await client.get(CONFIG_MAPS, "a", home)


async def test_a_stream_yields_whole_lines_however_they_arrive(client: Client, home: str, faults: Faults):
    class Dribble:
        status = 200
        headers: dict[str, str] = {}  # noqa: RUF012

        async def chunks(self):
            for piece in (b"on", b"e\ntwo\n\nth", b"", b"ree\nfour", b" and a half"):
                yield piece

        async def close(self) -> None:
            pass

    async def dribble(request: Any) -> Any:
        return Dribble()

    faults.faults.append(dribble)
    lines = [line async for line in client.stream(CONFIG_MAPS.path(home), {}, idle_timeout=60)]
    assert lines == [b"one", b"two", b"three", b"four and a half"]


async def test_a_stream_that_goes_silent_or_breaks_says_which(client: Client, home: str, faults: Faults):
    query = {"watch": "true", "timeoutSeconds": "30"}
    with pytest.raises(errors.Silent):
        async for _ in client.stream(CONFIG_MAPS.path(home), query | {"resourceVersion": "0"}, idle_timeout=0.3):
            pass

    path = CONFIG_MAPS.path(home)
    async with client.watching(path, query, idle_timeout=60) as lines:
        faults.streams[path].say(TransportError("reset by peer"))
        with pytest.raises(errors.Unreachable, match="reset by peer") as caught:
            async for _ in lines:
                pass
    assert not isinstance(caught.value, errors.Silent)


async def test_streams_take_no_slots(client: Client, home: str, faults: Faults):
    narrow = Client(client.config, faults, limiter=Limiter(1))
    query = {"watch": "true", "timeoutSeconds": "30"}
    async with narrow.watching(CONFIG_MAPS.path(home), query, idle_timeout=30):
        async with asyncio.timeout(60):
            await narrow.list(CONFIG_MAPS, home)


async def test_an_impersonation_of_the_kubeconfig_is_honoured(client: Client, faults: Faults, home: str):
    weak = Client(client.config, faults, impersonate=Impersonation("bob", ("team",)))
    with pytest.raises(errors.Forbidden, match='User "bob" cannot get'):
        await weak.get(CONFIG_MAPS, "a", home)
