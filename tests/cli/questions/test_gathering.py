"""Many objects of an app are read by few requests, and what is said of each is what a GET would have said."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any
from uuid import uuid4

import pytest

from trimtab.base.http import AiohttpTransport, Request, Response
from trimtab.cli.questions.gathering import MANY, PLAIN, WELL, calm, ways
from trimtab.cli.questions.inventory import State, observe
from trimtab.cli.questions.looking import Looking
from trimtab.cli.questions.tree import Looker
from trimtab.cluster.plane import ControlPlane
from trimtab.health import verdict
from trimtab.health.assess import assess
from trimtab.health.context import Context
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.errors import Forbidden
from trimtab.kube.resource import Resource
from trimtab.manifests.codec import encode
from trimtab.manifests.inventory import encode_id
from trimtab.manifests.refs import Body, Gvk, Key, Ref
from trimtab.targets.kubernetes.inventory import SUFFIX, Entry, document, index

CONFIG_MAPS = Resource(Gvk("", "v1", "ConfigMap"), "configmaps", True)
NAMESPACE = "kustomize.toolkit.fluxcd.io/namespace"
LABELS = {"kustomize.toolkit.fluxcd.io/name": "shop"}
NAMES = [*(f"c{number}" for number in range(MANY)), "gone", "halted", "kept", "lost"]
LAGGING = {"gone": verdict.State.NotFound, "kept": verdict.State.Terminating}


def refs(*places: tuple[str, int]) -> set[Ref]:
    return {Ref("", "ConfigMap", namespace, f"c{number}") for namespace, count in places for number in range(count)}


def test_a_crowded_namespace_is_listed_and_what_is_spread_is_listed_everywhere_first() -> None:
    assert list(ways(refs(("a", MANY + 1), ("b", 2)))) == [["a"]]
    assert list(ways(refs(("a", MANY + 1), *((f"n{number}", 1) for number in range(MANY + 1))))) == [[""], ["a"]]
    assert list(ways(refs(*((f"n{number}", 1) for number in range(MANY + 1))))) == [[""], []]
    assert list(ways(refs(("", MANY + 1)))) == [[""]], "of cluster-scoped objects"


@pytest.mark.parametrize(("group", "kind"), sorted(PLAIN), ids=[kind for _, kind in sorted(PLAIN)])
@pytest.mark.parametrize(
    "metadata",
    [
        {"generation": 3},
        {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.example/b"]},
        {"annotations": {"a.example/paused": "true"}},
    ],
    ids=["calm", "leaving", "paused"],
)
def test_of_a_plain_kind_the_metadata_tell_as_much_as_the_whole(group: str, kind: str, metadata: Body) -> None:
    whole: dict[str, Any] = {
        "data": {"status": "Failed", "phase": "Failed"},
        "type": "Opaque",
        "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        "roleRef": {"kind": "ClusterRole", "name": "admin", "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": "Group", "name": "x"}],
        "secrets": [{"name": "x"}],
        "immutable": True,
    }
    version = f"{group}/v1" if group else "v1"
    bare = {"apiVersion": version, "kind": kind, "metadata": {"name": "x", **metadata}}
    context = Context(now=datetime(2026, 1, 1, tzinfo=UTC))
    found = assess({**bare, **whole}, context)
    assert found == assess(bare, context)
    assert calm(Ref(group, kind, "", "x"), bare) == (found == WELL)


class Noting(AiohttpTransport):
    """The transport, noting how ConfigMaps were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def send(self, request: Request) -> Response:
        path, found, name = request.url.path.rpartition("/configmaps")
        if found:
            form = "metadata" if "Metadata" in request.headers["Accept"] else "all"
            self.asked.append(name.strip("/") or f"{form} of {path.rpartition('/')[2]}")
        return await super().send(request)


@contextlib.asynccontextmanager
async def connected(plane: ControlPlane) -> AsyncIterator[tuple[Client, list[str]]]:
    transport = Noting()
    try:
        yield Client(config.load(plane.kubeconfig), transport), transport.asked
    finally:
        await transport.close()


@pytest.fixture(scope="module")
def shop(plane: ControlPlane) -> str:
    """The namespace of an app: many objects that are well, and some that are not, or have lost their labels."""
    place = f"t-gathering-{uuid4().hex[:8]}"
    asyncio.run(furnish(plane, place))
    return place


async def furnish(plane: ControlPlane, place: str) -> None:
    async with connected(plane) as (client, _):

        async def make(name: str, **metadata: Any) -> None:
            body = {"metadata": {"name": name, "labels": LABELS | {NAMESPACE: place}, **metadata}, "data": {"is": name}}
            await client.create(CONFIG_MAPS, body, place)

        await client.create(Resource(Gvk("", "v1", "Namespace"), "namespaces", False), {"metadata": {"name": place}})
        await asyncio.gather(
            *(make(f"c{number}") for number in range(MANY)),
            make("kept", finalizers=["test.example/kept"]),
            make("lost", labels={}),
            make("halted", annotations={"test.example/paused": "true"}),
        )
        await client.delete(CONFIG_MAPS, "kept", place)


def app(place: str, **spec: Any) -> Body:
    entries = [{"id": encode_id(Ref("", "ConfigMap", place, name)), "v": "v1"} for name in NAMES]
    source = {"kind": "GitRepository", "name": "shop"}
    return {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": "shop", "namespace": place, "uid": "1"},
        "spec": {"interval": "1h", "path": "./", "prune": True, "sourceRef": source, **spec},
        "status": {"inventory": {"entries": entries}},
    }


async def test_an_app_is_judged_by_one_list_and_what_that_did_not_bring_by_itself(
    plane: ControlPlane, shop: str
) -> None:
    async with connected(plane) as (client, asked):
        found = await Looking(client).objects(app(shop))
    assert {one.ref.name: one.verdict.state for one in found.laggards} == LAGGING
    assert (found.total, found.problem) == (len(NAMES), "")
    assert sorted(asked) == ["gone", "lost", f"metadata of {shop}"]


async def test_who_may_not_list_gets_the_same_answer_object_by_object(plane: ControlPlane, shop: str) -> None:
    async with connected(plane) as (client, asked):
        allowed = await reader(client, shop)
        found = await Looking(allowed).objects(app(shop))
    assert {one.ref.name: one.verdict.state for one in found.laggards} == LAGGING
    assert asked[-len(NAMES) - 1] == f"metadata of {shop}", "which was refused"
    assert sorted(asked[-len(NAMES) :]) == sorted(NAMES)


async def test_what_expressions_of_the_app_look_at_is_read_whole(plane: ControlPlane, shop: str) -> None:
    rule = {"apiVersion": "v1", "kind": "ConfigMap", "current": "data.is != 'c7'"}
    async with connected(plane) as (client, asked):
        found = await Looking(client).objects(app(shop, healthCheckExprs=[rule]))
    assert {one.ref.name for one in found.laggards} == {"c7", "kept", "gone"}
    assert sorted(asked) == [f"all of {shop}", "gone", "lost"]


async def test_the_tree_shows_each_object_as_a_look_at_it_alone_would(plane: ControlPlane, shop: str) -> None:
    async with connected(plane) as (client, asked):
        owner, looker = Ref.of(app(shop)), Looker(client)
        nodes = await looker._children(owner, app(shop), compact=False)
        gathered = list(asked)
        alone = [await looker.look(Ref("", "ConfigMap", shop, name), "v1", compact=False) for name in NAMES]
    assert list(nodes) == alone
    assert sorted(gathered) == ["gone", "lost", f"metadata of {shop}"]


async def test_the_record_is_compared_with_the_uids_of_the_list(plane: ControlPlane, shop: str) -> None:
    async with connected(plane) as (client, asked):
        uid = (await client.get(CONFIG_MAPS, "c1", shop))["metadata"]["uid"]
        asked.clear()
        recorded = {"c1": uid, "c2": "another"}
        entries = [Entry(Ref("", "ConfigMap", shop, name), "v1", recorded.get(name, "")) for name in NAMES]
        looks = {one.entry.ref.name: one for one in await observe(client, Key(shop, "shop"), entries)}
    assert {name: look.state for name, look in looks.items() if look.state is not State.LIVE} == {
        "c2": State.REPLACED,
        "gone": State.MISSING,
    }
    assert (list(looks), looks["c1"].uid) == (NAMES, uid)
    assert sorted(asked) == ["gone", "lost", f"metadata of {shop}"]


async def test_who_goes_on_looking_reads_the_list_once_and_asks_only_for_what_lags(
    plane: ControlPlane, shop: str
) -> None:
    async with connected(plane) as (client, asked):
        owner = (await client.get(CONFIG_MAPS, "c0", shop))["metadata"]["uid"]
        kept = app(shop)
        kept["metadata"]["uid"] = owner
        part = document(sorted(kept["status"]["inventory"]["entries"], key=itemgetter("id")), "here")
        kept["status"]["inventory"] = index([Ref("", "Secret", shop, f"shop{SUFFIX}")], part["entries"], "here")
        secrets = Resource(Gvk("", "v1", "Secret"), "secrets", True)
        owners = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c0", "uid": owner}]
        metadata = {"name": f"shop{SUFFIX}", "ownerReferences": owners}
        data = {"inventory": base64.b64encode(encode(part)).decode()}
        await client.create(secrets, {"metadata": metadata, "data": data}, shop)
        looking = Looking(client)
        before = await looking.objects(kept)
        await client.delete(secrets, f"shop{SUFFIX}", shop)
        asked.clear()
        again = await looking.again(kept, before)
        changed = await Looking(client).objects(kept)
    assert {one.ref.name: one.verdict.state for one in again.laggards} == LAGGING
    assert sorted(asked) == ["gone", "kept"]
    assert "is gone" in changed.problem


async def reader(client: Client, place: str) -> Client:
    """One who may get objects and not list them, once the server knows."""
    rbac, user = "rbac.authorization.k8s.io", f"reader-{place}"
    role = {
        "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get"]}],
    }
    bound = {"metadata": {"name": "reader"}, "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "reader"}}
    subjects = [{"apiGroup": rbac, "kind": "User", "name": user}]
    await client.create(Resource(Gvk(rbac, "v1", "Role"), "roles", True), role, place)
    await client.create(
        Resource(Gvk(rbac, "v1", "RoleBinding"), "rolebindings", True), bound | {"subjects": subjects}, place
    )
    allowed = client.acting_as(user)
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(Forbidden):
                await allowed.get(CONFIG_MAPS, "c1", place)
                return allowed
