"""The record of what an app owns, from the outside: long lists, lists that Flux wrote, versions that went away."""

import json

import pytest

from tests.e2e.test_main_job import config
from tests.e2e.world import APPS, Controller, World, condition, until

HOLDERS = "labelSelector=trimtab.dev/inventory"
APPLY = "application/apply-patch+yaml"
PARENT = "kustomize.toolkit.fluxcd.io"


@pytest.fixture
def own(world, api, kubeconfig, git_root, git_url, tmp_path):
    """A controller that a test may kill, in place of the package's."""
    world.controller.stop()
    controller = Controller(kubeconfig, tmp_path, "--no-leader-elect")
    yield World(api, git_url, git_root, controller)
    if controller.process and controller.process.poll() is None:
        controller.kill()
    world.controller.start()
    assert "Traceback" not in controller.log, controller.log[-6000:]


def configs(first, last):
    return "---\n".join(config(f"c{i}") for i in range(first, last))


def labelled(world, ns):
    query = f"labelSelector={PARENT}/name"
    found = world.api.get(f"/api/v1/namespaces/{ns}/configmaps?{query}")["items"]
    return {item["metadata"]["name"]: item["metadata"] for item in found}


def holders(world, ns):
    return world.api.get(f"/api/v1/namespaces/{ns}/secrets?{HOLDERS}")["items"]


def applied_by_flux(world, ns, name, app="shop", manager="kustomize-controller", colour="red"):
    """An object as Flux's kustomize-controller leaves it."""
    labels = {f"{PARENT}/name": app, f"{PARENT}/namespace": ns}
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": ns, "labels": labels},
        "data": {"colour": colour},
    }
    query = f"fieldManager={manager}&force=true"
    return world.api.call("PATCH", f"/api/v1/namespaces/{ns}/configmaps/{name}?{query}", body, APPLY)["metadata"]


def flux_status(world, ns, entries, app="shop"):
    path = f"{APPS}/namespaces/{ns}/kustomizations/{app}/status"
    world.api.merge(path, {"status": {"inventory": {"entries": [{"id": e, "v": "v1"} for e in entries]}}})


def entry(ns, name):
    return f"{ns}_{name}__ConfigMap"


@pytest.mark.timeout(400)
def test_a_long_inventory_is_kept_in_secrets_survives_a_crash_and_comes_back_to_the_status(own, ns):
    repo = own.repo(ns)
    commit = repo.commit({"app/a.yaml": configs(0, 600), "app/b.yaml": configs(600, 1_200)})
    own.controller.start()
    own.source(ns, repo.url)
    own.app(ns, "shop", "./app", annotations={"trimtab.dev/deletion-budget": "100%"}, deletionPolicy="Orphan")
    inventory = own.ready(ns, "shop", commit, timeout=240)["status"]["inventory"]
    assert (inventory["format"], inventory["count"]) == (2, 1_200)
    named = {line["id"] for line in inventory["entries"]}
    held = lambda: {f"{ns}_{item['metadata']['name']}__Secret" for item in holders(own, ns)}  # noqa: E731
    until(lambda: held() == named, lambda: f"the status names {named}, there are {held()}")
    victim = holders(own, ns)[0]["metadata"]["name"]
    own.api.delete(f"/api/v1/namespaces/{ns}/secrets/{victim}")
    assert victim in {item["metadata"]["name"] for item in holders(own, ns)}, "nobody's deletion loses the record"
    own.controller.kill()
    commit = repo.commit({"app/a.yaml": configs(300, 600)})
    own.controller.start()
    inventory = own.ready(ns, "shop", commit, timeout=240)["status"]["inventory"]
    assert inventory["format"] == 1
    assert {line["id"] for line in inventory["entries"]} == {entry(ns, f"c{i}") for i in range(300, 1_200)}
    assert all(line["uid"] for line in inventory["entries"])
    until(lambda: not holders(own, ns), "the Secrets are gone")
    assert set(labelled(own, ns)) == {f"c{i}" for i in range(300, 1_200)}


@pytest.mark.timeout(400)
def test_an_app_with_a_long_inventory_can_be_deleted_and_takes_its_secrets_along(own, ns):
    repo = own.repo(ns)
    commit = repo.commit({"app/a.yaml": configs(0, 600), "app/b.yaml": configs(600, 1_001)})
    own.controller.start()
    own.source(ns, repo.url)
    own.app(ns, "shop", "./app")
    own.ready(ns, "shop", commit, timeout=240)
    assert holders(own, ns)
    own.api.delete(f"{APPS}/namespaces/{ns}/kustomizations/shop")
    until(lambda: own.get_app(ns, "shop") is None, "the app is gone", 240)
    assert not labelled(own, ns)
    until(lambda: not holders(own, ns), "the garbage collector has taken the Secrets", 60)


@pytest.mark.timeout(400)
def test_more_objects_than_can_be_recorded_are_refused_before_anything_is_done(world, ns):
    repo = world.repo(ns)
    repo.commit({f"app/{n}.yaml": configs(n * 1_000, (n + 1) * 1_000) for n in range(20)} | {"app/x.yaml": config("x")})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app")
    message = world.failed(ns, "shop", "BuildFailed", timeout=120)
    assert "20001 objects" in message
    assert "at most 20000" in message
    assert not labelled(world, ns)


def test_an_inventory_written_by_flux_is_imported(own, ns):
    repo = own.repo(ns)
    commit = repo.commit({"app/kept.yaml": config("kept").replace("name: kept", f"name: kept, namespace: {ns}")})
    own.source(ns, repo.url)
    kept = applied_by_flux(own, ns, "kept")
    left = applied_by_flux(own, ns, "left")
    for name in ("foreign", "stranger"):
        own.api.create(f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": name}})
    own.app(ns, "shop", "./app", targetNamespace=None)
    gone = [f"gone{i}" for i in range(12)]
    flux_status(own, ns, [entry(ns, name) for name in ("kept", "left", "foreign", *gone)])
    own.controller.start()
    inventory = own.ready(ns, "shop", commit)["status"]["inventory"]
    assert inventory["format"] == 1
    assert [(line["id"], line["uid"]) for line in inventory["entries"]] == [(entry(ns, "kept"), kept["uid"])]
    assert labelled(own, ns)["kept"]["resourceVersion"] == kept["resourceVersion"], "it is not rewritten without need"
    assert set(labelled(own, ns)) == {"kept"}, f"what left git is pruned: {left['uid']}"
    assert own.api.get(f"/api/v1/namespaces/{ns}/configmaps/foreign"), "what is foreign is not"
    assert not condition(own.get_app(ns, "shop"), "PruneHeld"), "what is gone does not count as a deletion"


def test_of_flux_s_list_what_is_ours_stays_on_record_with_its_uid_where_nothing_is_pruned(own, ns):
    repo = own.repo(ns)
    commit = repo.commit({"app/kept.yaml": config("kept")})
    own.source(ns, repo.url)
    uids = {entry(ns, name): applied_by_flux(own, ns, name)["uid"] for name in ("kept", "left")}
    own.api.create(f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": "foreign"}})
    own.app(ns, "shop", "./app", prune=False)
    flux_status(own, ns, [entry(ns, name) for name in ("kept", "left", "foreign", "gone")])
    own.controller.start()
    inventory = own.ready(ns, "shop", commit)["status"]["inventory"]
    assert {line["id"]: line.get("uid") for line in inventory["entries"]} == uids


def test_what_only_carries_our_labels_is_not_ours_when_flux_s_list_is_imported(own, ns):
    repo = own.repo(ns)
    commit = repo.commit({"app/kept.yaml": config("kept")})
    own.source(ns, repo.url)
    applied_by_flux(own, ns, "claimed", manager="somebody-else")
    own.app(ns, "shop", "./app")
    flux_status(own, ns, [entry(ns, "claimed")])
    own.controller.start()
    inventory = own.ready(ns, "shop", commit)["status"]["inventory"]
    assert {line["id"] for line in inventory["entries"]} == {entry(ns, "kept")}
    assert "claimed" in labelled(own, ns)


def crd(group, served):
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = ("v1alpha1", "v1")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [
                {"name": name, "served": name in served, "storage": name == "v1", "schema": schema} for name in versions
            ],
        },
    }


def widget(group, version, name):
    return json.dumps({"apiVersion": f"{group}/{version}", "kind": "Widget", "metadata": {"name": name}})


def test_an_entry_of_a_version_that_is_no_longer_served_is_pruned_and_the_record_moves_on(own, ns):
    group = f"{ns}.example.org"
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    own.api.create(definitions, crd(group, ("v1alpha1", "v1")))
    until(lambda: own.api.get(f"/apis/{group}/v1alpha1"), "the kind is served")
    repo = own.repo(ns)
    commit = repo.commit({f"app/{name}.yaml": widget(group, "v1alpha1", name) for name in ("kept", "left")})
    own.controller.start()
    own.source(ns, repo.url)
    own.app(ns, "shop", "./app")
    inventory = own.ready(ns, "shop", commit)["status"]["inventory"]
    assert {line["v"] for line in inventory["entries"]} == {"v1alpha1"}
    uids = {line["id"]: line["uid"] for line in inventory["entries"]}
    own.api.merge(f"{definitions}/widgets.{group}", {"spec": crd(group, ("v1",))["spec"]})
    until(lambda: own.api.get(f"/apis/{group}/v1alpha1") is None, "the old version is gone")
    commit = repo.commit({"app/kept.yaml": widget(group, "v1", "kept"), "app/left.yaml": None})
    own.poke(ns)
    inventory = own.ready(ns, "shop", commit)["status"]["inventory"]
    kept = f"{ns}_kept_{group}_Widget"
    assert [(line["id"], line["v"], line["uid"]) for line in inventory["entries"]] == [(kept, "v1", uids[kept])]
    live = own.api.get(f"/apis/{group}/v1/namespaces/{ns}/widgets")["items"]
    assert [item["metadata"]["name"] for item in live] == ["kept"]
    own.api.delete(f"{APPS}/namespaces/{ns}/kustomizations/shop")
    until(lambda: own.get_app(ns, "shop") is None, "the app is gone")
    own.api.delete(f"{definitions}/widgets.{group}")
