"""What a person can do about a record: look at it, mend it, and let an app go without it."""

import json
import subprocess
import sys

import pytest

from tests.e2e.test_inventory import applied_by_flux, configs, entry, holders, labelled, own
from tests.e2e.test_main_job import config
from tests.e2e.world import APPS, until

__all__ = ["own"]


def trimtab(world, *arguments):
    command = [sys.executable, "-m", "trimtab", "--kubeconfig", str(world.controller.kubeconfig), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def stated(done):
    return {item["name"]: item["state"] for item in json.loads(done.stdout)["objects"]}


@pytest.fixture
def repo(world, ns):
    """The app `shop` with three ConfigMaps, Ready."""
    repo = world.repo(ns)
    commit = repo.commit({f"app/{name}.yaml": config(name) for name in "abc"})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app")
    world.ready(ns, "shop", commit)
    return repo


def test_the_inventory_tells_what_is_live(world, ns, repo):
    done = trimtab(world, "inventory", "shop", "-n", ns)
    assert done.returncode == 0, done.stderr
    assert f"ConfigMap/{ns}/a" in done.stdout
    uids = {item["name"]: item["uid"] for item in json.loads(inventory_json(world, ns).stdout)["objects"]}
    assert uids == {name: item["uid"] for name, item in labelled(world, ns).items()}


def inventory_json(world, ns):
    return trimtab(world, "inventory", "shop", "-n", ns, "-o", "json")


def test_the_inventory_tells_what_is_missing_and_what_was_replaced(world, ns, repo):
    world.suspend(ns)
    for name in ("a", "b"):
        world.api.delete(f"/api/v1/namespaces/{ns}/configmaps/{name}")
    applied_by_flux(world, ns, "b")
    done = inventory_json(world, ns)
    assert stated(done) == {"a": "missing", "b": "replaced", "c": "live"}
    assert done.returncode == 2


def test_an_app_that_is_not_there_has_no_inventory(world, ns):
    done = trimtab(world, "inventory", "nobody", "-n", ns)
    assert done.returncode == 1
    assert f"no kustomization nobody in namespace {ns}" in done.stderr


def damaged(own, ns):
    """The app `shop`, read-only, because the entry of `c` was cut out of its record."""
    repo = own.repo(ns)
    commit = repo.commit({f"app/{name}.yaml": config(name) for name in "abc"})
    own.controller.start()
    own.source(ns, repo.url)
    own.app(ns, "shop", "./app")
    entries = own.ready(ns, "shop", commit)["status"]["inventory"]["entries"]
    own.controller.kill()
    cut = {"inventory": {"entries": [line for line in entries if line["id"] != entry(ns, "c")]}}
    own.api.merge(f"{APPS}/namespaces/{ns}/kustomizations/shop/status", {"status": cut})
    own.controller.start()
    own.failed(ns, "shop", "ReadOnly", f"trimtab repair inventory shop -n {ns}")
    return repo


def test_p13_a_record_that_cannot_be_trusted_is_built_anew_and_the_app_goes_on(own, ns):
    repo = damaged(own, ns)
    unrelated = applied_by_flux(own, ns, "claimed", manager="somebody-else")
    done = inventory_json(own, ns)
    assert done.returncode == 2
    assert "checksum" in json.loads(done.stdout)["problem"]
    done = trimtab(own, "repair", "inventory", "shop", "-n", ns)
    assert done.returncode == 1, "nobody can be asked"
    assert f"ConfigMap/{ns}/c  found in the cluster" in done.stdout
    assert f"ConfigMap/{ns}/a  as recorded" in done.stdout
    assert "claimed" not in done.stdout
    own.failed(ns, "shop", "ReadOnly")
    done = trimtab(own, "repair", "inventory", "shop", "-n", ns, "--yes")
    assert done.returncode == 0, done.stderr
    inventory = own.ready(ns, "shop")["status"]["inventory"]
    uids = {name: item["uid"] for name, item in labelled(own, ns).items() if name != "claimed"}
    assert {line["id"]: line["uid"] for line in inventory["entries"]} == {entry(ns, n): uids[n] for n in "abc"}
    commit = repo.commit({"app/c.yaml": None})
    own.poke(ns)
    own.ready(ns, "shop", commit)
    assert set(labelled(own, ns)) == {"a", "b", "claimed"}
    assert labelled(own, ns)["claimed"]["uid"] == unrelated["uid"]


@pytest.mark.timeout(400)
def test_p13_a_long_record_whose_part_is_gone_is_built_anew(own, ns):
    repo = own.repo(ns)
    commit = repo.commit({"app/a.yaml": configs(0, 600), "app/b.yaml": configs(600, 1_001)})
    own.controller.start()
    own.source(ns, repo.url)
    own.app(ns, "shop", "./app", deletionPolicy="Orphan")
    own.ready(ns, "shop", commit, timeout=240)
    own.controller.kill()
    for holder in holders(own, ns):
        path = f"/api/v1/namespaces/{ns}/secrets/{holder['metadata']['name']}"
        own.api.merge(path, {"metadata": {"finalizers": None}})
        own.api.delete(path)
    own.controller.start()
    own.failed(ns, "shop", "ReadOnly", "is gone", timeout=60)
    done = trimtab(own, "repair", "inventory", "shop", "-n", ns, "--yes")
    assert done.returncode == 0, done.stderr
    inventory = own.ready(ns, "shop", timeout=240)["status"]["inventory"]
    assert (inventory["format"], inventory["count"]) == (2, 1_001)
    listed = json.loads(trimtab(own, "tree", "shop", "-n", ns, "-o", "json").stdout)["children"]
    assert {child["kind"] for child in listed} == {"ConfigMap"}, "the tree shows what is in the Secrets, not them"
    assert len(listed) == 1_001
    assert len(labelled(own, ns)) == 1_001


def test_a_healthy_record_is_left_as_it_is(world, ns, repo):
    before = world.get_app(ns, "shop")["metadata"]["resourceVersion"]
    done = trimtab(world, "repair", "inventory", "shop", "-n", ns, "--yes")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing to repair" in done.stderr
    assert world.get_app(ns, "shop")["metadata"]["resourceVersion"] == before


def test_p11_an_app_whose_account_is_gone_can_be_let_go(world, ns):
    world.api.create(f"/api/v1/namespaces/{ns}/serviceaccounts", {"metadata": {"name": "deployer"}})
    binding = {
        "metadata": {"name": "deployer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": ns}],
    }
    world.api.create(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings", binding)
    repo = world.repo(ns)
    commit = repo.commit({"app/a.yaml": config("a")})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", serviceAccountName="deployer")
    world.ready(ns, "shop", commit)
    done = trimtab(world, "repair", "release", "shop", "-n", ns, "--yes")
    assert done.returncode == 1
    assert "is not being deleted" in done.stderr
    world.api.delete(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings/deployer")
    world.api.delete(f"/api/v1/namespaces/{ns}/serviceaccounts/deployer")
    world.api.delete(f"{APPS}/namespaces/{ns}/kustomizations/shop")
    world.failed(ns, "shop", words="deployer does not exist")
    done = trimtab(world, "repair", "release", "shop", "-n", ns)
    assert (done.returncode, done.stdout.strip()) == (1, f"ConfigMap/{ns}/a"), "what stays is listed, nothing is done"
    assert world.get_app(ns, "shop")
    done = trimtab(world, "repair", "release", "shop", "-n", ns, "--yes")
    assert done.returncode == 0, done.stderr
    until(lambda: world.get_app(ns, "shop") is None, "the app is gone")
    assert set(labelled(world, ns)) == {"a"}
