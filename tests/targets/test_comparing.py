"""Comparing with a cluster where requests fail, hang, or come between a look and a dry-run."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.kube.faults import Canned, Faults
from tests.targets.conftest import OWNER, Cluster, desired
from trimtab.base.http import Request, Response
from trimtab.diff.report import Finding, State
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.targets.kubernetes import estate
from trimtab.targets.kubernetes.comparing import Terms, compare
from trimtab.targets.kubernetes.estate import Record

STAMPED = Terms(stamped=True)


@pytest.fixture
async def faults(kubeconfig: Path) -> AsyncIterator[tuple[Faults, Client]]:
    """The server, and the client that does not always reach it."""
    found = Faults()
    yield found, Client(config.load(kubeconfig), found, seed=1)
    await found.real.close()


def config_map(cluster: Cluster, name: str = "settings", **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": cluster.namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def refusal(code: int, message: str) -> Canned:
    return Canned(code, json.dumps({"kind": "Status", "message": message, "code": code}).encode())


async def test_an_object_that_changes_meanwhile_is_looked_at_again(
    cluster: Cluster, faults: tuple[Faults, Client]
) -> None:
    double, client = faults
    await cluster.apply(config_map(cluster, colour="blue"))
    await cluster.merge("configmap", "settings", {"data": {"colour": "red"}})
    left = [None]

    async def meanwhile(request: Request) -> Response | None:
        if request.method == "PATCH" and left:
            left.pop()
            await cluster.merge("configmap", "settings", {"data": {"colour": "blue"}})
        return None

    double.faults.append(meanwhile)
    [found] = await compare(client, [desired(config_map(cluster, colour="blue"))], STAMPED)
    assert (found.state, found.differences) == (State.SAME, ())
    assert len(double.sent("PATCH")) == 2


@pytest.mark.parametrize(("method", "code"), [("GET", 403), ("GET", 500), ("PATCH", 403), ("PATCH", 409)])
async def test_what_is_refused_is_unknown_in_the_server_s_words_and_the_rest_is_compared(
    cluster: Cluster, faults: tuple[Faults, Client], method: str, code: int
) -> None:
    double, client = faults
    items = [config_map(cluster, name, colour="blue") for name in ("a", "b")]
    for item in items:
        await cluster.apply(item)
    double.answer(refusal(code, "go away"), method=method, path="/configmaps/a")
    first, second = await compare(client, [desired(item) for item in items], STAMPED)
    assert (first.state, second.state) == (State.UNKNOWN, State.SAME)
    assert "go away" in first.note


async def test_what_does_not_answer_in_time_is_unknown_and_what_is_known_is_told(
    cluster: Cluster, faults: tuple[Faults, Client]
) -> None:
    double, client = faults
    items = [config_map(cluster, name, colour="blue") for name in ("a", "b")]
    await cluster.apply(items[1])
    hanging = asyncio.Event()

    async def hang(request: Request) -> Response | None:
        if request.url.path.endswith("/configmaps/a"):
            hanging.set()
            await asyncio.Event().wait()
        return None

    double.faults.append(hang)
    until = asyncio.get_running_loop().time() + 2
    first, second = await compare(
        client, [desired(item) for item in items], Terms(None, True, timeout_s=2, until=until)
    )
    assert hanging.is_set()
    assert (first.state, first.note) == (State.UNKNOWN, "no answer within 2 s (--timeout)")
    assert second.state is State.SAME


async def test_whether_an_autoscaler_sets_replicas_is_said_to_be_unknown(
    cluster: Cluster, faults: tuple[Faults, Client]
) -> None:
    double, client = faults
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": cluster.namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    await cluster.apply(body)
    await cluster.merge("deployment", "web", {"spec": {"replicas": 2}})
    double.answer(refusal(403, "no autoscalers for you"), method="GET", path="/horizontalpodautoscalers")
    [found] = await compare(client, [desired(body)], STAMPED)
    assert found.state is State.DIFFERS
    assert found.note == "whether an autoscaler sets spec.replicas is not known: no autoscalers for you"


async def test_what_asks_to_be_left_alone_is_skipped(cluster: Cluster) -> None:
    paused = {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}
    ignored = {"kustomize.toolkit.fluxcd.io/ssa": "Ignore"}
    once = {"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}
    live = [config_map(cluster, name, colour="red") for name in ("a", "b", "c")]
    live[0]["metadata"]["annotations"] = paused
    for body in live:
        await cluster.apply_unjudged(desired({**body, "metadata": {**body["metadata"], "annotations": {}}}))
    await cluster.merge("configmap", "a", {"metadata": {"annotations": paused}})
    wished = [config_map(cluster, name, colour="blue") for name in ("a", "b", "c")]
    wished[1]["metadata"]["annotations"] = ignored
    wished[2]["metadata"]["annotations"] = once
    found = await compare(cluster.client, [desired(body) for body in wished], STAMPED)
    assert [each.state for each in found] == [State.SKIPPED, State.SKIPPED, State.SAME]


async def test_what_another_manager_holds_is_no_removal(cluster: Cluster) -> None:
    await cluster.apply(config_map(cluster, colour="blue", size="xl"))
    resource = await cluster.client.discovery.find_by_name("configmap")
    body = config_map(cluster, size="xl")
    await cluster.client.apply(resource, "settings", cluster.namespace, body, field_manager="kubectl")
    await cluster.client.apply(resource, "settings", cluster.namespace, body, field_manager="other")
    wish = [desired(config_map(cluster, colour="blue"))]
    [found] = await compare(cluster.client, wish, STAMPED)
    assert found.state is State.SAME
    other = {name: value for name, value in body.items() if name != "data"}
    await cluster.client.apply(resource, "settings", cluster.namespace, other, field_manager="other")
    [found] = await compare(cluster.client, wish, STAMPED)
    assert [str(change) for change in found.differences] == ['data.size: removed "xl"']


# --- what is there beside


async def test_a_kind_that_may_not_be_listed_is_unknown_and_the_others_are_told(
    cluster: Cluster, faults: tuple[Faults, Client]
) -> None:
    double, client = faults
    resource = await client.discovery.find_by_name("configmap")
    await client.create(resource, config_map(cluster, "by-hand"), cluster.namespace)
    double.answer(refusal(403, "no secrets for you"), method="GET", path="/secrets")
    found = await estate.unmanaged(client, [cluster.namespace, ""], ())
    assert {(each.state, each.ref.kind, each.ref.name, each.note) for each in found} == {
        (State.UNKNOWN, "Secret", "", "no secrets for you"),
        (State.EXTRA, "ConfigMap", "by-hand", "no app manages it"),
    }


async def test_the_kinds_of_a_silent_api_are_unknown(cluster: Cluster, faults: tuple[Faults, Client]) -> None:
    double, client = faults
    real = double.real

    async def stale(request: Request) -> Response | None:
        if request.url.path != "/apis":
            return None
        answer = await real.send(request)
        document = json.loads(await answer.read())
        version = {"version": "v1", "freshness": "Stale"}
        document["items"].append({"metadata": {"name": "metrics.example.org"}, "versions": [version]})
        return Canned(200, json.dumps(document).encode())

    double.faults.append(stale)
    found = await estate.unmanaged(client, [cluster.namespace], ())
    assert found == [
        Finding(
            found[0].ref,
            State.UNKNOWN,
            note="the server behind the API metrics.example.org/v1 does not answer, so its kinds are unknown",
        )
    ]
    assert str(found[0].ref) == "Object"


async def test_an_orphan_is_what_was_applied_for_an_app_and_is_on_no_record_of_it(cluster: Cluster) -> None:
    for name in ("kept", "lost"):
        await cluster.apply(config_map(cluster, name))
    labelled = config_map(cluster, "by-hand")
    labelled["metadata"]["labels"] = dict(OWNER.labels)
    resource = await cluster.client.discovery.find_by_name("configmap")
    await cluster.client.create(resource, labelled, cluster.namespace)
    kept = desired(config_map(cluster, "kept")).ref

    async def names(record: Record) -> set[str]:
        found = await estate.orphans(cluster.client, {OWNER.key: record}, None)
        return {each.ref.name for each in found if each.ref.namespace == cluster.namespace}

    assert await names(Record({kept})) == {"lost"}
    assert await names(Record({kept}, problem="it cannot be read")) == set()
