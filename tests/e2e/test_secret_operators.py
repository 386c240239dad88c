"""Secrets that an operator makes from an object of ours: never pruned, corrected, reported or put on record by us.

The operator is a double that does, when the test says so, what External Secrets does: it copies all labels and
annotations of its object onto the Secret, ours among them, and makes the object control it.
"""

import base64
import json
from collections.abc import Iterator

import pytest

from tests.e2e.test_inventory import own
from tests.e2e.test_repair import trimtab
from tests.e2e.world import APPS, World, condition, until

__all__ = ["own"]

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP, VERSION, PLURAL = "external-secrets.io", "v1", "externalsecrets"
PARENT = "kustomize.toolkit.fluxcd.io"
MANAGER = "kustomize-controller"
COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
ANY = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def external(name="db", interval="1h"):
    """An ExternalSecret as it stands in git."""
    return json.dumps(
        {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "ExternalSecret",
            "metadata": {"name": name},
            "spec": {"refreshInterval": interval, "secretStoreRef": {"name": "vault"}, "target": {"name": name}},
        }
    )


class OperatorDouble:
    """External Secrets, one look at a time."""

    def __init__(self, world: World, ns: str) -> None:
        self.world, self.ns = world, ns

    def look(self, name: str = "db", value: str = "fetched") -> None:
        """Make or take over the Secret of the ExternalSecret `name`, and say so in its status."""
        api = self.world.api
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{self.ns}/{PLURAL}/{name}"
        parent = until(lambda: api.get(path), f"the ExternalSecret {name} is there")
        metadata = parent["metadata"]
        controller = {
            "apiVersion": parent["apiVersion"],
            "kind": parent["kind"],
            "name": name,
            "uid": metadata["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        wanted = {
            "metadata": {
                "name": name,
                "labels": {**(metadata.get("labels") or {}), "reconcile.external-secrets.io/managed": "true"},
                "annotations": metadata.get("annotations") or {},
                "ownerReferences": [controller],
            },
            "data": {"password": base64.b64encode(value.encode()).decode()},
        }
        secrets = f"/api/v1/namespaces/{self.ns}/secrets"
        if api.get(f"{secrets}/{name}") is None:
            api.create(f"{secrets}?fieldManager=external-secrets", wanted)
        else:
            api.merge(f"{secrets}/{name}?fieldManager=external-secrets", wanted)
        told = {"type": "Ready", "status": "True", "reason": "SecretSynced", "message": "secret synced"}
        synced = f"{metadata['generation']}-0123456789abcdef"
        api.merge(f"{path}/status", {"status": {"conditions": [told], "syncedResourceVersion": synced}})


@pytest.fixture(scope="module", autouse=True)
def kind(world) -> Iterator[None]:
    """The kind ExternalSecret, with no more of a schema than a status beside the rest."""
    api = world.api
    name = f"{PLURAL}.{GROUP}"
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": ANY, "status": ANY}}}
    version = {"name": VERSION, "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    names = {"kind": "ExternalSecret", "plural": PLURAL, "singular": "externalsecret", "listKind": "ExternalSecretList"}
    spec = {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]}
    api.create(DEFINITIONS, {"metadata": {"name": name}, "spec": spec})
    until(lambda: condition(api.get(f"{DEFINITIONS}/{name}"), "Established").get("status") == "True", "it is served")
    yield
    api.delete(f"{DEFINITIONS}/{name}")
    until(lambda: api.get(f"{DEFINITIONS}/{name}") is None, "it is gone")


@pytest.fixture
def operator(world, ns) -> OperatorDouble:
    return OperatorDouble(world, ns)


@pytest.fixture
def repo(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/db.yaml": external()})
    world.source(ns, repo.url)
    return repo


def secret(world, ns, name="db"):
    return world.api.get(f"/api/v1/namespaces/{ns}/secrets/{name}")


def value(world, ns, name="db"):
    return base64.b64decode(secret(world, ns, name)["data"]["password"]).decode()


def another_pass(world, ns, name="shop"):
    moment = world.poke_app(ns, name)
    until(lambda: world.get_app(ns, name)["status"].get("lastHandledReconcileAt") == moment, "it was handled")


def recorded(world, ns, name="shop"):
    return {entry["id"] for entry in world.get_app(ns, name)["status"]["inventory"]["entries"]}


def events(world, ns, *reasons):
    found = world.api.get(f"/api/v1/namespaces/{ns}/events?limit=500")["items"]
    return [event["message"] for event in found if event["reason"] in reasons]


def edit(world, ns, name="db"):
    """Somebody else changes the value."""
    change = {"data": {"password": base64.b64encode(b"edited").decode()}}
    world.api.merge(f"/api/v1/namespaces/{ns}/secrets/{name}?fieldManager=somebody", change)


def left_alone(world, ns, name="db"):
    """Two passes and an edit later the Secret is what the others made of it, and nothing was said about it."""
    uid = secret(world, ns, name)["metadata"]["uid"]
    edit(world, ns, name)
    version = secret(world, ns, name)["metadata"]["resourceVersion"]
    for _ in range(2):
        another_pass(world, ns)
    live = secret(world, ns, name)
    assert (live["metadata"]["uid"], live["metadata"]["resourceVersion"]) == (uid, version)
    assert value(world, ns, name) == "edited"
    assert f"{ns}_{name}__Secret" not in recorded(world, ns)
    assert [words for words in events(world, ns, "DriftDetected", "Orphaned") if f"Secret/{ns}/{name}" in words] == []


def plain(name="db"):
    """The Secret as it stood in git before."""
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": "old"}}
    return json.dumps(body)


def waits(world, ns):
    """What the app says it waits for."""
    return condition(world.get_app(ns, "shop"), "Ready").get("message", "")


def test_an_app_waits_until_the_operator_has_looked_and_again_after_a_change(world, ns, repo, operator):
    world.app(ns, "shop", "./app", wait=True)
    until(lambda: "its operator has not looked at it yet" in waits(world, ns), "it says what it waits for")
    operator.look()
    world.ready(ns, "shop")
    commit = repo.commit({"app/db.yaml": external(interval="5m")})
    world.poke(ns)
    until(lambda: "generation 2 not synced yet, at 1" in waits(world, ns), "it waits for the newest generation")
    operator.look()
    world.ready(ns, "shop", commit)


def test_what_the_operator_makes_is_nothing_of_ours_although_it_carries_our_labels(world, ns, repo, operator):
    world.app(ns, "shop", "./app", wait=True)
    operator.look()
    world.ready(ns, "shop")
    assert secret(world, ns)["metadata"]["labels"][f"{PARENT}/name"] == "shop"
    left_alone(world, ns)
    commit = repo.commit({"app/db.yaml": external(interval="5m"), "app/other.yaml": external("other")})
    world.poke(ns)
    operator.look("other")
    until(lambda: "generation 2 not synced yet, at 1" in waits(world, ns), "it waits for the newest generation")
    operator.look(value="again")
    world.ready(ns, "shop", commit)
    assert value(world, ns) == "again"


def test_a_secret_of_ours_that_an_operator_took_over_is_released_when_it_leaves_git(world, ns, repo, operator):
    """Our labels and our record of fields are still on it: only who controls it tells."""
    repo.commit({"app/secret.yaml": plain()})
    world.poke(ns)
    world.app(ns, "shop", "./app", wait=True, annotations={"trimtab.dev/plaintext-secrets": "allow"})
    until(lambda: secret(world, ns), "the Secret of git is applied")
    operator.look(value="old")
    world.ready(ns, "shop")
    uid = secret(world, ns)["metadata"]["uid"]
    assert f"{ns}_db__Secret" in recorded(world, ns)
    commit = repo.commit({"app/secret.yaml": None})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    live = secret(world, ns)["metadata"]
    assert live["uid"] == uid
    assert live["labels"][f"{PARENT}/name"] == "shop"
    assert MANAGER in [entry["manager"] for entry in live["managedFields"] if entry["operation"] == "Apply"]
    left_alone(world, ns)


def test_the_object_moves_to_another_app_and_the_secret_stays(world, ns, repo, operator):
    repo.commit({"app/db.yaml": external(), "app/more.yaml": external("more"), "new/other.yaml": external("other")})
    world.poke(ns)
    world.app(ns, "shop", "./app", wait=True)
    world.app(ns, "heir", "./new", wait=True)
    for name in ("db", "more", "other"):
        operator.look(name)
    world.ready(ns, "shop")
    world.ready(ns, "heir")
    uid = secret(world, ns)["metadata"]["uid"]
    commit = repo.commit({"app/db.yaml": None, "new/db.yaml": external()})
    world.poke(ns)
    world.ready(ns, "heir", commit)
    world.ready(ns, "shop", commit)
    assert f"{ns}_db_{GROUP}_ExternalSecret" in recorded(world, ns, "heir")
    assert secret(world, ns)["metadata"]["labels"][f"{PARENT}/name"] == "shop", "the operator has not looked since"
    another_pass(world, ns, "shop")
    another_pass(world, ns, "heir")
    assert secret(world, ns)["metadata"]["uid"] == uid
    operator.look()
    assert secret(world, ns)["metadata"]["labels"][f"{PARENT}/name"] == "heir"
    another_pass(world, ns, "shop")
    assert secret(world, ns)["metadata"]["uid"] == uid


def test_the_object_is_pruned_and_the_garbage_collector_takes_the_secret(world, ns, repo, operator, plane):
    repo.commit({"app/more.yaml": external("more")})
    world.poke(ns)
    world.app(ns, "shop", "./app", wait=True)
    operator.look()
    operator.look("more")
    world.ready(ns, "shop")
    mark = plane.audit_log.stat().st_size
    commit = repo.commit({"app/db.yaml": None})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    until(lambda: secret(world, ns) is None, "it is collected")
    world.api.delete(f"{APPS}/namespaces/{ns}/kustomizations/shop")
    until(lambda: world.get_app(ns, "shop") is None, "the app is gone")
    until(lambda: secret(world, ns, "more") is None, "it is collected, too")
    assert deletions(plane, mark, ns) == {
        "db": {COLLECTOR},
        "more": {COLLECTOR},
    }


def deletions(plane, mark, ns):
    """Who has asked since `mark` for the deletion of Secrets, by the name of the Secret (empty: of several at once)."""
    found: dict[str, set[str]] = {}
    with plane.audit_log.open("rb") as log:
        log.seek(mark)
        for event in map(json.loads, log):
            about = event.get("objectRef") or {}
            if (about.get("resource"), about.get("namespace")) == ("secrets", ns) and event["verb"].startswith(
                "delete"
            ):
                found.setdefault(about.get("name", ""), set()).add(event["user"]["username"])
    return found


def test_a_repaired_record_has_nothing_of_the_operators(own, ns):
    """Also not what was ours before: the labels and the record of fields are there still."""
    repo, operator = own.repo(ns), OperatorDouble(own, ns)
    repo.commit({"app/db.yaml": external(), "app/secret.yaml": plain(), "app/more.yaml": external("more")})
    own.controller.start()
    own.source(ns, repo.url)
    own.app(ns, "shop", "./app", wait=True, annotations={"trimtab.dev/plaintext-secrets": "allow"})
    until(lambda: secret(own, ns), "the Secret of git is applied")
    operator.look()
    operator.look("more")
    own.ready(ns, "shop")
    commit = repo.commit({"app/secret.yaml": None})
    own.poke(ns)
    entries = own.ready(ns, "shop", commit)["status"]["inventory"]["entries"]
    own.controller.kill()
    cut = {"inventory": {"entries": [line for line in entries if "more" not in line["id"]]}}
    own.api.merge(f"{APPS}/namespaces/{ns}/kustomizations/shop/status", {"status": cut})
    own.controller.start()
    own.failed(ns, "shop", "ReadOnly")
    done = trimtab(own, "repair", "inventory", "shop", "-n", ns, "--yes")
    assert done.returncode == 0, done.stderr
    assert f"ExternalSecret/{ns}/more  found in the cluster" in done.stdout
    assert "\nSecret/" not in f"\n{done.stdout}"
    own.ready(ns, "shop", commit)
    assert secret(own, ns)
    assert recorded(own, ns) == {f"{ns}_{name}_{GROUP}_ExternalSecret" for name in ("db", "more")}
