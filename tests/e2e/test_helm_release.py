"""HelmReleases, from a chart to objects and back: installed, upgraded, rolled back, uninstalled."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.releases import RELEASES, Home, chart, objects
from tests.e2e.test_prune import annotate, digest_in, held, not_held
from tests.e2e.world import World, condition, until

JOB = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-%(name)s
  annotations:
    "helm.sh/hook": %(events)s
    %(more)s
spec:
  {{- if has "%(name)s" .Values.broken }}
  activeDeadlineSeconds: 1
  {{- end }}
  template:
    spec:
      {{- if has "%(name)s" .Values.broken }}
      nodeSelector: {nowhere: "true"}
      {{- end }}
      restartPolicy: Never
      containers: [{name: a, image: registry.example/a:1}]
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  {{- if has "deployment" .Values.broken }}
  progressDeadlineSeconds: 1
  {{- end }}
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a}}
    spec:
      {{- if has "deployment" .Values.broken }}
      nodeSelector: {nowhere: "true"}
      {{- end }}
      containers: [{name: a, image: "registry.example/a:{{ .Values.tag | default "1" }}"}]
"""
CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.helm.example}
spec:
  group: helm.example
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget, listKind: GadgetList}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
GADGET = """\
apiVersion: helm.example/v1
kind: Gadget
metadata: {name: g}
spec: {size: 1}
"""
FORCE, RESET = "reconcile.fluxcd.io/forceAt", "reconcile.fluxcd.io/resetAt"


def hook(name: str, events: str, more: str = "") -> str:
    return JOB % {"name": name, "events": events, "more": more}


@pytest.fixture
def home(world: World, request: pytest.FixtureRequest) -> Iterator[Home]:
    home = Home(world, "release")
    yield home
    world.let_go(home.ns)


def history(home: Home, name: str = "app") -> list[tuple[int, str]]:
    return [(one["revision"], one["status"]) for one in home.helm_json("history", name)]


def events(home: Home, reason: str) -> list[Any]:
    found = home.api.get(f"/api/v1/namespaces/{home.ns}/events")["items"]
    return [one for one in found if one["reason"] == reason and one["involvedObject"]["kind"] == "HelmRelease"]


def test_a_chart_from_git_is_installed(home: Home) -> None:
    home.charts(chart())
    home.release(values={"colour": "green"})
    item = home.ready(revision=1)
    assert home.data("app") == {"colour": "green"}
    assert condition(item, "Released")["reason"] == "InstallSucceeded"
    of = f"{home.ns}/app.v1 with chart app@1.0.0"
    assert condition(item, "Ready")["message"] == f"Helm install succeeded for release {of}"
    [listed] = home.helm_json("list")
    assert (listed["name"], listed["revision"], listed["status"], listed["chart"]) == (
        "app",
        "1",
        "deployed",
        "app-1.0.0",
    )
    status = item["status"]
    assert (status["helmChart"], status["storageNamespace"]) == (f"{home.ns}/{home.ns}-app", home.ns)
    assert status["lastAttemptedRevision"] == "1.0.0"
    assert [one["id"] for one in status["inventory"]["entries"]] == [f"{home.ns}_app__ConfigMap"]


def test_new_values_make_a_new_revision(home: Home) -> None:
    home.charts(chart())
    home.release(values={"more": "yes"})
    home.ready(revision=1)
    assert home.data("app-more") == {"more": "yes"}
    home.change(values={"more": "", "colour": "red"})
    home.ready(revision=2)
    assert home.data("app") == {"colour": "red"}
    assert home.data("app-more") is None
    assert history(home) == [(1, "superseded"), (2, "deployed")]


def test_a_new_version_of_the_chart_makes_a_new_revision(home: Home) -> None:
    home.charts(chart())
    home.release()
    home.ready(revision=1)
    home.charts(chart("1.1.0"))
    home.ready(revision=2)
    assert [one["chart"] for one in home.helm_json("history", "app")] == ["app-1.0.0", "app-1.1.0"]


def test_a_request_alone_makes_no_revision_and_a_forced_one_does(home: Home) -> None:
    home.charts(chart())
    home.release()
    home.ready(revision=1)
    home.ask()
    assert history(home) == [(1, "deployed")]
    home.ask("app", FORCE)
    home.ready(revision=2)


def test_a_release_goes_with_its_object(home: Home) -> None:
    home.charts(chart())
    home.release()
    home.ready()
    home.api.delete(home.path())
    home.gone()
    assert home.data("app") is None
    assert home.helm_json("list") == []
    charts = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{home.ns}/helmcharts"
    assert home.api.get(charts)["items"] == []


def test_a_suspended_release_stays_when_its_object_goes(home: Home) -> None:
    home.charts(chart())
    home.release()
    home.ready()
    home.change(suspend=True)
    home.api.delete(home.path())
    home.gone()
    assert home.data("app") == {"colour": "blue"}
    assert [one["name"] for one in home.helm_json("list")] == ["app"]


def test_the_history_stays_where_that_is_asked_for(home: Home) -> None:
    home.charts(chart())
    home.release(uninstall={"keepHistory": True})
    home.ready()
    home.api.delete(home.path())
    home.gone()
    assert home.data("app") is None
    assert history(home) == [(1, "uninstalled")]


def test_objects_that_ask_to_be_kept_stay(home: Home) -> None:
    kept = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, annotations: {helm.sh/resource-policy: keep}}\n"
    home.charts(chart(files={"templates/kept.yaml": kept}))
    home.release()
    home.ready()
    home.api.delete(home.path())
    home.gone()
    assert home.api.get(f"/api/v1/namespaces/{home.ns}/configmaps/kept") is not None


def test_an_object_that_the_server_refuses_fails_the_install_and_nothing_is_applied(home: Home) -> None:
    bad = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 0}]}\n"
    home.charts(chart(files={"templates/service.yaml": bad}))
    home.release()
    item = home.failed(reason="InstallFailed", words="Service/")
    until(lambda: condition(home.get(), "Stalled").get("reason") == "RetriesExceeded", lambda: home.why("app"))
    assert home.data("app") is None
    assert home.helm_json("list") == []
    assert "spec.ports[0].port" in condition(item, "Released")["message"]


def test_a_failed_upgrade_is_rolled_back(home: Home) -> None:
    files = {"templates/deployment.yaml": DEPLOYMENT}
    home.charts(chart(files=files))
    home.release(values={"tag": "1"}, upgrade={"remediation": {"retries": 0, "remediateLastFailure": True}})
    home.ready(revision=1)
    home.change(values={"tag": "2", "colour": "red", "broken": ["deployment"]})
    item = until(lambda: home.get() if condition(home.get(), "Stalled") else None, lambda: home.why("app"), 60)
    assert condition(item, "Remediated")["reason"] == "RollbackSucceeded"
    assert condition(item, "Ready")["reason"] == "UpgradeFailed"
    assert "health check failed: Deployment/" in condition(item, "Ready")["message"]
    assert home.data("app") == {"colour": "blue"}
    # on a slow machine a Deployment may still call itself failed after a rollback, which is then made once more
    assert (history(home)[:2], history(home)[-1][1]) == ([(1, "superseded"), (2, "failed")], "deployed")
    assert "Rollback to 1" in [one["description"] for one in home.helm_json("history", "app")]
    assert condition(item, "Stalled")["reason"] == "RetriesExceeded"
    assert item["status"]["upgradeFailures"] == 1
    last = history(home)[-1][0]
    home.change(values={"tag": "3", "broken": []})
    home.ready(revision=last + 1)


def test_a_failed_install_is_uninstalled_and_tried_again(home: Home) -> None:
    home.charts(chart(files={"templates/deployment.yaml": DEPLOYMENT}))
    home.release(
        values={"broken": ["deployment"]}, install={"remediation": {"retries": 1, "remediateLastFailure": True}}
    )
    item = until(lambda: home.get() if condition(home.get(), "Stalled") else None, lambda: home.why("app"), 60)
    assert condition(item, "Remediated")["reason"] == "UninstallSucceeded"
    assert item["status"]["installFailures"] == 2
    assert (home.data("app"), home.helm_json("list")) == (None, [])
    home.change(values={"broken": []})
    item = home.ready(revision=1)
    assert "installFailures" not in item["status"]


def test_what_was_exhausted_is_tried_again_when_somebody_asks_to_reset(home: Home) -> None:
    home.charts(chart(files={"templates/pre.yaml": hook("pre", "pre-install")}))
    home.release(values={"broken": ["pre"]})
    until(lambda: condition(home.get(), "Stalled").get("reason") == "RetriesExceeded", lambda: home.why("app"), 60)
    home.ask()
    assert history(home) == [(1, "failed")]
    home.ask("app", RESET)
    home.ready(revision=2)


def test_hooks_run_in_their_order_and_are_on_record(home: Home) -> None:
    files = {
        "templates/pre.yaml": hook("pre", "pre-install,pre-upgrade", '"helm.sh/hook-weight": "1"'),
        "templates/post.yaml": hook("post", "post-install"),
    }
    home.charts(chart(files=files))
    home.release()
    home.ready(revision=1)
    jobs = home.api.get(f"/apis/batch/v1/namespaces/{home.ns}/jobs")["items"]
    assert sorted(item["metadata"]["name"] for item in jobs) == ["app-post", "app-pre"]
    hooks = home.helm("get", "hooks", "app")
    assert "name: app-pre" in hooks
    assert "name: app-post" in hooks


def test_a_failed_hook_fails_the_action_before_anything_is_applied(home: Home) -> None:
    home.charts(chart(files={"templates/pre.yaml": hook("pre", "pre-install")}))
    home.release(values={"broken": ["pre"]})
    item = home.failed(reason="InstallFailed", words="app-pre")
    assert "Job was active longer than specified deadline" in condition(item, "Ready")["message"]
    assert home.data("app") is None
    assert history(home) == [(1, "failed")]


def test_tests_run_and_their_failure_is_told(home: Home) -> None:
    home.charts(chart(files={"templates/tests/t.yaml": hook("t", "test")}))
    home.release(test={"enable": True})
    item = home.ready(revision=1)
    assert condition(item, "TestSuccess")["reason"] == "TestSucceeded"
    assert item["status"]["history"][0]["testHooks"]["app-t"]["phase"] == "Succeeded"
    home.change(values={"colour": "red", "broken": ["t"]})
    home.failed(reason="TestFailed", words="app-t")


def test_definitions_of_a_chart_come_first_and_never_go(home: Home) -> None:
    home.charts(chart(files={"crds/gadgets.yaml": CRD, "templates/gadget.yaml": GADGET}))
    home.release()
    home.ready()
    gadgets = f"/apis/helm.example/v1/namespaces/{home.ns}/gadgets"
    assert [item["metadata"]["name"] for item in home.api.get(gadgets)["items"]] == ["g"]
    home.api.delete(home.path())
    home.gone()
    assert home.api.get(gadgets)["items"] == []
    definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.helm.example"
    assert home.api.get(definition) is not None
    home.api.delete(definition)


def test_a_definition_that_the_server_refuses_fails_the_install(home: Home) -> None:
    home.charts(chart(files={"crds/gadgets.yaml": CRD.replace("gadgets.helm.example}", "gadgets.other.example}")}))
    home.release()
    item = home.failed(reason="InstallFailed", words="CustomResourceDefinition/gadgets.other.example in `crds/`")
    assert item["status"]["installFailures"] == 1
    until(lambda: condition(home.get(), "Stalled").get("reason") == "RetriesExceeded", lambda: home.why("app"))


def test_values_come_from_other_objects_and_a_watched_one_tells_at_once(home: Home) -> None:
    home.charts(chart())
    for kind, plural, data in (
        ("ConfigMap", "configmaps", {"data": {"values.yaml": "colour: from-a-map\nmore: m\n"}}),
        ("Secret", "secrets", {"stringData": {"colour": "from-a-secret"}}),
    ):
        meta = {"name": "values", "labels": {"reconcile.fluxcd.io/watch": "Enabled"}}
        home.api.create(f"/api/v1/namespaces/{home.ns}/{plural}", {"kind": kind, "metadata": meta, **data})
    source = {"kind": "Secret", "name": "values", "valuesKey": "colour", "targetPath": "colour"}
    home.release(valuesFrom=[{"kind": "ConfigMap", "name": "values"}, source])
    home.ready(revision=1)
    assert home.data("app") == {"colour": "from-a-secret"}
    assert home.data("app-more") == {"more": "m"}
    home.api.merge(f"/api/v1/namespaces/{home.ns}/secrets/values", {"stringData": {"colour": "another"}})
    home.ready(revision=2)
    assert home.data("app") == {"colour": "another"}


def test_values_that_are_missing_are_told_and_awaited(home: Home) -> None:
    home.charts(chart())
    home.release(valuesFrom=[{"kind": "ConfigMap", "name": "values"}])
    home.failed(reason="ValuesError", words=f"ConfigMap {home.ns}/values")
    body = {"metadata": {"name": "values"}, "data": {"values.yaml": "colour: late\n"}}
    home.api.create(f"/api/v1/namespaces/{home.ns}/configmaps", body)
    home.ask()
    home.ready(revision=1)


def test_a_release_waits_for_those_it_depends_on(home: Home) -> None:
    home.charts(chart(), chart(name="base", files={"templates/pre.yaml": hook("pre", "pre-install")}))
    home.release(dependsOn=[{"name": "base"}])
    home.failed(reason="DependencyNotReady", words=f"{home.ns}/base does not exist")
    home.release("base", "base", values={"broken": ["pre"]})
    home.failed("base", reason="InstallFailed")
    assert home.data("app") is None
    home.change("base", values={"broken": []})
    home.ready("base")
    home.ready()


def test_releases_that_depend_on_each_other_say_so(home: Home) -> None:
    home.charts(chart())
    home.release("one", dependsOn=[{"name": "two"}])
    home.release("two", dependsOn=[{"name": "one"}])
    home.failed("one", reason="DependencyCycle", words="goes in a circle")


@pytest.mark.parametrize("mode", ["enabled", "warn", "disabled"])
def test_drift_is_corrected_told_or_left(home: Home, mode: str) -> None:
    home.charts(chart())
    home.release(driftDetection={"mode": mode})
    home.ready()
    path = f"/api/v1/namespaces/{home.ns}/configmaps/app"
    home.api.merge(path, {"data": {"colour": "changed"}})
    if mode == "enabled":
        until(lambda: home.data("app") == {"colour": "blue"}, "corrected")
        until(lambda: events(home, "DriftDetected"), "told")
    elif mode == "warn":
        item = until(
            lambda: home.get() if condition(home.get(), "Drifted").get("status") == "True" else None,
            lambda: home.why("app"),
        )
        assert "ConfigMap/" in condition(item, "Drifted")["message"]
        assert home.data("app") == {"colour": "changed"}
    else:
        home.ask()
        assert home.data("app") == {"colour": "changed"}
    assert history(home) == [(1, "deployed")]


def test_drift_that_an_object_or_a_rule_leaves_alone_stays(home: Home) -> None:
    left = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: left\n"
        "  annotations: {helm.toolkit.fluxcd.io/driftDetection: disabled}\ndata: {a: b}\n"
    )
    home.charts(chart(files={"templates/left.yaml": left}))
    rule = {"paths": ["/data/colour"], "target": {"kind": "ConfigMap", "name": "app"}}
    home.release(driftDetection={"mode": "enabled", "ignore": [rule]})
    home.ready()
    for name, key in (("left", "a"), ("app", "colour")):
        home.api.merge(f"/api/v1/namespaces/{home.ns}/configmaps/{name}", {"data": {key: "changed"}})
    home.api.merge(
        f"/api/v1/namespaces/{home.ns}/configmaps/app", {"metadata": {"labels": {"app.kubernetes.io/managed-by": "x"}}}
    )
    label = "app.kubernetes.io/managed-by"
    path = f"/api/v1/namespaces/{home.ns}/configmaps/app"
    until(lambda: home.api.get(path)["metadata"]["labels"][label] == "Helm", lambda: home.why("app"))
    assert (home.data("left"), home.data("app")) == ({"a": "changed"}, {"colour": "changed"})


def test_drift_is_found_by_a_process_that_has_not_applied_anything(home: Home) -> None:
    home.charts(chart())
    home.release(driftDetection={"mode": "enabled"})
    home.ready()
    home.world.controller.stop()
    try:
        home.api.merge(f"/api/v1/namespaces/{home.ns}/configmaps/app", {"data": {"colour": "changed"}})
    finally:
        home.world.controller.start()
    until(lambda: home.data("app") == {"colour": "blue"}, lambda: home.why("app"), 60)
    assert history(home) == [(1, "deployed")]


def test_a_release_under_another_name_takes_the_place_of_the_first(home: Home) -> None:
    home.charts(chart())
    home.release()
    home.ready()
    home.change(releaseName="other")
    until(lambda: home.data("other") == {"colour": "blue"}, lambda: home.why("app"), 60)
    home.ready()
    assert home.data("app") is None
    assert [one["name"] for one in home.helm_json("list")] == ["other"]


def test_objects_may_go_to_another_namespace_that_is_created(home: Home) -> None:
    home.charts(chart())
    other = f"{home.ns}-other"
    home.release(targetNamespace=other, install={"createNamespace": True}, releaseName="app")
    home.ready()
    assert home.api.get(f"/api/v1/namespaces/{other}/configmaps/app")["data"] == {"colour": "blue"}
    assert home.api.get(f"/api/v1/namespaces/{home.ns}/secrets/sh.helm.release.v1.app.v1") is not None


def test_what_belongs_to_nobody_is_taken_unless_that_is_forbidden(home: Home) -> None:
    home.charts(chart())
    home.api.create(
        f"/api/v1/namespaces/{home.ns}/configmaps", {"metadata": {"name": "app"}, "data": {"colour": "old"}}
    )
    home.release(install={"disableTakeOwnership": True})
    home.failed(reason="InstallFailed", words="of no release")
    home.change(install=None)
    home.ready(revision=1)
    assert home.data("app") == {"colour": "blue"}


def test_post_renderers_and_common_metadata_change_what_is_rendered(home: Home) -> None:
    home.charts(chart())
    patch = json.dumps([{"op": "add", "path": "/data/added", "value": "yes"}])
    renderer = {"kustomize": {"patches": [{"target": {"kind": "ConfigMap", "name": "app"}, "patch": patch}]}}
    home.release(postRenderers=[renderer], commonMetadata={"labels": {"team": "a"}})
    home.ready(revision=1)
    assert home.data("app") == {"colour": "blue", "added": "yes"}
    assert home.api.get(f"/api/v1/namespaces/{home.ns}/configmaps/app")["metadata"]["labels"]["team"] == "a"
    home.change(commonMetadata={"labels": {"team": "b"}})
    home.ready(revision=2)


def test_a_chart_that_cannot_be_rendered_says_why_and_nothing_happens(home: Home) -> None:
    home.charts(chart(files={"templates/bad.yaml": '{{ fail "no, thanks" }}'}))
    home.release()
    home.failed(reason="InstallFailed", words="no, thanks")
    assert home.helm_json("list") == []


def test_an_account_of_the_release_is_all_it_can_do(home: Home) -> None:
    home.charts(chart())
    home.release(serviceAccountName="weak")
    home.failed(words=f"ServiceAccount {home.ns}/weak does not exist")
    home.api.create(f"/api/v1/namespaces/{home.ns}/serviceaccounts", {"metadata": {"name": "weak"}})
    home.ask()
    home.failed(words="forbidden")
    assert home.data("app") is None


def test_only_so_many_records_are_kept(home: Home) -> None:
    home.charts(chart())
    home.release(maxHistory=2)
    for colour in ("a", "b", "c"):
        home.change(values={"colour": colour})
        until(lambda colour=colour: home.data("app") == {"colour": colour}, lambda: home.why("app"), 60)
        home.ready()
    assert len(history(home)) == 2
    assert history(home)[-1][1] == "deployed"
    assert len(home.get()["status"]["history"]) == 2


HOLD = "example.org/hold"
ROLES = "rbac.authorization.k8s.io/v1/clusterroles"
ROLE = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "{{ .Release.Namespace }}"}
rules: []
"""
PLATFORM = """\
apiVersion: v1
kind: Namespace
metadata: {{name: {ns}}}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {{name: repo, namespace: {ns}}}
spec: {{url: "{url}", ref: {{branch: main}}, interval: 60m}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: app, namespace: {ns}}}
spec:
  interval: 60m
  chart: {{spec: {{chart: app, sourceRef: {{kind: GitRepository, name: repo}}}}}}
"""


@pytest.fixture
def declared(home: Home) -> Iterator[str]:
    """A namespace that an app has declared, with a release in it that owns something outside. The app is `platform`."""
    ns = f"{home.ns}-own"
    files = {"templates/role.yaml": ROLE, "templates/leave.yaml": hook("leave", "pre-delete")}
    home.charts(chart(files=files), {"platform/all.yaml": PLATFORM.format(ns=ns, url=home.repo.url)})
    home.world.app(home.ns, "platform", "./platform", targetNamespace=None, wait=True)
    home.world.ready(home.ns, "platform")
    yield ns
    home.world.let_go(ns)


def hold(home: Home, ns: str) -> None:
    """Keep the release from going."""
    path = f"{RELEASES}/namespaces/{ns}/helmreleases/app"
    others = home.api.get(path)["metadata"]["finalizers"]
    home.api.merge(path, {"metadata": {"finalizers": [*others, HOLD]}})


def let_go(home: Home, ns: str) -> None:
    """Nobody else keeps the release: let it go."""
    path = f"{RELEASES}/namespaces/{ns}/helmreleases/app"
    until(lambda: home.api.get(path)["metadata"]["finalizers"] == [HOLD], lambda: home.world.controller.log[-3000:])
    home.api.merge(path, {"metadata": {"finalizers": None}})


def app_path(home: Home) -> str:
    return f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{home.ns}/kustomizations/platform"


def test_a_release_is_uninstalled_before_the_namespace_that_was_declared_with_it_goes(
    home: Home, declared: str
) -> None:
    role = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{declared}"
    assert home.api.get(role) is not None
    home.api.delete(app_path(home))
    until(lambda: home.api.get(f"/api/v1/namespaces/{declared}") is None, lambda: home.world.controller.log[-3000:], 60)
    assert home.api.get(role) is None
    assert home.api.get(app_path(home)) is None


def test_the_same_holds_where_both_leave_git_and_the_deletion_is_approved(home: Home, declared: str) -> None:
    role, namespace = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{declared}", f"/api/v1/namespaces/{declared}"
    left = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: left, namespace: %s}\n"
    hold(home, declared)
    home.charts({"platform/all.yaml": left % home.ns})
    message = held(home.world, home.ns, "platform", f"Namespace/{declared}")
    annotate(home.world, home.ns, "platform", approve_prune=digest_in(message))
    until(lambda: home.api.get(role) is None, lambda: home.world.controller.log[-3000:])
    assert "deletionTimestamp" not in home.api.get(namespace)["metadata"]
    let_go(home, declared)
    until(lambda: home.api.get(namespace) is None, lambda: home.world.controller.log[-3000:], 60)
    not_held(home.world, home.ns, "platform")


def test_a_release_that_does_not_go_holds_its_app_and_its_namespace_for_a_while_and_not_for_ever(
    home: Home, declared: str
) -> None:
    namespace = f"/api/v1/namespaces/{declared}"
    hold(home, declared)
    home.api.merge(app_path(home), {"spec": {"timeout": "8s"}})
    home.world.ready(home.ns, "platform")
    home.api.delete(app_path(home))
    words = f"HelmRelease/{declared}/app: is being deleted"
    until(
        lambda: words in condition(home.api.get(app_path(home)), "Ready")["message"],
        lambda: home.world.controller.log[-3000:],
    )
    assert "deletionTimestamp" not in home.api.get(namespace)["metadata"]
    until(lambda: home.api.get(app_path(home)) is None, lambda: home.world.controller.log[-3000:])
    assert "deletionTimestamp" in home.api.get(namespace)["metadata"]

    def told() -> bool:
        events = home.api.get(f"/api/v1/namespaces/{home.ns}/events")["items"]
        return any(one["reason"] == "TerminationOverdue" and words in one["message"] for one in events)

    until(told, "it is told that it did not wait any longer")
    let_go(home, declared)


def test_the_objects_of_a_release_whose_records_are_gone_go_with_it_all_the_same(home: Home) -> None:
    home.charts(chart())
    home.release()
    home.ready()
    home.api.delete(f"/api/v1/namespaces/{home.ns}/secrets/sh.helm.release.v1.app.v1")
    home.api.delete(home.path())
    home.gone()
    assert home.data("app") is None


def test_what_a_release_owns_elsewhere_goes_also_when_its_namespace_is_deleted_by_hand(home: Home) -> None:
    other = home.world.namespace("by-hand")
    home.charts(chart(files={"templates/role.yaml": ROLE, "templates/leave.yaml": hook("leave", "pre-delete")}))
    for body in objects(PLATFORM.format(ns=other, url=home.repo.url))[1:]:
        plural = {"GitRepository": "gitrepositories", "HelmRelease": "helmreleases"}[body["kind"]]
        home.api.create(f"/apis/{body['apiVersion']}/namespaces/{other}/{plural}", body)
    release, role = f"{RELEASES}/namespaces/{other}/helmreleases/app", f"/apis/{ROLES}/{other}"
    until(lambda: condition(home.api.get(release), "Ready").get("status") == "True", lambda: str(home.api.get(release)))
    assert home.api.get(role) is not None
    home.api.delete(f"/api/v1/namespaces/{other}")
    until(lambda: home.api.get(release) is None, lambda: home.world.controller.log[-3000:], 60)
    assert home.api.get(role) is None
