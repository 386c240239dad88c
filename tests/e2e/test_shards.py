"""Several processes that share the apps of a cluster by their label, and what they must know of each other."""

import signal
import time

import pytest

from tests.e2e.test_main_job import config
from tests.e2e.world import Controller, World, until
from trimtab.api import names, shards

HOME = "/apis/coordination.k8s.io/v1/namespaces/flux-system/leases"
LEASES = (names.SOURCE_LEASE, names.KUSTOMIZE_LEASE, names.HELM_LEASE, names.WATCHER_LEASE)
TIMES = (
    *("--leader-election-lease-duration", "6s"),
    *("--leader-election-renew-deadline", "4s", "--leader-election-retry-period", "1s"),
)
ONE = {names.SHARD_LABEL: "one"}


def process(kubeconfig, directory, selector):
    return Controller(kubeconfig, directory, "--watch-label-selector", selector, *TIMES)


class Shards(World):
    """`one` looks after the shard of that name, the world's own controller after what has no label."""

    one: Controller


@pytest.fixture(scope="module")
def split(world, api, kubeconfig, git_root, git_url, tmp_path_factory):
    """The session's controller gives way to two that share the work."""
    until(lambda: "running: " in world.controller.log, lambda: world.controller.log)
    world.controller.stop()
    both = [
        process(kubeconfig, tmp_path_factory.mktemp(name), selector)
        for name, selector in (("rest", shards.REST), ("one", shards.selector_of("one")))
    ]
    for controller in both:
        controller.start()
    made = Shards(api, git_url, git_root, both[0])
    made.one = both[1]
    yield made
    stopped = [one.stop() for one in (made.controller, made.one)]
    log = made.controller.log + made.one.log
    for lease in LEASES:  # nobody shall wait until the guards have run out
        api.delete(f"{HOME}/{lease}")
    world.controller.start()
    assert stopped == [0, 0]
    assert "Traceback" not in log, log[-6000:]


@pytest.fixture
def ns(split, request):
    stem = "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).removeprefix("test-")
    name = split.namespace(stem)
    yield name
    split.let_go(name)


def settings(split, ns, name="settings"):
    return split.api.get(f"/api/v1/namespaces/{ns}/configmaps/{name}")


def owner(split, ns, name="settings"):
    found = settings(split, ns, name)
    return found["metadata"]["labels"][names.OWNER_NAME] if found else None


def test_each_process_does_its_own_apps_and_takes_artifacts_of_the_other(split, ns):
    repo = split.repo(ns)
    first = repo.commit({f"{name}/{name}.yaml": config(name) for name in ("app", "other")})
    split.source(ns, repo.url)
    split.app(ns, "app", "./app", labels=ONE)
    split.app(ns, "other", "./other")
    for name in ("app", "other"):
        split.ready(ns, name, first, 10)
    served = split.get_source(ns)["status"]["artifact"]["url"]
    assert f":{split.controller.storage_port}/" in served
    second = repo.commit({"app/app.yaml": config("app", colour="blue")})
    split.poke(ns)
    split.ready(ns, "app", second)
    assert settings(split, ns, "app")["data"]["colour"] == "blue"


def test_the_leases_keep_out_who_would_drive_the_objects_of_all(split):
    held = {name: split.api.get(f"{HOME}/{name}")["spec"]["holderIdentity"] for name in LEASES}
    assert set(held.values()) == {shards.TOGETHER}
    mine = split.api.get(f"{HOME}/{shards.lease_name(names.KUSTOMIZE_LEASE, shards.selector_of('one'))}")
    assert mine["metadata"]["annotations"] == {shards.SELECTOR: "sharding.fluxcd.io/key=one"}
    assert mine["metadata"]["name"] == "kustomize-controller-leader-election-" + mine["metadata"]["name"][-8:]


@pytest.fixture
def pair(split, ns):
    """One repository, an app of each process; the first has the settings."""
    repo = split.repo(ns)
    base = {f"{name}/own.yaml": config(f"{name}-own") for name in ("app", "other")}
    first = repo.commit({**base, "app/settings.yaml": config()})
    split.source(ns, repo.url)
    split.app(ns, "app", "./app", labels=ONE)
    split.app(ns, "other", "./other")
    for name in ("app", "other"):
        split.ready(ns, name, first)
    return repo


def without(split, process, condition, why):
    """Wait for something while a process stands still."""
    process.send_signal(signal.SIGSTOP)
    try:
        return until(condition, why, 4)
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("loses", "gains", "told"),
    [("other", "app", "leaving"), ("app", "other", "revision")],
    ids=["who has it looks first", "who gets it looks first"],
)
def test_an_object_that_moves_between_shards_in_one_commit_is_handed_over(split, ns, pair, loses, gains, told):
    if loses == "other":  # it has to get it first
        pair.commit({"app/settings.yaml": None, "other/settings.yaml": config()})
        split.poke(ns)
    until(lambda: owner(split, ns) == loses, lambda: split._why(ns, loses))
    uid = settings(split, ns)["metadata"]["uid"]
    moved = pair.commit({f"{loses}/settings.yaml": None, f"{gains}/settings.yaml": config(colour="blue")})

    def looked():
        plan = split.get_app(ns, "other")["status"]["planned"]
        return moved in plan["revision"] and plan.get(told)

    split.poke(ns)
    without(split, split.one.process, looked, lambda: split._why(ns, "other"))
    for name in ("app", "other"):
        split.ready(ns, name, moved)
    until(lambda: owner(split, ns) == gains, lambda: split._why(ns, gains))
    until(lambda: "settings" not in str(split.get_app(ns, loses)["status"]["inventory"]), lambda: split._why(ns, loses))
    assert settings(split, ns)["metadata"]["uid"] == uid
    assert settings(split, ns)["data"]["colour"] == "blue"


def test_an_object_that_apps_of_two_shards_want_stays_with_the_first_and_the_other_says_so(split, ns, pair):
    pair.commit({"other/settings.yaml": config(colour="blue")})
    split.poke(ns)
    split.failed(ns, "other", "Conflict", f"is managed by Kustomization {ns}/app")
    assert owner(split, ns) == "app"
    assert settings(split, ns)["data"]["colour"] == "red"


def test_an_app_waits_for_one_of_another_shard(split, ns):
    repo = split.repo(ns)
    first = repo.commit({f"{name}/{name}.yaml": config(name) for name in ("app", "other")})
    split.source(ns, repo.url)
    split.app(ns, "app", "./app", labels=ONE, dependsOn=[{"name": "other"}])
    split.failed(ns, "app", "DependencyNotReady", "does not exist")
    split.app(ns, "other", "./other")
    split.ready(ns, "other", first)
    split.ready(ns, "app", first)


def test_an_app_that_changes_its_shard_is_taken_over_and_nothing_is_deleted_or_written_again(split, ns, pair):
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/app"
    before = settings(split, ns)["metadata"]
    split.api.merge(path, {"metadata": {"labels": {names.SHARD_LABEL: None}}})
    moved = pair.commit({"app/own.yaml": config("app-own", colour="blue")})
    split.poke(ns)
    split.ready(ns, "app", moved)
    after = settings(split, ns)["metadata"]
    assert (after["uid"], after["resourceVersion"]) == (before["uid"], before["resourceVersion"])


def test_a_standby_takes_the_shard_of_a_process_that_was_killed(split, ns, kubeconfig, tmp_path):
    repo = split.repo(ns)
    first = repo.commit({"app/settings.yaml": config()})
    split.source(ns, repo.url)
    split.app(ns, "app", "./app", labels=ONE)
    split.ready(ns, "app", first)
    standby = process(kubeconfig, tmp_path, shards.selector_of("one"))
    standby.start()
    until(lambda: "standing by" in standby.log, lambda: standby.log)
    split.one.kill()
    began = time.monotonic()
    split.one = standby
    split.api.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"data": {"colour": "pink"}})
    until(lambda: settings(split, ns)["data"]["colour"] != "pink", lambda: standby.log[-3000:], 60)
    assert time.monotonic() - began < 20 + 6  # the Lease's six seconds and what a busy machine takes
