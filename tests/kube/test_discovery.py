"""Which kinds there are, and how soon it is known that they changed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.kube.faults import Canned, Faults
from trimtab.base.tasks import Tasks
from trimtab.kube import errors
from trimtab.kube.client import Client
from trimtab.kube.discovery import API_SERVICES, CRDS
from trimtab.kube.kinds import Kinds, read_groups
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body, Gvk

CONFIG_MAP = Gvk("", "v1", "ConfigMap")


def definition(group: str, kind: str = "Widget", versions: tuple[str, ...] = ("v1",)) -> Body:
    plural = f"{kind.lower()}s"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    served = [{"name": v, "served": True, "storage": v == versions[0], "schema": schema} for v in versions]
    spec = {
        "group": group,
        "scope": "Namespaced",
        "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "shortNames": [f"{kind[:2].lower()}x"]},
        "versions": served,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": spec,
    }


def api_service(group: str) -> Body:
    """An API whose server does not exist."""
    spec = {
        "group": group,
        "version": "v1",
        "service": {"name": "nobody", "namespace": "default"},
        "groupPriorityMinimum": 100,
        "versionPriority": 10,
        "insecureSkipTLSVerify": True,
    }
    metadata = {"name": f"v1.{group}"}
    return {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": metadata, "spec": spec}


NESTED = {"type": "object", "properties": {"size": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("spec", "said"),
    [({"sise": 1}, r"\.spec\.sise"), ({"each": [{"size": 1, "sise": 1}]}, r"\.spec\.each\[0\]\.sise")],
    ids=["in the spec", "in an item"],
)
async def test_a_field_that_a_definition_does_not_declare_is_refused_not_dropped(
    client: Client, home: str, namespace, spec: Body, said: str
):
    group = f"{namespace()[-20:].strip('-')}.example.com"
    made = definition(group)
    fields = {**NESTED["properties"], "each": {"type": "array", "items": NESTED}}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}}
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema
    await client.create(CRDS, made)
    try:
        gvk = Gvk(group, "v1", "Widget")
        await client.discovery.wait_for(gvk, 60)
        kind = await client.discovery.find(gvk)
        widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "a"}}
        await until(lambda: served(client, kind, home, widget))
        for dry_run in (True, False):
            with pytest.raises(errors.ApiError, match=f"{said}: field not declared in schema"):
                await client.apply(kind, "a", home, widget | {"spec": spec}, field_manager="us", dry_run=dry_run)
    finally:
        await client.delete(CRDS, f"widgets.{group}")


async def served(client: Client, kind: Resource, home: str, widget: Body) -> bool:
    """A kind that was defined just now has no storage, and its schema is not known, for a moment."""
    try:
        await client.apply(kind, "first", home, widget | {"metadata": {"name": "first"}}, field_manager="us")
    except errors.ApiError:
        return False
    return True


async def until(check: Callable[[], Awaitable[Any]], timeout: float = 60.0) -> float:
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not await check():
        assert loop.time() - started < timeout, "it did not happen"
        await asyncio.sleep(0.02)
    return loop.time() - started


async def test_two_requests_tell_of_every_kind(client: Client, faults: Faults):
    found = await client.discovery.find(CONFIG_MAP)
    assert (found.plural, found.namespaced) == ("configmaps", True)
    assert found.verbs >= {"get", "list", "watch", "patch"}
    assert not (await client.discovery.find(Gvk("", "v1", "Namespace"))).namespaced
    assert len(faults.requests) == 2


async def test_all_versions_of_a_kind_are_served(client: Client, namespace):
    group = f"{namespace()[-20:].strip('-')}.example.com"
    await client.create(CRDS, definition(group, versions=("v1", "v1beta1")))
    try:
        await client.discovery.wait_for(Gvk(group, "v1beta1", "Widget"), 60)
        found = [one.gvk for one in await client.discovery.served()]
        assert len(found) == len(set(found))
        assert {Gvk(group, "v1", "Widget"), Gvk(group, "v1beta1", "Widget"), CONFIG_MAP} <= set(found)
        assert {gvk.version for gvk in found if gvk[::2] == ("autoscaling", "HorizontalPodAutoscaler")} == {"v1", "v2"}
        assert Gvk(group, "v1beta1", "Widget") not in [one.gvk for one in await client.discovery.all()]
    finally:
        await client.delete(CRDS, f"widgets.{group}")


async def test_what_is_served_costs_no_request_while_it_is_known(client: Client, faults: Faults):
    first = await client.discovery.served()
    assert len(faults.requests) == 2
    assert await client.discovery.served() == first
    assert len(faults.requests) == 2


async def test_what_is_kept_fresh_is_not_asked_for_however_old_it_is(
    client: Client, tasks: Tasks, faults: Faults, monkeypatch
):
    monkeypatch.setattr("trimtab.kube.discovery._BETWEEN_REFRESHES_S", 0.0)
    await client.discovery.start(tasks)

    async def looked() -> int:
        before = len(faults.requests)
        await client.discovery.served()
        return len([one for one in faults.requests[before:] if one.url.path in {"/api", "/apis"}])

    async def none() -> bool:
        return await looked() == 0

    await until(none)  # the first events of the watches are news
    assert [await looked() for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    "text", ["deploy", "deployment", "Deployments", "Deployment", "deployments.apps", "deployments.v1.apps"]
)
async def test_a_kind_is_found_by_the_names_people_use(client: Client, text: str):
    assert (await client.discovery.find_by_name(text)).gvk == Gvk("apps", "v1", "Deployment")


async def test_a_kind_without_a_version_is_found_in_the_preferred_one(client: Client):
    found = await client.discovery.find_kind("autoscaling", "HorizontalPodAutoscaler")
    assert found.gvk.version == "v2"
    with pytest.raises(errors.UnknownKind, match="no Nothing"):
        await client.discovery.find_kind("autoscaling", "Nothing")


async def test_a_missing_kind_is_named_with_what_is_there_instead(client: Client):
    with pytest.raises(errors.UnknownKind, match="no Deployment apps/v1beta1; of this kind it serves v1"):
        await client.discovery.find(Gvk("apps", "v1beta1", "Deployment"))
    with pytest.raises(errors.UnknownKind, match=r"no Ingress extensions/v1beta1; it serves Ingress net"):
        await client.discovery.find(Gvk("extensions", "v1beta1", "Ingress"))
    with pytest.raises(errors.UnknownKind, match="CustomResourceDefinition installed"):
        await client.discovery.find(Gvk("nowhere.test", "v1", "Nothing"))
    with pytest.raises(errors.UnknownKind, match="'nothings'"):
        await client.discovery.find_by_name("nothings")


async def test_misses_do_not_ask_the_server_more_than_once_in_ten_seconds(client: Client, faults: Faults):
    async def miss(number: int) -> None:
        with pytest.raises(errors.UnknownKind):
            await client.discovery.find(Gvk("nowhere.test", "v1", f"Nothing{number}"))

    await asyncio.gather(*map(miss, range(20)))
    await miss(1)
    assert len(faults.requests) == 2


async def test_an_unchanged_answer_is_not_sent_again(client: Client, faults: Faults):
    await client.discovery.refresh()
    statuses = []
    send = faults.real.send

    async def watch(request: Any) -> Any:
        response = await send(request)
        statuses.append(response.status)
        return response

    faults.faults.append(watch)
    await client.discovery.refresh()
    assert statuses == [304, 304]
    assert await client.discovery.find(CONFIG_MAP)


async def test_a_definition_that_comes_and_goes_is_noticed_in_about_a_second(
    client: Client, tasks: Tasks, faults: Faults, namespace
):
    group = f"{namespace()[-20:].strip('-')}.example.com"
    gvk = Gvk(group, "v1", "Widget")
    name = f"widgets.{group}"
    news: list[int] = []
    await client.discovery.start(tasks)
    client.discovery.add_listener(lambda: news.append(1))
    with pytest.raises(errors.UnknownKind):
        await client.discovery.find(gvk)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await client.apply(CRDS, name, "", definition(group), field_manager="t")
    found = await client.discovery.wait_for(gvk, 60)
    assert loop.time() - started < 60, "usually a second"
    assert news
    assert (await client.discovery.find_by_name("wix")).gvk == gvk
    body = {"apiVersion": gvk.api_version, "kind": "Widget", "metadata": {"name": "a"}}
    await client.apply(found, "a", "default", body, field_manager="t")
    # A second kind in the group changes no APIService: only its definition tells.
    await asyncio.sleep(1.0)
    started = loop.time()
    await client.apply(CRDS, f"gadgets.{group}", "", definition(group, "Gadget"), field_manager="t")
    await client.discovery.wait_for(Gvk(group, "v1", "Gadget"), 60)
    assert loop.time() - started < 60, "usually a second"
    await client.delete(CRDS, f"gadgets.{group}")
    await client.delete(CRDS, name)

    async def gone() -> bool:
        try:
            await client.discovery.find(gvk)
        except errors.UnknownKind:
            return True
        return False

    await until(gone)

    async def at_rest() -> bool:
        faults.requests.clear()
        await asyncio.sleep(1.0)
        return not faults.requests

    await until(at_rest)  # nobody asks


async def test_waiting_ends_with_what_is_missing(client: Client):
    with pytest.raises(errors.UnknownKind, match=r"no Nothing nowhere\.test/v1"):
        await client.discovery.wait_for(Gvk("nowhere.test", "v1", "Nothing"), 0.1)


async def test_kinds_behind_a_server_that_does_not_answer_are_unknown_not_missing(
    client: Client, tasks: Tasks, namespace
):
    group = f"{namespace()[-20:].strip('-')}.example.com"
    await client.discovery.start(tasks)
    await client.apply(API_SERVICES, f"v1.{group}", "", api_service(group), field_manager="t")

    async def stale() -> bool:
        try:
            await client.discovery.find(Gvk(group, "v1", "Thing"))
        except errors.StaleGroup as failure:
            return "nobody" in str(failure) and "kubectl get apiservice" in str(failure)
        except errors.UnknownKind:
            pass
        return False

    try:
        await until(stale)
        with pytest.raises(errors.StaleGroup):
            await client.discovery.find_kind(group, "Thing")
        assert await client.discovery.find(CONFIG_MAP), "other groups go on"
    finally:
        await client.delete(API_SERVICES, f"v1.{group}")

    async def forgotten() -> bool:
        try:
            await client.discovery.find(Gvk(group, "v1", "Thing"))
        except errors.StaleGroup:
            return False
        except errors.UnknownKind:
            return True
        return False

    await until(forgotten, 30)


async def test_a_failed_refresh_keeps_what_was_known(client: Client, faults: Faults):
    await client.discovery.refresh()
    faults.answer(Canned(500, b"oh"), path="/apis")
    with pytest.raises(errors.ServerError):
        await client.discovery.refresh()
    faults.answer(Canned(200, b'{"kind":"APIGroupList"}'), path="/apis")
    with pytest.raises(errors.ServerError, match="aggregated discovery"):
        await client.discovery.refresh()
    assert await client.discovery.find(CONFIG_MAP)


def test_a_stale_version_is_told_from_the_document_alone():
    document = b"""{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"g"},"versions":[
        {"version":"v2","freshness":"Stale"},
        {"version":"v1","freshness":"Current","resources":[{"resource":"things","scope":"Cluster",
          "responseKind":{"group":"","version":"","kind":"Thing"},"verbs":["get"]}]}]}]}"""
    kinds = Kinds(read_groups(document, "s"))
    assert kinds.stale == {("g", "v2")}
    assert kinds.get(Gvk("g", "v1", "Thing")) is not None
    assert kinds.by_name("thing.v1.g") == kinds.by_name("things")


async def test_a_second_term_watches_the_kinds_again(client: Client, tasks: Tasks, namespace):
    """The tasks of the first term have ended with it: what keeps the kinds fresh has to be started anew."""
    first = Tasks("first term")
    await client.discovery.start(first)
    await first.close()
    await client.discovery.start(tasks)
    group = f"{namespace()}.example.org"
    await client.create(CRDS, definition(group))

    async def served() -> bool:
        return client.discovery.serves(Gvk(group, "v1", "Widget"))

    try:
        await until(served)
    finally:
        await client.delete(CRDS, f"widgets.{group}")
