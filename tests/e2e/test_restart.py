"""`kill -9` at any time and start again: it converges, without duplicates, orphans or needless writes."""

import random
import shutil
import time

import pytest

from tests.e2e.reviewer import Webhook
from tests.e2e.test_main_job import config, deployment
from tests.e2e.world import Controller, World, until

SEED = 20261123


@pytest.fixture
def own(world, api, kubeconfig, git_root, git_url, tmp_path):
    """A second controller would share the Leases, so this one runs without, in place of the session's."""
    world.controller.stop()
    controller = Controller(kubeconfig, tmp_path, "--no-leader-elect")
    yield World(api, git_url, git_root, controller)
    controller.kill()
    world.controller.start()


def labelled(world, ns, kind="configmaps"):
    query = "labelSelector=kustomize.toolkit.fluxcd.io/name"
    return {item["metadata"]["name"] for item in world.api.get(f"/api/v1/namespaces/{ns}/{kind}?{query}")["items"]}


@pytest.mark.timeout(400)
def test_killed_at_random_moments_it_ends_where_an_undisturbed_run_ends(own, ns):
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    repo = own.repo(ns)
    repo.commit({f"app/c{i}.yaml": config(f"c{i}") for i in range(12)} | {"app/web.yaml": deployment()})
    own.source(ns, repo.url)
    own.app(ns, "shop", "./app", wait=True)
    wanted = {f"c{i}" for i in range(12)}
    for round_ in range(8):
        own.controller.start()
        time.sleep(0.6 + chance.random() * 1.2)
        own.controller.kill()
        drop, add = f"c{round_}", f"n{round_}"
        repo.commit({f"app/{drop}.yaml": None, f"app/{add}.yaml": config(add)})
        wanted = (wanted - {drop}) | {add}
    commit = repo.push()
    own.controller.start()
    fetched = lambda: own.get_source(ns)["status"].get("artifact", {}).get("revision", "").endswith(commit)  # noqa: E731
    until(fetched, lambda: f"{own.get_source(ns)}\n{own.controller.log[-3000:]}", 30)
    app = own.ready(ns, "shop", commit)
    until(lambda: labelled(own, ns) == wanted, lambda: f"{labelled(own, ns)} is not {wanted}", 15)
    ids = {entry["id"] for entry in app["status"]["inventory"]["entries"]}
    assert ids == {f"{ns}_{name}__ConfigMap" for name in wanted} | {f"{ns}_web_apps_Deployment"}


def test_what_a_new_app_had_applied_when_its_process_died_is_known_to_the_next_one(own, ns, tmp_path):
    """Nothing but what was put on record before the first write tells of it: there is no status yet."""

    def die(request):
        if request["name"] == "b" and not request.get("dryRun"):
            own.controller.kill()
        return {"allowed": True}

    repo = own.repo(ns)
    repo.commit({"app/a.yaml": config("a"), "app/b.yaml": config("b"), "app/c.yaml": config("c")})
    webhook = Webhook(own, ns, tmp_path)
    webhook.decide = die
    with webhook.served():
        webhook.configure("Validating")
        own.controller.start()
        own.source(ns, repo.url)
        own.app(ns, "shop", "./app")
        until(lambda: own.controller.process.poll() is not None, "it dies between two writes")
        assert own.get_app(ns, "shop")["status"] == {"observedGeneration": -1}
        assert "a" in labelled(own, ns)
    commit = repo.commit({"app/a.yaml": None})
    shutil.rmtree(own.controller.directory / "data")  # with it, the next one would begin with the revision that has `a`
    own.controller.start()
    app = own.ready(ns, "shop", commit)
    until(lambda: labelled(own, ns) == {"b", "c"}, lambda: f"{labelled(own, ns)} is not b and c", 15)
    assert {entry["id"] for entry in app["status"]["inventory"]["entries"]} == {f"{ns}_{n}__ConfigMap" for n in "bc"}


def test_a_start_on_a_converged_cluster_changes_no_object(own, ns):
    repo = own.repo(ns)
    commit = repo.commit({"app/web.yaml": deployment(), "app/settings.yaml": config()})
    own.source(ns, repo.url)
    own.app(ns, "shop", "./app", wait=True)
    own.controller.start()
    own.ready(ns, "shop", commit)
    until(lambda: own.api.get(f"/apis/apps/v1/namespaces/{ns}/deployments/web")["status"].get("readyReplicas"), "pods")
    own.controller.kill()
    time.sleep(1)

    def versions():
        live = own.api.get(f"/apis/apps/v1/namespaces/{ns}/deployments/web")
        return live["metadata"]["resourceVersion"], own.api.get(f"/api/v1/namespaces/{ns}/configmaps/settings")[
            "metadata"
        ]["resourceVersion"]

    before = versions()
    own.controller.start()
    moment = own.poke_app(ns, "shop")
    until(lambda: own.get_app(ns, "shop")["status"].get("lastHandledReconcileAt") == moment, "it is up", 30)
    time.sleep(1)
    assert versions() == before


def test_what_changed_while_it_was_down_is_found_at_the_start(own, ns):
    repo = own.repo(ns)
    commit = repo.commit({"app/a.yaml": config("a"), "app/b.yaml": config("b")})
    own.source(ns, repo.url)
    own.app(ns, "shop", "./app")
    own.controller.start()
    own.ready(ns, "shop", commit)
    own.controller.kill()
    own.api.merge(f"/api/v1/namespaces/{ns}/configmaps/a", {"data": {"colour": "blue"}})
    own.api.delete(f"/api/v1/namespaces/{ns}/configmaps/b")
    own.controller.start()
    get = lambda name: own.api.get(f"/api/v1/namespaces/{ns}/configmaps/{name}")  # noqa: E731
    until(lambda: get("a")["data"]["colour"] == "red" and get("b"), "both are healed", 20)
