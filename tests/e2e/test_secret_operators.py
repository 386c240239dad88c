"""Secrets that an operator makes from an object of ours: never pruned, corrected, reported or put on record by us.

The operator is a double that does, when the test says so, what External Secrets does: it copies all labels and
annotations of its object onto the Secret, ours among them, and makes the object control it. For HashiCorp's operator it
does what that one does: labels of its own, and an owner that does not control.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.test_inventory import own
from tests.e2e.test_repair import trimtab
from tests.e2e.world import APPS, World, condition, until
from trimtab.cli.demo import repository as demo_repository

__all__ = ["own"]

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP, VERSION, PLURAL = "external-secrets.io", "v1", "externalsecrets"
VAULT = "secrets.hashicorp.com"
KINDS = {
    "ExternalSecret": (GROUP, VERSION, PLURAL),
    "SecretStore": (GROUP, VERSION, "secretstores"),
    "VaultConnection": (VAULT, "v1beta1", "vaultconnections"),
    "VaultAuth": (VAULT, "v1beta1", "vaultauths"),
    "VaultStaticSecret": (VAULT, "v1beta1", "vaultstaticsecrets"),
}
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
    """The operators, one look at a time."""

    def __init__(self, world: World, ns: str) -> None:
        self.world, self.ns = world, ns

    def look(self, name: str = "db", value: str = "fetched") -> None:
        """Make or take over the Secret of the ExternalSecret `name`, and say so in its status."""
        api = self.world.api
        parent = self.find("ExternalSecret", name)
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
        self.say(
            "ExternalSecret",
            name,
            conditions=[told],
            syncedResourceVersion=f"{metadata['generation']}-0123456789abcdef",
        )

    def look_as_vault(self, name: str) -> None:
        """The same for a VaultStaticSecret that makes a Secret of its own name."""
        parent = self.find("VaultStaticSecret", name)
        uid, generation = parent["metadata"]["uid"], parent["metadata"]["generation"]
        owner = {"apiVersion": parent["apiVersion"], "kind": parent["kind"], "name": name, "uid": uid}
        labels = {"app.kubernetes.io/managed-by": "hashicorp-vso", "secrets.hashicorp.com/vso-ownerRefUID": uid}
        metadata = {"name": name, "labels": labels, "ownerReferences": [owner]}
        body = {"metadata": metadata, "data": {"password": base64.b64encode(b"fetched").decode()}}
        self.world.api.create(f"/api/v1/namespaces/{self.ns}/secrets?fieldManager=manager", body)
        told = [
            {"type": type_, "status": "True", "reason": "Synced", "message": ""} for type_ in ("SecretSynced", "Ready")
        ]
        self.say("VaultStaticSecret", name, lastGeneration=generation, conditions=told)

    def find(self, kind: str, name: str) -> Any:
        return until(lambda: self.world.api.get(self._path(kind, name)), f"the {kind} {name} is there")

    def say(self, kind: str, name: str, **status: Any) -> None:
        self.find(kind, name)
        self.world.api.merge(f"{self._path(kind, name)}/status", {"status": status})

    def _path(self, kind: str, name: str) -> str:
        group, version, plural = KINDS[kind]
        return f"/apis/{group}/{version}/namespaces/{self.ns}/{plural}/{name}"


@pytest.fixture(scope="module", autouse=True)
def kinds(world) -> Iterator[None]:
    """The kinds of the operators, with no more of a schema than a status beside the rest."""
    api = world.api
    definitions = [f"{DEFINITIONS}/{plural}.{group}" for group, _, plural in KINDS.values()]
    for kind, (group, version, plural) in KINDS.items():
        schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": ANY, "status": ANY}}}
        served = {"name": version, "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
        names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
        spec = {"group": group, "names": names, "scope": "Namespaced", "versions": [served]}
        api.create(DEFINITIONS, {"metadata": {"name": f"{plural}.{group}"}, "spec": spec})
    for path in definitions:
        until(lambda path=path: condition(api.get(path), "Established").get("status") == "True", "it is served")
    yield
    for path in definitions:
        api.delete(path)
    for path in definitions:
        until(lambda path=path: api.get(path) is None, "it is gone")


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


def plain(**annotations):
    """The Secret as it stood in git before."""
    metadata = {"name": "db", "annotations": annotations}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": "old"}})


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


def test_a_secret_that_was_given_away_stays_when_an_object_of_the_operator_replaces_it(world, ns, repo, operator):
    repo.commit({"app/db.yaml": plain(**{f"{PARENT}/prune": "disabled"})})
    world.poke(ns)
    world.app(ns, "shop", "./app", wait=True, annotations={"trimtab.dev/plaintext-secrets": "allow"})
    uid = until(lambda: secret(world, ns), "the Secret of git is applied")["metadata"]["uid"]
    world.ready(ns, "shop")
    commit = repo.commit({"app/db.yaml": external()})
    world.poke(ns)
    until(lambda: f"{ns}_db__Secret" not in recorded(world, ns), "it was let go before the operator has looked")
    assert value(world, ns) == "old"
    operator.look()
    world.ready(ns, "shop", commit)
    assert secret(world, ns)["metadata"]["uid"] == uid
    assert value(world, ns) == "fetched"
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
    collected(world, ns)
    world.api.delete(f"{APPS}/namespaces/{ns}/kustomizations/shop")
    until(lambda: world.get_app(ns, "shop") is None, "the app is gone")
    collected(world, ns, "more")
    assert deletions(plane, mark, ns) == {
        "db": {COLLECTOR},
        "more": {COLLECTOR},
    }


def collected(world, ns, name="db"):
    """Wait until the garbage collector has been here: it looks for new kinds every half minute."""
    until(lambda: secret(world, ns, name) is None, f"the Secret {name} is collected", timeout=90)


def deletions(plane, mark, ns):
    """Who has asked since `mark` for the deletion of Secrets, by the name of the Secret (empty: of several at once)."""
    found: dict[str, set[str]] = {}
    with plane.audit_log.open("rb") as log:
        log.seek(mark)
        for event in (json.loads(line) for line in log if line.endswith(b"\n")):
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


def example(directory):
    """A directory of the example repository."""
    root = demo_repository.examples()
    return {
        path.relative_to(root).as_posix(): path.read_text() for path in sorted((root / "secrets" / directory).iterdir())
    }


def test_the_examples_are_ready_when_their_operators_have_made_the_secret(world, ns, repo, operator):
    repo.commit({**example("external"), **example("vault")})
    world.poke(ns)
    refuse = {"trimtab.dev/plaintext-secrets": "refuse"}
    world.app(ns, "shop", "./secrets/external", annotations=refuse, wait=True)
    told = {"type": "Ready", "status": "True", "reason": "Valid", "message": "store validated"}
    operator.say("SecretStore", "vault", conditions=[told])
    operator.look("database")
    world.ready(ns, "shop")
    assert value(world, ns, "database") == "fetched"
    left_alone(world, ns, "database")
    world.api.delete(f"{APPS}/namespaces/{ns}/kustomizations/shop")
    collected(world, ns, "database")
    until(lambda: world.get_app(ns, "shop") is None, "the app is gone")
    world.app(ns, "shop", "./secrets/vault", annotations=refuse, wait=True)
    for kind, name in (("VaultConnection", "vault"), ("VaultAuth", "database")):
        operator.say(kind, name, valid=True)
    operator.look_as_vault("database")
    world.ready(ns, "shop")
    left_alone(world, ns, "database")
