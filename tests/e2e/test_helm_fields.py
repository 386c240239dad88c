"""What the fields of a HelmRelease do that say how an action is carried out, and what follows its failure."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.releases import Home, chart
from tests.e2e.test_helm_release import DEPLOYMENT, hook
from tests.e2e.world import World, condition, until

SCHEMA = json.dumps({"type": "object", "properties": {"colour": {"enum": ["blue", "red"]}}})
ANNOTATED = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: hooked\n  annotations: {helm.sh/hook: post-install}\n"
FIXED = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fixed}\nimmutable: true\ndata: {c: {{ .Values.colour }}}\n"
CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gears.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {plural: gears, singular: gear, kind: Gear, listKind: GearList}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {PROPERTIES}}}}}
"""
GEAR = "apiVersion: GROUP/v1\nkind: Gear\nmetadata: {name: g}\nspec: {teeth: {{ .Values.teeth | default 1 }}}\n"
STALLED = {"remediation": {"retries": 0}}


@pytest.fixture
def home(world: World) -> Iterator[Home]:
    home = Home(world, "fields")
    yield home
    world.let_go(home.ns)


def history(home: Home) -> list[tuple[int, str]]:
    return [(one["revision"], one["status"]) for one in home.helm_json("history", "app")]


def stalled(home: Home) -> Any:
    return until(lambda: home.get() if condition(home.get(), "Stalled") else None, lambda: home.why("app"), 60)


def there(home: Home, plural: str, prefix: str = "/api/v1") -> dict[str, Any]:
    found = home.api.get(f"{prefix}/namespaces/{home.ns}/{plural}")["items"]
    return {item["metadata"]["name"]: item for item in found}


# Values and schemas


def test_preserved_values_are_laid_below_the_new_ones_once(home: Home) -> None:
    home.charts(chart())
    home.release(values={"colour": "red", "more": "a"}, upgrade={"preserveValues": True})
    home.ready(revision=1)
    home.change(values={"colour": None, "more": "b"})
    home.ready(revision=2)
    assert home.helm_json("get", "values", "app") == {"colour": "red", "more": "b"}
    assert home.data("app") == {"colour": "red"}
    home.ask()
    home.ask()
    assert history(home) == [(1, "superseded"), (2, "deployed")]
    home.change(values={"more": ""})
    home.ready(revision=3)
    assert home.helm_json("get", "values", "app") == {"colour": "red", "more": ""}


def test_values_are_held_against_the_schema_of_the_chart_unless_that_is_disabled(home: Home) -> None:
    home.charts(chart(files={"values.schema.json": SCHEMA}))
    home.release(values={"colour": "green"})
    home.failed(reason="InstallFailed", words="colour")
    home.change(install={"disableSchemaValidation": True})
    home.ready(revision=1)
    home.change(values={"colour": "grey"})
    home.failed(reason="UpgradeFailed", words="colour")
    home.change(upgrade={"disableSchemaValidation": True})
    home.ready(revision=2)


# Hooks and tests


def test_hooks_run_unless_they_are_disabled(home: Home) -> None:
    events = "pre-install,post-install,pre-upgrade,post-delete"
    home.charts(chart(files={"templates/pre.yaml": hook("pre", events)}))
    disabled = {"disableHooks": True}
    home.release(values={"broken": ["pre"]}, install=disabled, upgrade=disabled, uninstall=disabled)
    home.ready(revision=1)
    home.change(values={"colour": "red"})
    home.ready(revision=2)
    home.api.delete(home.path())
    home.gone()
    assert there(home, "jobs", "/apis/batch/v1") == {}


@pytest.mark.parametrize(
    ("filters", "ran"),
    [([{"name": "app-t"}], ["app-t"]), ([{"name": "app-t", "exclude": True}], ["app-u"])],
    ids=["one", "all but one"],
)
def test_only_chosen_tests_run(home: Home, filters: list[Any], ran: list[str]) -> None:
    home.charts(chart(files={f"templates/{name}.yaml": hook(name, "test") for name in ("t", "u")}))
    home.release(test={"enable": True, "filters": filters})
    item = home.ready(revision=1)
    assert sorted(item["status"]["history"][0]["testHooks"]) == ran
    assert sorted(there(home, "jobs", "/apis/batch/v1")) == ran


@pytest.mark.parametrize(("ignored", "ready"), [(True, "True"), (False, "False")], ids=["ignored", "counted"])
def test_failed_tests_count_unless_they_are_ignored(home: Home, ignored: bool, ready: str) -> None:
    home.charts(chart(files={"templates/t.yaml": hook("t", "test")}))
    home.release(values={"broken": ["t"]}, test={"enable": True, "ignoreFailures": ignored})
    until(lambda: condition(home.get(), "TestSuccess").get("status") == "False", lambda: home.why("app"))
    until(lambda: condition(home.get(), "Ready").get("status") == ready, lambda: home.why("app"))
    assert history(home) == [(1, "deployed")]


@pytest.mark.parametrize(("strategy", "patched"), [("nohooks", False), ("combined", True), ("separate", True)])
def test_post_renderers_get_hooks_as_the_strategy_says(home: Home, strategy: str, patched: bool) -> None:
    home.charts(chart(files={"templates/hooked.yaml": ANNOTATED}))
    patch = json.dumps([{"op": "add", "path": "/data", "value": {"added": "yes"}}])
    renderer = {"kustomize": {"patches": [{"target": {"kind": "ConfigMap"}, "patch": patch}]}}
    home.release(postRenderers=[renderer], postRenderStrategy=strategy)
    home.ready(revision=1)
    assert home.data("app") == {"added": "yes"}
    assert ("added" in (there(home, "configmaps")["hooked"].get("data") or {})) is patched


# Waiting


def test_what_is_not_waited_for_does_not_hold_up_a_release(home: Home) -> None:
    job = hook("job", "x").replace('"helm.sh/hook": x', "note: it is no hook").replace("Seconds: 1", "Seconds: 600")
    home.charts(chart(files={"templates/d.yaml": DEPLOYMENT, "templates/job.yaml": job}))
    home.release(values={"broken": ["job"]}, install={"disableWaitForJobs": True})
    home.ready(revision=1)
    home.change(values={"broken": ["job", "deployment"]}, upgrade={"disableWait": True})
    home.ready(revision=2)
    home.change(values={"broken": ["job", "deployment"], "colour": "red"}, upgrade={"disableWait": None})
    home.failed(reason="UpgradeFailed", words="health check failed: Deployment/")


def test_custom_kinds_are_healthy_by_expressions_and_at_once_with_the_legacy_strategy(home: Home) -> None:
    group = f"{home.ns}.example"
    properties = "teeth: {type: integer}"
    crd = CRD.replace("GROUP", group).replace("PROPERTIES", properties)
    home.charts(chart(files={"crds/gears.yaml": crd, "templates/gear.yaml": GEAR.replace("GROUP", group)}))
    rule = {"apiVersion": f"{group}/v1", "kind": "Gear", "current": "spec.teeth >= 3", "failed": "spec.teeth == 2"}
    home.release(healthCheckExprs=[rule], timeout="60s", values={"teeth": 3})
    home.ready(revision=1)
    try:
        home.change(values={"teeth": 2})
        home.failed(reason="UpgradeFailed", words="health check failed: Gear")
        home.change(waitStrategy={"name": "legacy"}, values={"teeth": 1})
        home.ready(revision=3)
        # definitions change with the chart where that is asked for
        more = CRD.replace("GROUP", group).replace("PROPERTIES", f"{properties}, colour: {{type: string}}")
        home.repo.commit({"app/crds/gears.yaml": more, "app/Chart.yaml": chart("1.1.0")["app/Chart.yaml"]})
        home.change(upgrade={"crds": "CreateReplace"})
        home.world.poke(home.ns)
        until(lambda: home.get()["status"]["history"][0]["chartVersion"] == "1.1.0", lambda: home.why("app"))
        [version] = home.api.get(definition(group))["spec"]["versions"]
        assert sorted(version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]) == ["colour", "teeth"]
    finally:
        home.api.delete(definition(group))


def definition(group: str) -> str:
    return f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gears.{group}"


# Failures


def test_a_failed_upgrade_takes_back_what_it_created_where_that_is_asked_for(home: Home) -> None:
    home.charts(chart(files={"templates/deployment.yaml": DEPLOYMENT}))
    home.release(upgrade={"cleanupOnFail": True, **STALLED})
    home.ready(revision=1)
    home.change(values={"more": "created", "broken": ["deployment"], "tag": "2"})
    stalled(home)
    until(lambda: home.data("app-more") is None, "what was created is gone")
    assert history(home) == [(1, "deployed"), (2, "failed")]


def test_what_failed_is_tried_again_after_the_interval_and_nothing_is_undone(home: Home) -> None:
    home.charts(chart(files={"templates/deployment.yaml": DEPLOYMENT}))
    retry = {"strategy": {"name": "RetryOnFailure", "retryInterval": "2s"}}
    home.release(values={"broken": ["deployment"]}, install=retry, upgrade=retry)

    def latest() -> int:
        return int((home.get().get("status") or {}).get("history", [{}])[0].get("version", 0))

    until(lambda: latest() >= 2, lambda: home.why("app"))
    assert home.data("app") == {"colour": "blue"}
    item = home.failed(words="again in")
    assert not condition(item, "Stalled")
    home.change(values={"broken": []})
    home.ready()
    assert history(home)[-1][1] == "deployed"


def test_a_rollback_is_carried_out_as_the_spec_says(home: Home) -> None:
    files = {"templates/deployment.yaml": DEPLOYMENT, "templates/back.yaml": hook("back", "pre-rollback")}
    home.charts(chart(files=files))
    remedy = {"remediation": {"retries": 0, "remediateLastFailure": True}}
    home.release(values={"broken": ["back"]}, upgrade=remedy)
    home.ready(revision=1)
    home.change(values={"broken": ["back", "deployment"], "colour": "red", "tag": "2"})
    until(lambda: condition(home.get(), "Remediated").get("reason") == "RollbackFailed", lambda: home.why("app"))
    assert "app-back" in condition(home.get(), "Remediated")["message"]
    home.change(rollback={"disableHooks": True, "disableWait": True})
    item = until(
        lambda: home.get() if condition(home.get(), "Remediated").get("reason") == "RollbackSucceeded" else None,
        lambda: home.why("app"),
        60,
    )
    assert item["status"]["history"][0]["action"] == "rollback"
    assert home.data("app") == {"colour": "blue"}


def test_what_cannot_be_changed_is_created_anew_where_that_is_forced(home: Home) -> None:
    home.charts(chart(files={"templates/fixed.yaml": FIXED}))
    home.release(timeout="10s")
    home.ready(revision=1)
    before = there(home, "configmaps")["fixed"]["metadata"]["uid"]
    home.change(values={"colour": "red"})
    item = home.failed(reason="UpgradeFailed", words="immutable")
    assert "set spec.upgrade.force: true of the HelmRelease" in condition(item, "Ready")["message"]
    assert history(home) == [(1, "deployed")]
    home.change(upgrade={"force": True})
    home.ready(revision=2)
    assert home.data("fixed") == {"c": "red"}
    assert there(home, "configmaps")["fixed"]["metadata"]["uid"] != before


# Names, and the end


@pytest.mark.parametrize(("strategy", "again"), [("Reinstall", True), ("InPlaceUpdate", False)])
def test_a_chart_of_another_name_takes_the_place_of_the_first(home: Home, strategy: str, again: bool) -> None:
    home.charts(chart(), chart(name="other"))
    home.release(upgrade={"chartNameChangeStrategy": strategy})
    home.ready(revision=1)
    before = there(home, "configmaps")["app"]["metadata"]["uid"]
    source = {"kind": "GitRepository", "name": "repo"}
    home.change(chart={"spec": {"chart": "other", "sourceRef": source}})
    until(
        lambda: [one for one in home.get()["status"].get("history", [])[:1] if one["chartName"] == "other"],
        lambda: home.why("app"),
    )
    home.ready(revision=1 if again else 2)
    assert (there(home, "configmaps")["app"]["metadata"]["uid"] != before) is again


def test_a_name_whose_history_was_kept_is_used_again_and_what_objects_own_may_stay(home: Home) -> None:
    home.charts(chart(files={"templates/deployment.yaml": DEPLOYMENT}))
    uninstall = {"keepHistory": True, "deletionPropagation": "orphan"}
    home.release(uninstall=uninstall, install={"replace": True}, maxHistory=0)
    home.ready(revision=1)
    sets = until(lambda: there(home, "replicasets", "/apis/apps/v1"), "the Deployment has its ReplicaSet")
    home.api.delete(home.path())
    home.gone()
    assert there(home, "deployments", "/apis/apps/v1") == {}
    assert there(home, "replicasets", "/apis/apps/v1").keys() == sets.keys()
    home.release(maxHistory=0)
    home.ready(revision=2)
    for number in range(3, 8):
        home.ask("app", "reconcile.fluxcd.io/forceAt")
        home.ready(revision=number)
    assert history(home)[0] == (1, "uninstalled")
    assert len(history(home)) == 7


def test_a_dependency_is_ready_when_its_expression_says_so(home: Home) -> None:
    home.charts(chart())
    expression = "dep.spec.values.colour == self.spec.values.colour"
    home.release("base", values={"colour": "red"})
    home.release(dependsOn=[{"name": "base", "readyExpr": expression}], values={"colour": "green"})
    home.failed(reason="DependencyNotReady", words="spec.dependsOn[0].readyExpr is false")
    home.change("base", values={"colour": "green"})
    home.ready(revision=1)


def test_client_side_apply_is_not_served_and_refused_clearly(home: Home) -> None:
    home.charts(chart())
    home.release(install={"serverSideApply": False}, upgrade={"serverSideApply": "disabled"})
    words = "spec.install.serverSideApply false, spec.upgrade.serverSideApply disabled of a HelmRelease"
    home.failed(reason="FeatureGateDisabled", words=words)
    home.change(install=None, upgrade={"serverSideApply": "auto"})
    home.ready(revision=1)
