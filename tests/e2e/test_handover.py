"""Objects that move between apps, and objects that two apps want: no outage, no flapping (ENGINE.md §6 and P1)."""

import time

import pytest

from tests.e2e.test_main_job import config
from tests.e2e.test_prune import child, delete_app, gone, held, names, push, start, there
from tests.e2e.world import condition, until

ORDERS = [{}, {"a": "b"}, {"b": "a"}]


def live(world, ns, name="x"):
    return world.api.get(f"/api/v1/namespaces/{ns}/configmaps/{name}")


def owner(world, ns, name="x"):
    return live(world, ns, name)["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"]


def recorded(world, ns, app):
    """The names in an app's inventory."""
    inventory = world.get_app(ns, app)["status"].get("inventory") or {"entries": []}
    return {entry["id"].split("_")[1] for entry in inventory["entries"]}


def two(world, ns, files, order=None, **spec):
    """Apps a and b from one repository."""
    repo = world.repo(ns)
    commit = repo.commit(files)
    world.source(ns, repo.url)
    for name in ("a", "b"):
        before = (order or {}).get(name)
        world.app(ns, name, f"./{name}", dependsOn=[{"name": before}] if before else None, **spec)
    return repo, commit


@pytest.mark.parametrize("order", ORDERS, ids=["free", "b-first", "a-first"])
def test_p1_a_file_moved_between_two_apps_in_one_commit_keeps_its_object(world, ns, order):
    files = {"a/x.yaml": config("x"), "a/own.yaml": config("own-a"), "b/own.yaml": config("own-b")}
    repo, commit = two(world, ns, files, order)
    world.ready(ns, "a", commit)
    world.ready(ns, "b", commit)
    uid = live(world, ns)["metadata"]["uid"]
    for source, target in (("a", "b"), ("b", "a"), ("a", "b")):
        commit = repo.commit({f"{source}/x.yaml": None, f"{target}/x.yaml": config("x", colour=target)})
        world.poke(ns)
        world.ready(ns, source, commit)
        world.ready(ns, target, commit)
        until(lambda target=target: owner(world, ns) == target, "it has moved")
        until(lambda s=source: "x" not in recorded(world, ns, s), "who had it before lets go", 10)
        assert "x" in recorded(world, ns, target)
        assert live(world, ns)["metadata"]["uid"] == uid
        assert live(world, ns)["data"]["colour"] == target


def test_p1_an_app_from_which_the_last_object_moves_away_keeps_nothing_on_record(world, ns):
    """It renders to nothing then, which alone would hold everything."""
    resources = {"a/kustomization.yaml": "resources: []\n", "b/kustomization.yaml": "resources: [x.yaml]\n"}
    repo, commit = two(world, ns, {**resources, "a/none.txt": "", "b/x.yaml": config("x")})
    world.ready(ns, "b", commit)
    uid = live(world, ns)["metadata"]["uid"]
    moved = {"a/kustomization.yaml": "resources: [x.yaml]\n", "b/kustomization.yaml": "resources: []\n"}
    commit = repo.commit({**moved, "b/x.yaml": None, "a/x.yaml": config("x")})
    world.poke(ns)
    world.ready(ns, "a", commit)
    until(lambda: recorded(world, ns, "a") == {"x"} and recorded(world, ns, "b") == set(), "it is handed over", 10)
    assert live(world, ns)["metadata"]["uid"] == uid
    until(lambda: not condition(world.get_app(ns, "b"), "PruneHeld"), "nothing is held", 10)


@pytest.mark.parametrize("waits", [False, True], ids=["at-once", "waits-for-another"])
def test_p1_an_app_renamed_in_one_commit_keeps_its_objects(world, ns, waits):
    inner = {f"inner/{name}.yaml": config(name) for name in names(14)}
    repo = start(world, ns, {"app/child.yaml": child(ns, "before", "./inner"), **inner})
    world.ready(ns, "before")
    before = there(world, ns)
    renamed = child(ns, "after", "./inner")
    if waits:
        renamed = renamed.replace("spec:\n", "spec:\n  dependsOn: [{name: shop}]\n")
    push(world, ns, repo, {"app/child.yaml": renamed})
    world.ready(ns, "after")
    gone(world, ns, "before")
    assert there(world, ns) == before, "every uid is as it was"
    assert recorded(world, ns, "after") == set(before)
    until(lambda: {owner(world, ns, name) for name in before} == {"after"}, "they carry the new name")
    assert not condition(world.get_app(ns, "shop"), "PruneHeld")


def test_p1_a_file_moved_into_an_app_that_the_same_commit_creates_keeps_its_object(world, ns):
    repo = start(world, ns, {"app/a.yaml": child(ns, "a", "./a"), "a/x.yaml": config("x"), "a/y.yaml": config("y")})
    world.ready(ns, "a")
    uid = live(world, ns)["metadata"]["uid"]
    files = {"app/b.yaml": child(ns, "b", "./b"), "a/x.yaml": None, "b/x.yaml": config("x", colour="b")}
    commit = push(world, ns, repo, files)
    world.ready(ns, "b", commit)
    world.ready(ns, "a", commit)
    assert live(world, ns)["metadata"]["uid"] == uid
    assert owner(world, ns) == "b"


def test_p1_an_app_deleted_while_another_desires_its_objects_releases_them(world, ns):
    repo = world.repo(ns)
    commit = repo.commit({"a/x.yaml": config("x"), "a/y.yaml": config("y"), "b/x.yaml": config("x")})
    world.source(ns, repo.url)
    world.app(ns, "a", "./a")
    world.ready(ns, "a", commit)
    world.app(ns, "b", "./b")
    world.failed(ns, "b", "Conflict")
    uid = live(world, ns)["metadata"]["uid"]
    delete_app(world, ns, "a")
    gone(world, ns, "a")
    world.ready(ns, "b", commit)
    assert live(world, ns)["metadata"]["uid"] == uid
    assert owner(world, ns) == "b"
    assert live(world, ns, "y") is None


def test_p1_two_apps_that_want_one_object_do_not_fight(world, ns):
    repo, commit = two(world, ns, {"a/x.yaml": config("x"), "b/o.yaml": config("o")})
    world.ready(ns, "a", commit)
    world.ready(ns, "b", commit)
    before = live(world, ns)["metadata"]
    commit = repo.commit({"b/x.yaml": config("x", colour="blue"), "b/p.yaml": config("p")})
    world.poke(ns)
    message = world.failed(ns, "b", "Conflict", f"ConfigMap/{ns}/x")
    assert f"Kustomization {ns}/a" in message
    for _ in range(10):
        for name in ("a", "b"):
            moment = world.poke_app(ns, name)
            until(lambda n=name, m=moment: world.get_app(ns, n)["status"].get("lastHandledReconcileAt") == m, "a pass")
    assert live(world, ns)["metadata"]["resourceVersion"] == before["resourceVersion"]
    assert live(world, ns, "p") is None, "nothing of what is in conflict is applied"
    world.ready(ns, "a", commit)
    world.failed(ns, "b", "Conflict")
    commit = repo.commit({"a/x.yaml": None, "a/o.yaml": config("oa")})
    world.poke(ns)
    world.ready(ns, "b", commit)
    world.ready(ns, "a", commit)
    assert live(world, ns)["metadata"]["uid"] == before["uid"]
    assert live(world, ns)["data"]["colour"] == "blue"


def test_p1_two_apps_that_create_one_object_at_the_same_time_leave_one_of_them_in_conflict(world, ns):
    two(world, ns, {"a/x.yaml": config("x"), "b/x.yaml": config("x", colour="blue")})
    states = lambda: {  # noqa: E731
        name: condition(world.get_app(ns, name), "Ready").get("reason") for name in ("a", "b")
    }
    until(lambda: sorted(map(str, states().values())) == ["Conflict", "ReconciliationSucceeded"], states)
    version = live(world, ns)["metadata"]["resourceVersion"]
    time.sleep(2)
    assert live(world, ns)["metadata"]["resourceVersion"] == version


def test_p1_a_prune_waits_for_a_neighbour_that_cannot_plan_but_not_for_ever(world, ns):
    files = {"a/x.yaml": config("x"), "a/own.yaml": config("own-a"), "b/own.yaml": config("own-b")}
    repo, commit = two(world, ns, files, timeout="9s")
    world.ready(ns, "a", commit)
    world.ready(ns, "b", commit)
    commit = repo.commit({"a/x.yaml": None, "b/broken.yaml": "a: [\n"})
    world.poke(ns)
    held(world, ns, "a", words=f"{ns}/b")
    assert live(world, ns), "it waits"
    world.ready(ns, "a", commit)
    until(lambda: live(world, ns) is None, "the wait is bounded by the app's timeout", 15)


def test_p1_a_file_moved_into_an_app_that_cannot_act_is_not_lost(world, ns):
    files = {"a/x.yaml": config("x"), "a/own.yaml": config("own-a"), "b/own.yaml": config("own-b")}
    repo, commit = two(world, ns, files)
    world.ready(ns, "a", commit)
    world.ready(ns, "b", commit)
    uid = live(world, ns)["metadata"]["uid"]
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/b"
    world.api.merge(path, {"spec": {"serviceAccountName": "nobody"}})
    world.failed(ns, "b", words="ServiceAccount")
    commit = repo.commit({"a/x.yaml": None, "b/x.yaml": config("x")})
    world.poke(ns)
    world.ready(ns, "a", commit)
    time.sleep(1)
    assert live(world, ns)["metadata"]["uid"] == uid
    world.api.merge(path, {"spec": {"serviceAccountName": None}})
    world.ready(ns, "b", commit)
    until(lambda: owner(world, ns) == "b", "it has moved")
    assert live(world, ns)["metadata"]["uid"] == uid
    until(lambda: "x" not in recorded(world, ns, "a"), "who had it before lets go")
