"""Health, from the outside: what is waited for, what ends a wait at once, and rules of the user's own."""

import time

import pytest

from tests.e2e.world import condition, until

WIDGETS = "/apis/example.test/v1/namespaces/{}/widgets"

DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.test"},
    "spec": {
        "group": "example.test",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            }
        ],
    },
}

WIDGET = """apiVersion: example.test/v1
kind: Widget
metadata: {name: w}
spec: {size: 1}
"""

CONFIG = """apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
"""

JOB = """apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec:
  ttlSecondsAfterFinished: 1
  template:
    spec:
      restartPolicy: Never
      containers: [{name: app, image: registry.example/migrate:1}]
"""

RULES = [
    {
        "apiVersion": "example.test/v1",
        "kind": "Widget",
        "inProgress": "has(status.colour) && status.colour == 'yellow'",
        "failed": "has(status.colour) && status.colour == 'black'",
        "current": "has(status.colour) && status.colour == 'white'",
    }
]


@pytest.fixture(scope="module")
def widgets(world):
    """A kind of which nobody but the tests writes the status."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    world.api.create(path, DEFINITION)
    until(lambda: world.api.get("/apis/example.test/v1"), "the kind is served")


def put_status(world, ns, **status):
    until(lambda: world.api.get(WIDGETS.format(ns) + "/w"), "the object is applied")
    world.api.merge(WIDGETS.format(ns) + "/w/status", {"status": status})


def put_ready(world, ns, says, reason):
    put_status(world, ns, conditions=[{"type": "Ready", "status": says, "reason": reason, "message": "so it is"}])


def apply(world, ns, text, **spec):
    repo = world.repo(ns)
    repo.commit({"app/one.yaml": text})
    world.source(ns, repo.url)
    world.app(ns, "app", "./app", **{"wait": True, "timeout": "5m", **spec})
    return repo


@pytest.mark.usefixtures("widgets")
def test_one_object_that_failed_ends_the_wait_at_once(world, ns):
    apply(world, ns, WIDGET)
    put_ready(world, ns, "False", "InstallFailed")
    begun = time.monotonic()
    message = world.failed(ns, "app", "HealthCheckFailed")
    assert time.monotonic() - begun < 60, "the timeout is five minutes"
    assert f"Widget/{ns}/w: Ready: so it is" in message
    put_ready(world, ns, "True", "Installed")
    world.ready(ns, "app")


@pytest.mark.usefixtures("widgets")
def test_a_new_revision_cancels_the_wait_for_the_old_one(world, ns):
    repo = apply(world, ns, WIDGET)
    put_ready(world, ns, "False", "Installing")
    until(
        lambda: "waiting for Widget" in condition(world.get_app(ns, "app"), "Ready").get("message", ""),
        "the wait is told",
        30,
    )
    commit = repo.commit({"app/one.yaml": CONFIG})
    world.poke(ns)
    begun = time.monotonic()
    world.ready(ns, "app", commit)
    assert time.monotonic() - begun < 60, "the timeout is five minutes"
    assert world.api.get(WIDGETS.format(ns) + "/w") is None


def test_a_job_that_is_removed_once_it_is_done_counts_as_done(world, ns):
    apply(world, ns, JOB)
    path = f"/apis/batch/v1/namespaces/{ns}/jobs/migrate"
    job = until(lambda: world.api.get(path), "the job is applied")
    world.ready(ns, "app")
    until(lambda: world.api.get(path) is None, "the job is removed after its time", 30)
    world.poke_app(ns, "app")
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:
        again = world.api.get(path)
        assert again is None or again["metadata"]["uid"] == job["metadata"]["uid"], "the job was run a second time"
        time.sleep(0.3)
    assert condition(world.get_app(ns, "app"), "Ready")["status"] == "True"


@pytest.mark.usefixtures("widgets")
def test_rules_of_the_users_own_decide_and_follow_the_status(world, ns):
    apply(world, ns, WIDGET, healthCheckExprs=RULES)
    put_status(world, ns, colour="yellow")
    until(
        lambda: "the expression inProgress is true" in condition(world.get_app(ns, "app"), "Ready").get("message", ""),
        "the wait is told",
        30,
    )
    put_status(world, ns, colour="black")
    assert "the expression failed is true" in world.failed(ns, "app", "HealthCheckFailed")
    put_status(world, ns, colour="white")
    world.ready(ns, "app")


@pytest.mark.usefixtures("widgets")
def test_rules_that_change_are_asked_about_objects_that_did_not(world, ns):
    apply(world, ns, WIDGET, healthCheckExprs=RULES)
    put_status(world, ns, colour="grey")
    until(
        lambda: "no expression is true yet" in condition(world.get_app(ns, "app"), "Ready").get("message", ""),
        "the wait is told",
        30,
    )
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/app"
    rules = [{**RULES[0], "current": "status.colour == 'grey'"}]
    world.api.merge(path, {"spec": {"healthCheckExprs": rules}})
    world.ready(ns, "app")


def test_an_expression_that_does_not_compile_is_named_and_nothing_is_applied(world, ns):
    apply(world, ns, CONFIG, healthCheckExprs=[RULES[0], {**RULES[0], "failed": "status.colour =="}])
    message = world.failed(ns, "app", "InvalidCELExpression")
    assert message.startswith("spec.healthCheckExprs[1].failed: Syntax error")
    assert world.api.get(f"/api/v1/namespaces/{ns}/configmaps/settings") is None


def test_an_expression_says_when_a_dependency_is_ready(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/one.yaml": CONFIG})
    world.source(ns, repo.url)
    expression = "has(dep.metadata.labels) && dep.metadata.labels['stage'] == self.metadata.annotations['stage']"
    depends = [{"name": "first", "readyExpr": expression}]
    world.app(ns, "second", "./app", annotations={"stage": "green"}, dependsOn=depends)
    world.app(ns, "first", "./app", suspend=True)
    world.failed(ns, "second", "DependencyNotReady", "readyExpr is false")
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/first"
    world.api.merge(path, {"metadata": {"labels": {"stage": "green"}}})
    begun = time.monotonic()
    world.ready(ns, "second")
    assert time.monotonic() - begun < 60, "the change of the dependency is what wakes it"
