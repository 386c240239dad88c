"""Dependencies from the outside: across kinds, by event, and in reverse when apps are deleted together."""

import json
import urllib.request

import pytest

from tests.e2e.test_main_job import config
from tests.e2e.test_prune import app_path, delete_app, gone, there, warned
from tests.e2e.world import condition, until

DEPENDS_ON = "trimtab.dev/depends-on"
FINALIZER = "example.org/hold"
HOUR = {"interval": "60m", "retryInterval": "60m"}
"""Nobody looks again by himself during a test."""


def apps(world, ns, *names):
    """One repository with a directory for each app; its commit."""
    repo = world.repo(ns)
    commit = repo.commit({f"{name}/{name}.yaml": config(name) for name in names})
    world.source(ns, repo.url)
    return commit


def annotated(*nodes):
    return {DEPENDS_ON: ",".join(nodes)}


def test_an_app_waits_for_a_repository_and_goes_on_the_moment_it_is_ready(world, ns):
    apps(world, ns, "app")
    world.app(ns, "app", "./app", annotated(f"GitRepository/{ns}/other"), **HOUR)
    world.failed(ns, "app", "DependencyNotReady", f"GitRepository/{ns}/other does not exist")
    other = world.repo(f"{ns}-other")
    world.source(ns, other.url, "other", ref={"branch": "absent"})
    world.failed(ns, "app", "DependencyNotReady", f"GitRepository/{ns}/other is not ready")
    assert not there(world, ns)
    other.commit({"x": "y"})
    path = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{ns}/gitrepositories/other"
    world.api.merge(path, {"spec": {"ref": {"branch": "main"}}})
    world.ready(ns, "app")
    assert set(there(world, ns)) == {"app"}


def test_an_app_waits_for_one_of_another_namespace_and_goes_on_the_moment_that_is_ready(world, ns):
    far = world.namespace(f"{ns}-far")
    world.api.merge(f"/api/v1/namespaces/{far}", {"metadata": {"labels": {"trimtab.dev/shared-sources": "true"}}})
    commit = apps(world, ns, "app")
    world.app(ns, "app", "./app", annotated(f"Kustomization/{far}/base"), **HOUR)
    world.failed(ns, "app", "DependencyNotReady", f"{far}/base does not exist")
    base = world.repo(far)
    base.commit({"base/broken.yaml": "a: [\n"})
    world.source(far, base.url)
    world.app(far, "base", "./base", **HOUR)
    world.failed(ns, "app", "DependencyNotReady", f"{far}/base is not ready: ")
    fixed = base.commit({"base/broken.yaml": None, "base/base.yaml": config("base")})
    world.poke(far)
    world.ready(far, "base", fixed)
    world.ready(ns, "app", commit)
    world.let_go(far)


def test_both_ways_to_depend_hold_at_once(world, ns):
    commit = apps(world, ns, "app", "first", "second")
    depends = [{"name": "first", "readyExpr": "dep.metadata.labels['open'] == 'yes'"}]
    world.app(ns, "app", "./app", annotated(f"Kustomization/{ns}/second"), dependsOn=depends, **HOUR)
    world.app(ns, "first", "./first", **HOUR)
    world.failed(ns, "app", "DependencyNotReady", f"{ns}/first")
    world.api.merge(app_path(ns, "first"), {"metadata": {"labels": {"open": "yes"}}})
    world.failed(ns, "app", "DependencyNotReady", f"{ns}/second does not exist")
    world.app(ns, "second", "./second", **HOUR)
    world.ready(ns, "app", commit)


@pytest.mark.parametrize("value", ["Pod/ns/x", "base"])
def test_an_annotation_without_sense_is_an_error_and_the_last_state_stays(world, ns, value):
    commit = apps(world, ns, "app")
    world.app(ns, "app", "./app")
    world.ready(ns, "app", commit)
    world.api.merge(app_path(ns, "app"), {"metadata": {"annotations": {DEPENDS_ON: value}}})
    message = world.failed(ns, "app", "ValidationFailed", DEPENDS_ON)
    assert value in message
    assert condition(world.get_app(ns, "app"), "Stalled")
    assert set(there(world, ns)) == {"app"}


def test_a_circle_through_field_and_annotation_is_named_as_a_whole(world, ns):
    apps(world, ns, "one", "two", "three")
    world.app(ns, "one", "./one", dependsOn=[{"name": "two"}])
    world.app(ns, "two", "./two", annotated(f"Kustomization/{ns}/three"))
    world.app(ns, "three", "./three", dependsOn=[{"name": "one"}])
    message = world.failed(ns, "three", "DependencyCycle")
    assert f"{ns}/three → {ns}/one → {ns}/two → {ns}/three" in message


def deletions(world, ns, since):
    """The three ConfigMaps deleted after the version `since`, in the order of their deletion."""
    query = f"watch=1&timeoutSeconds=1&resourceVersion={since}"
    request = urllib.request.Request(f"{world.api.server}/api/v1/namespaces/{ns}/configmaps?{query}")

    def names():
        with urllib.request.urlopen(request, context=world.api._tls, timeout=30) as answer:
            events = [json.loads(line) for line in answer]
        return [event["object"]["metadata"]["name"] for event in events if event["type"] == "DELETED"]

    return until(lambda: len(found := names()) >= 3 and found, "the server tells of each within a second")


def version(world, ns):
    return world.api.get(f"/api/v1/namespaces/{ns}/configmaps")["metadata"]["resourceVersion"]


def chain(world, ns, **spec):
    """top depends on middle depends on base."""
    commit = apps(world, ns, "base", "middle", "top")
    world.app(ns, "base", "./base", **spec)
    world.app(ns, "middle", "./middle", annotated(f"Kustomization/{ns}/base"), **spec)
    world.app(ns, "top", "./top", dependsOn=[{"name": "middle"}], **spec)
    world.ready(ns, "top", commit)


@pytest.mark.parametrize("order", [("base", "middle", "top"), ("top", "base", "middle")], ids="-".join)
def test_apps_that_are_deleted_together_go_in_the_reverse_order_of_their_dependencies(world, ns, order):
    chain(world, ns)
    since = version(world, ns)
    for name in order:
        delete_app(world, ns, name)
    for name in order:
        gone(world, ns, name)
    assert deletions(world, ns, since) == ["top", "middle", "base"]


def hold(world, ns, name, *, on=True):
    path = f"/api/v1/namespaces/{ns}/configmaps/{name}"
    world.api.merge(path, {"metadata": {"finalizers": [FINALIZER] if on else None}})


def test_an_app_that_is_deleted_says_whom_it_waits_for_and_goes_the_moment_they_are_gone(world, ns):
    chain(world, ns, deletionPolicy="WaitForTermination")
    hold(world, ns, "top")
    for name in ("base", "middle", "top"):
        delete_app(world, ns, name)
    for name, waits_for in (("middle", "top"), ("base", "middle")):
        ready = lambda n=name: condition(world.get_app(ns, n), "Ready")["message"]  # noqa: E731
        until(lambda r=ready, w=waits_for: f"{ns}/{w}" in r(), ready)
    assert set(there(world, ns)) == {"base", "middle", "top"}
    hold(world, ns, "top", on=False)
    for name in ("top", "middle", "base"):
        gone(world, ns, name)
    assert not there(world, ns)


def test_the_wait_for_dependents_that_do_not_go_is_bounded_and_said(world, ns):
    apps(world, ns, "base", "top")
    world.app(ns, "base", "./base", timeout="6s")
    world.app(ns, "top", "./top", dependsOn=[{"name": "base"}], deletionPolicy="WaitForTermination")
    world.ready(ns, "top")
    hold(world, ns, "top")
    delete_app(world, ns, "base")
    delete_app(world, ns, "top")
    warned(world, ns, "DependentsLeft", f"{ns}/top, which depend on it, are not gone after 6 s")
    gone(world, ns, "base")
    hold(world, ns, "top", on=False)
    gone(world, ns, "top")


def test_an_app_that_others_depend_on_and_that_is_deleted_alone_goes_with_a_warning(world, ns):
    apps(world, ns, "base", "top")
    world.app(ns, "base", "./base")
    world.app(ns, "top", "./top", dependsOn=[{"name": "base"}])
    world.ready(ns, "top")
    delete_app(world, ns, "base")
    warned(world, ns, "DependentsLeft", f"{ns}/top still depend on it and stay")
    gone(world, ns, "base")
    assert set(there(world, ns)) == {"top"}


def test_an_app_that_declares_itself_does_not_wait_for_itself_to_go(world, ns):
    repo = world.repo(ns)
    world.source(ns, repo.url)
    world.app(ns, "root", "./root", timeout="60s")
    spec = world.get_app(ns, "root")["spec"]
    body = {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": "root"}}
    commit = repo.commit({"root/root.yaml": json.dumps({**body, "spec": spec}), "root/settings.yaml": config("root")})
    world.ready(ns, "root", commit)
    delete_app(world, ns, "root")
    gone(world, ns, "root")
    assert not there(world, ns)
