"""Secrets that stand in git in clear text: told of, allowed or refused, as the annotation of the app says."""

import base64
import json

import pytest

from tests.e2e.world import APPS, until
from tests.sops.conftest import FIXTURES, KEYS

ANNOTATION = "trimtab.dev/plaintext-secrets"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData:\n  password: %s\n"
PLAIN = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\ndata: {colour: %s}\n"
HUNTER2 = (b"hunter2", base64.b64encode(b"hunter2"))


def warnings(world, ns):
    events = world.api.get(f"/api/v1/namespaces/{ns}/events?limit=500")["items"]
    return [event for event in events if event["reason"] == "PlaintextSecret"]


def secret(world, ns, name="db"):
    return world.api.get(f"/api/v1/namespaces/{ns}/secrets/{name}")


def say(world, ns, policy):
    change = {"metadata": {"annotations": {ANNOTATION: policy}}}
    world.api.merge(f"{APPS}/namespaces/{ns}/kustomizations/shop", change)


def another_pass(world, ns):
    moment = world.poke_app(ns, "shop")
    until(lambda: world.get_app(ns, "shop")["status"].get("lastHandledReconcileAt") == moment, "it was handled")


@pytest.fixture
def repo(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/plain.yaml": PLAIN % "red", "app/db.yaml": f"# the database\n{SECRET % 'hunter2'}"})
    world.source(ns, repo.url)
    return repo


def test_a_secret_in_clear_text_is_applied_and_told_of_once_for_each_revision(world, ns, repo):
    world.app(ns, "shop", "./app")
    world.ready(ns, "shop")
    [event] = until(lambda: warnings(world, ns), "it is told")
    assert event["type"] == "Warning"
    assert event["involvedObject"]["name"] == "shop"
    assert f"Secret/{ns}/db (app/db.yaml:2): password" in event["message"]
    assert base64.b64decode(secret(world, ns)["data"]["password"]) == b"hunter2"
    another_pass(world, ns)
    commit = repo.commit({"app/plain.yaml": PLAIN % "blue"})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    until(lambda: len(warnings(world, ns)) == 2, "the second revision is told")
    another_pass(world, ns)
    assert [event.get("count", 1) for event in warnings(world, ns)] == [1, 1]
    told = json.dumps([world.api.get(f"/api/v1/namespaces/{ns}/events"), world.get_app(ns, "shop")]).encode()
    for value in HUNTER2:
        assert value not in told
        assert value not in world.controller.log.encode()


def test_who_allows_it_hears_nothing(world, ns, repo):
    world.app(ns, "shop", "./app", annotations={ANNOTATION: "allow"})
    world.ready(ns, "shop")
    assert secret(world, ns)
    another_pass(world, ns)
    assert warnings(world, ns) == []


def test_who_refuses_it_has_nothing_written_until_it_is_encrypted(world, ns, repo):
    data = {"age.agekey": base64.b64encode((KEYS / "age.agekey").read_bytes()).decode()}
    world.api.create(f"/api/v1/namespaces/{ns}/secrets", {"metadata": {"name": "sops-keys"}, "data": data})
    decryption = {"provider": "sops", "secretRef": {"name": "sops-keys"}}
    world.app(ns, "shop", "./app", annotations={ANNOTATION: "refuse"}, decryption=decryption)
    message = world.failed(ns, "shop", "ValidationFailed", f"{ANNOTATION} is refuse")
    assert f"Secret/{ns}/db (app/db.yaml:2): password" in message
    assert "hunter2" not in message
    assert secret(world, ns) is None
    assert world.api.get(f"/api/v1/namespaces/{ns}/configmaps/plain") is None
    assert not (world.get_app(ns, "shop")["status"].get("inventory") or {}).get("entries")
    sealed = (FIXTURES / "canary" / "secret.yaml").read_text()
    commit = repo.commit({"app/db.yaml": None, "app/sealed.yaml": sealed})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    assert secret(world, ns, "manifest")
    assert warnings(world, ns) == []


def test_a_refused_revision_leaves_the_last_good_one_enforced(world, ns, repo):
    good = repo.commit({"app/db.yaml": None})
    world.app(ns, "shop", "./app", annotations={ANNOTATION: "refuse"})
    world.poke(ns)
    world.ready(ns, "shop", good)
    repo.commit({"app/plain.yaml": PLAIN % "blue", "app/db.yaml": SECRET % "hunter2"})
    world.poke(ns)
    world.failed(ns, "shop", "ValidationFailed", "app/db.yaml:1")
    path = f"/api/v1/namespaces/{ns}/configmaps/plain"
    assert world.api.get(path)["data"]["colour"] == "red"
    world.api.delete(path)
    until(lambda: (world.api.get(path) or {}).get("data") == {"colour": "red"}, "it is there again, as it was")
    say(world, ns, "warn")
    another_pass(world, ns)
    world.ready(ns, "shop")
    assert world.api.get(path)["data"]["colour"] == "blue"


def test_a_value_that_a_variable_brings_from_a_secret_is_not_in_git(world, ns, repo):
    data = {"PASSWORD": base64.b64encode(b"swordfish").decode()}
    world.api.create(f"/api/v1/namespaces/{ns}/secrets", {"metadata": {"name": "vars"}, "data": data})
    repo.commit({"app/db.yaml": SECRET % "${PASSWORD}"})
    post_build = {"substituteFrom": [{"kind": "Secret", "name": "vars"}]}
    world.app(ns, "shop", "./app", annotations={ANNOTATION: "refuse"}, postBuild=post_build)
    world.poke(ns)
    until(lambda: secret(world, ns), "it is applied")
    assert base64.b64decode(secret(world, ns)["data"]["password"]) == b"swordfish"
