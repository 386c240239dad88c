"""Drift as users meet it: in the status, yielded after a fight, found after a pause, told with discretion."""

import urllib.request

import pytest

from tests.e2e.test_main_job import config, deployment, settings
from tests.e2e.world import Controller, World, condition, until


def events(world, ns, reason):
    return [e for e in world.api.get(f"/api/v1/namespaces/{ns}/events")["items"] if e["reason"] == reason]


@pytest.fixture
def shop(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/web.yaml": deployment(), "app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app")
    world.ready(ns, "shop")
    return repo


def recolour(world, ns, value):
    path = f"/api/v1/namespaces/{ns}/configmaps/settings?fieldManager=painter"
    world.api.merge(path, {"data": {"colour": value}})


def records(world, ns):
    return (world.get_app(ns, "shop")["status"]).get("drift") or []


def healed(world, ns):
    until(lambda: settings(world, ns)["data"]["colour"] == "red", "the edit is healed")


def test_the_status_lists_drift_newest_first_and_the_metrics_count_it(world, ns, shop):
    recolour(world, ns, "blue")
    healed(world, ns)
    until(lambda: len(records(world, ns)) == 1, "the first is on record")
    world.api.delete(f"/api/v1/namespaces/{ns}/configmaps/settings")
    until(lambda: len(records(world, ns)) == 2, "the second is on record")
    newest, oldest = records(world, ns)
    assert (newest["object"], newest["change"], newest["answer"]) == (
        f"ConfigMap/{ns}/settings",
        "deleted",
        "corrected",
    )
    assert oldest["fields"] == [{"path": "data.colour", "found": '"blue"', "declared": '"red"'}]
    assert (oldest["manager"], oldest["operation"], oldest["answer"]) == ("painter", "Update", "corrected")
    assert oldest["changedAt"] <= oldest["seenAt"]
    with urllib.request.urlopen(f"http://127.0.0.1:{world.controller.metrics_port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    assert f'trimtab_drift_total{{answer="corrected",kind="Kustomization",name="shop",namespace="{ns}"}} 2.0' in text


def test_secret_values_are_in_no_event_and_no_status(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: declared-value}\n"})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app")
    world.ready(ns, "shop")
    world.api.merge(f"/api/v1/namespaces/{ns}/secrets/s", {"stringData": {"k": "found-value"}})
    [record] = until(lambda: records(world, ns), "it is on record")
    assert record["fields"][0]["path"] == "data.k"
    assert record["fields"][0]["found"] != record["fields"][0]["declared"]
    until(lambda: events(world, ns, "DriftDetected"), "it is told")
    everything = str(world.get_app(ns, "shop")) + str(world.api.get(f"/api/v1/namespaces/{ns}/events"))
    # the values as they are, and as the API carries them
    for value in ("declared-value", "found-value", "ZGVjbGFyZWQtdmFsdWU", "Zm91bmQtdmFsdWU"):
        assert value not in everything


def test_after_a_fight_the_path_is_left_to_the_other_until_a_request(world, ns, shop):
    for _ in range(3):
        recolour(world, ns, "blue")
        healed(world, ns)
    until(lambda: len(records(world, ns)) == 3, "three are on record")
    recolour(world, ns, "blue")
    app = until(lambda: condition(world.get_app(ns, "shop"), "DriftFight") and world.get_app(ns, "shop"), "it yields")
    fight = condition(app, "DriftFight")
    assert fight["status"] == "True"
    for word in (f"ConfigMap/{ns}/settings", "data.colour", "kustomize-controller", "painter"):
        assert word in fight["message"]
    assert condition(app, "Ready")["status"] == "True"
    assert records(world, ns)[0]["answer"] == "yielded"
    # everything else of the object is still ours
    other = f"/apis/apps/v1/namespaces/{ns}/deployments/web"
    world.api.merge(other, {"spec": {"replicas": 9}})
    until(lambda: world.api.get(other)["spec"]["replicas"] == 2, "other drift is healed")
    labels = {"kustomize.toolkit.fluxcd.io/name": "thief"}
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"metadata": {"labels": labels}})
    until(
        lambda: settings(world, ns)["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] == "shop",
        "the rest of the object is healed",
    )
    assert settings(world, ns)["data"]["colour"] == "blue"
    world.poke_app(ns, "shop")
    healed(world, ns)
    until(lambda: not condition(world.get_app(ns, "shop"), "DriftFight"), "the fight is over")


def test_an_app_that_is_to_correct_again_corrects_what_was_only_reported(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", annotations={"trimtab.dev/drift": "alert"})
    world.ready(ns, "shop")
    recolour(world, ns, "blue")
    until(lambda: [each["answer"] for each in records(world, ns)] == ["reported"], "it is reported")
    recolour(world, ns, "green")
    until(lambda: [each["answer"] for each in records(world, ns)] == ["reported"] * 2, "it is reported again")
    recolour(world, ns, "red")
    until(lambda: [each["answer"] for each in records(world, ns)][:1] == ["returned"], "it is told that it is over")
    until(lambda: events(world, ns, "NoDriftDetected"), "an event says so")
    recolour(world, ns, "blue")
    until(lambda: [each["answer"] for each in records(world, ns)][:1] == ["reported"], "it is reported")
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/shop"
    world.api.merge(path, {"metadata": {"annotations": {"trimtab.dev/drift": "correct"}}})
    healed(world, ns)


def test_an_object_that_says_so_itself_is_only_reported_or_not_even_that(world, ns):
    repo = world.repo(ns)
    files = {}
    for mode in ("alert", "ignore"):
        body = config(mode).replace(f"name: {mode}", f'name: {mode}, annotations: {{trimtab.dev/drift: "{mode}"}}')
        assert "trimtab.dev/drift" in body
        files[f"app/{mode}.yaml"] = body
    repo.commit({**files, "app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app")
    world.ready(ns, "shop")
    for name in ("ignore", "alert", "settings"):
        world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/{name}", {"data": {"colour": "blue"}})
    until(lambda: len(records(world, ns)) == 2, "both others are on record")
    healed(world, ns)
    assert {(each["object"], each["answer"]) for each in records(world, ns)} == {
        (f"ConfigMap/{ns}/alert", "reported"),
        (f"ConfigMap/{ns}/settings", "corrected"),
    }
    for name in ("ignore", "alert"):
        assert world.api.get(f"/api/v1/namespaces/{ns}/configmaps/{name}")["data"]["colour"] == "blue"


def metrics(world):
    with urllib.request.urlopen(f"http://127.0.0.1:{world.controller.metrics_port}/metrics", timeout=30) as answer:
        return answer.read().decode()


def resume(world, ns):
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/shop"
    world.api.merge(path, {"spec": {"suspend": False}})


def test_drift_of_a_suspended_app_is_told_and_left_and_corrected_when_it_is_resumed(world, ns, shop):
    world.suspend(ns)
    recolour(world, ns, "blue")
    [record] = until(lambda: records(world, ns), "it is on record")
    assert (record["answer"], record["manager"]) == ("reported", "painter")
    until(lambda: events(world, ns, "DriftDetected"), "it is told")
    age = f'trimtab_drift_seconds{{kind="Kustomization",name="shop",namespace="{ns}"}}'
    until(lambda: age in metrics(world), "the age of it is measured")
    recolour(world, ns, "red")
    until(lambda: [each["answer"] for each in records(world, ns)] == ["returned", "reported"], "it is over")
    until(lambda: age not in metrics(world), "nothing differs")
    version = settings(world, ns)["metadata"]["resourceVersion"]
    recolour(world, ns, "green")
    until(lambda: len(records(world, ns)) == 3, "another one is on record")
    assert settings(world, ns)["data"]["colour"] == "green"
    assert int(settings(world, ns)["metadata"]["resourceVersion"]) > int(version)
    resume(world, ns)
    healed(world, ns)
    until(lambda: records(world, ns)[0]["answer"] == "corrected", "the correction is on record")
    assert age not in metrics(world)


@pytest.fixture
def own(world, kubeconfig, api, git_root, git_url, tmp_path):
    """A controller that the test may stop and start."""
    world.controller.stop()
    controller = Controller(kubeconfig, tmp_path, "--no-leader-elect")
    controller.start()
    yield World(api, git_url, git_root, controller)
    controller.kill()
    world.controller.start()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("mode", "answer"), [("correct", "corrected"), ("alert", "reported")])
def test_what_changed_while_the_controller_was_down_is_drift_that_is_found_at_the_start(own, ns, mode, answer):
    repo = own.repo(ns)
    repo.commit({"app/settings.yaml": config(), "app/other.yaml": config("other"), "app/same.yaml": config("same")})
    own.source(ns, repo.url)
    own.app(ns, "shop", "./app", annotations={"trimtab.dev/drift": mode})
    own.ready(ns, "shop")
    until(lambda: own.get_app(ns, "shop")["status"].get("history"), "the status is written")
    own.controller.kill()
    recolour(own, ns, "blue")
    own.api.delete(f"/api/v1/namespaces/{ns}/configmaps/other")
    version = own.api.get(f"/api/v1/namespaces/{ns}/configmaps/same")["metadata"]["resourceVersion"]
    own.controller.start()
    found = until(lambda: len(records(own, ns)) == 2 and records(own, ns), "both are on record", 60)
    assert {(each["object"], each["change"], each["answer"]) for each in found} == {
        (f"ConfigMap/{ns}/settings", "changed", answer),
        (f"ConfigMap/{ns}/other", "deleted", answer),
    }
    assert settings(own, ns)["data"]["colour"] == ("red" if mode == "correct" else "blue")
    assert bool(own.api.get(f"/api/v1/namespaces/{ns}/configmaps/other")) == (mode == "correct")
    same = own.api.get(f"/api/v1/namespaces/{ns}/configmaps/same")
    assert same["metadata"]["resourceVersion"] == version


@pytest.mark.timeout(300)
def test_what_changed_of_a_suspended_app_while_the_controller_was_down_is_told(own, ns):
    repo = own.repo(ns)
    repo.commit({"app/settings.yaml": config(), "app/other.yaml": config("other")})
    own.source(ns, repo.url)
    own.app(ns, "shop", "./app")
    own.ready(ns, "shop")
    until(lambda: own.get_app(ns, "shop")["status"].get("history"), "the status is written")
    own.suspend(ns)
    own.controller.kill()
    recolour(own, ns, "blue")
    own.api.delete(f"/api/v1/namespaces/{ns}/configmaps/other")
    own.controller.start()
    until(lambda: len(records(own, ns)) == 2, "both are on record", 60)
    assert {(each["change"], each["answer"]) for each in records(own, ns)} == {
        ("changed", "reported"),
        ("deleted", "reported"),
    }
    assert settings(own, ns)["data"]["colour"] == "blue"


def test_drift_is_corrected_while_the_app_waits_for_a_dependency(world, ns, shop):
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/shop"
    world.api.merge(path, {"spec": {"dependsOn": [{"name": "nobody"}]}})
    world.failed(ns, "shop", "DependencyNotReady")
    recolour(world, ns, "blue")
    healed(world, ns)
    world.failed(ns, "shop", "DependencyNotReady")


def test_what_was_created_anew_while_the_app_waits_is_on_record_as_it_is_now(world, ns, shop):
    """Else it would be taken for somebody else's when it leaves."""
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/shop"
    world.api.merge(path, {"spec": {"dependsOn": [{"name": "nobody"}]}})
    world.failed(ns, "shop", "DependencyNotReady")
    before = settings(world, ns)["metadata"]["uid"]
    world.api.delete(f"/api/v1/namespaces/{ns}/configmaps/settings")

    def recorded():
        entries = world.get_app(ns, "shop")["status"]["inventory"]["entries"]
        return next(entry.get("uid") for entry in entries if "settings" in entry["id"])

    until(lambda: recorded() != before, "the new one is on record")
    assert recorded() == settings(world, ns)["metadata"]["uid"]
    commit = shop.commit({"app/settings.yaml": None})
    world.api.merge(path, {"spec": {"dependsOn": None}})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    assert settings(world, ns) is None
