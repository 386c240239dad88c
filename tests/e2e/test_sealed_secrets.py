"""Sealed Secrets with the real kubeseal and the real controller: sealed, applied, unsealed, and never touched again.

The garbage collector of the tests' control plane is the real one, too: the Secret goes when its SealedSecret is gone.
"""

import base64
import json
import signal
from collections.abc import Iterator

import pytest

from tests.e2e.sealed import SealedSecrets
from tests.e2e.test_secret_operators import (
    COLLECTOR,
    PARENT,
    another_pass,
    collected,
    deletions,
    example,
    left_alone,
    recorded,
    secret,
    value,
    waits,
)
from tests.e2e.world import condition, until

REFUSE = {"trimtab.dev/plaintext-secrets": "refuse"}


@pytest.fixture(scope="module")
def sealed(world, plane, tmp_path_factory) -> Iterator[SealedSecrets]:
    sealed = SealedSecrets(world.api, world.namespace("sealed-secrets"), tmp_path_factory.mktemp("sealed"), plane.ca)
    try:
        sealed.install()
        sealed.start()
        yield sealed
    finally:
        sealed.remove()


@pytest.fixture
def repo(world, ns, sealed):
    """One SealedSecret whose Secret is to carry the labels of the app, as if it were ours."""
    repo = world.repo(ns)
    labels = {f"{PARENT}/name": "shop", f"{PARENT}/namespace": ns}
    repo.commit({"app/db.yaml": sealed.seal(ns, "db", labels, password="swordfish")})
    world.source(ns, repo.url)
    return repo


def sealed_secret(world, ns, name="db"):
    return world.api.get(f"/apis/bitnami.com/v1alpha1/namespaces/{ns}/sealedsecrets/{name}")


def test_a_secret_is_sealed_offline_applied_unsealed_and_left_alone(world, ns, repo):
    world.app(ns, "shop", "./app", annotations=REFUSE, wait=True)
    world.ready(ns, "shop")
    assert value(world, ns) == "swordfish"
    [owner] = secret(world, ns)["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["controller"]) == ("SealedSecret", True)
    assert secret(world, ns)["metadata"]["labels"][f"{PARENT}/name"] == "shop"
    assert recorded(world, ns) == {f"{ns}_db_bitnami.com_SealedSecret"}
    version = sealed_secret(world, ns)["metadata"]["resourceVersion"]
    left_alone(world, ns)
    assert sealed_secret(world, ns)["metadata"]["resourceVersion"] == version


def test_a_new_value_is_awaited_until_it_was_unsealed(world, ns, repo, sealed):
    world.app(ns, "shop", "./app", annotations=REFUSE, wait=True)
    world.ready(ns, "shop")
    sealed.signal(signal.SIGSTOP)
    try:
        commit = repo.commit({"app/db.yaml": sealed.seal(ns, "db", password="halibut")})
        world.poke(ns)
        until(lambda: "generation 2 not observed yet, at 1" in waits(world, ns), "it waits for the controller")
        assert value(world, ns) == "swordfish"
    finally:
        sealed.signal(signal.SIGCONT)
    world.ready(ns, "shop", commit)
    assert value(world, ns) == "halibut"


def test_what_the_controller_has_not_looked_at_is_not_healthy_yet(world, ns, repo, sealed):
    sealed.signal(signal.SIGSTOP)
    try:
        world.app(ns, "shop", "./app", annotations=REFUSE, wait=True)
        until(lambda: "its controller has not unsealed it yet" in waits(world, ns), "it waits for the controller")
        another_pass(world, ns)
        assert condition(world.get_app(ns, "shop"), "Ready")["status"] != "True"
        assert secret(world, ns) is None
    finally:
        sealed.signal(signal.SIGCONT)
    world.ready(ns, "shop")


def test_what_cannot_be_unsealed_fails_in_the_words_of_the_controller_until_it_is_mended(world, ns, repo, sealed):
    other = sealed.seal("another-namespace", "db", password="swordfish").replace("another-namespace", ns)
    [stranger] = [text for path, text in example("sealed").items() if path.endswith("database.yaml")]
    repo.commit({"app/db.yaml": other, "app/example.yaml": stranger.replace("namespace: shop", f"namespace: {ns}")})
    world.poke(ns)
    world.app(ns, "shop", "./app", annotations=REFUSE, wait=True)
    for name in ("db", "database"):
        message = world.failed(ns, "shop", "HealthCheckFailed", f"SealedSecret/{ns}/{name}: ")
        assert "no key could decrypt secret" in message
    commit = repo.commit({"app/db.yaml": sealed.seal(ns, "db", password="swordfish"), "app/example.yaml": None})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    assert value(world, ns) == "swordfish"


def test_a_secret_of_git_becomes_a_sealed_one_and_is_there_all_the_time(world, ns, repo, sealed, plane):
    """As docs/secrets.md says it: first the Secret is given away, then it is sealed."""
    away = {"sealedsecrets.bitnami.com/managed": "true", f"{PARENT}/prune": "disabled"}
    plain = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "moved", "annotations": away},
        "data": {"password": base64.b64encode(b"old").decode()},
    }
    repo.commit({"app/moved.yaml": json.dumps(plain)})
    world.poke(ns)
    world.app(ns, "shop", "./app", annotations={"trimtab.dev/plaintext-secrets": "allow"}, wait=True)
    until(lambda: secret(world, ns, "moved"), "the Secret of git is applied")
    world.ready(ns, "shop")
    uid = secret(world, ns, "moved")["metadata"]["uid"]
    mark = plane.audit_log.stat().st_size
    commit = repo.commit({"app/moved.yaml": sealed.seal(ns, "moved", password="swordfish")})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    until(lambda: value(world, ns, "moved") == "swordfish", "it has the new value")
    live = secret(world, ns, "moved")["metadata"]
    assert live["uid"] == uid
    assert [owner["kind"] for owner in live["ownerReferences"]] == ["SealedSecret"]
    assert f"{ns}_moved__Secret" not in recorded(world, ns)
    left_alone(world, ns, "moved")
    assert deletions(plane, mark, ns) == {}


def test_a_sealed_secret_is_pruned_and_the_garbage_collector_takes_the_secret(world, ns, repo, plane):
    """Last, since the collector looks for new kinds every half minute."""
    world.app(ns, "shop", "./app", annotations=REFUSE, wait=True)
    world.ready(ns, "shop")
    mark = plane.audit_log.stat().st_size
    commit = repo.commit({"app/db.yaml": None, "app/plain.yaml": CONFIG})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    assert sealed_secret(world, ns) is None
    collected(world, ns)
    assert deletions(plane, mark, ns) == {"db": {COLLECTOR}}


CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\n"
