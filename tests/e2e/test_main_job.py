"""The main job, from the outside: a commit becomes cluster state, stays it, and goes away again."""

import time

import pytest

from tests.e2e.world import condition, until

CONFIG = """apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}}}
data: {{colour: {colour}}}
"""

DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: app
        image: registry.example/{name}:{tag}
        ports: [{{containerPort: 8080}}]
"""


def deployment(name="web", replicas=2, tag="1"):
    return DEPLOYMENT.format(name=name, replicas=replicas, tag=tag)


def config(name="settings", colour="red"):
    return CONFIG.format(name=name, colour=colour)


@pytest.fixture
def shop(world, ns):
    """An app with a Deployment and a ConfigMap, Ready."""
    repo = world.repo(ns)
    repo.commit({"app/web.yaml": deployment(), "app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", wait=True)
    world.ready(ns, "shop")
    return repo


def workload(world, ns, name="web"):
    return world.api.get(f"/apis/apps/v1/namespaces/{ns}/deployments/{name}")


def settings(world, ns, name="settings"):
    return world.api.get(f"/api/v1/namespaces/{ns}/configmaps/{name}")


def test_a_commit_becomes_cluster_state_and_is_reported_in_flux_own_words(world, ns, shop):
    app, source = world.get_app(ns, "shop"), world.get_source(ns)
    revision = source["status"]["artifact"]["revision"]
    assert revision.startswith("main@sha1:")
    assert condition(source, "Ready")["message"] == f"stored artifact for revision '{revision}'"
    assert condition(app, "Ready")["message"] == f"Applied revision: {revision}"
    assert app["status"]["lastAppliedRevision"] == revision
    assert {entry["id"] for entry in app["status"]["inventory"]["entries"]} == {
        f"{ns}_web_apps_Deployment",
        f"{ns}_settings__ConfigMap",
    }
    assert app["metadata"]["finalizers"] == ["finalizers.fluxcd.io"]
    live = workload(world, ns)
    assert live["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] == "shop"
    assert live["status"]["readyReplicas"] == 2
    assert {entry["manager"] for entry in live["metadata"]["managedFields"] if entry["operation"] == "Apply"} == {
        "kustomize-controller"
    }


def test_the_inventory_carries_uids_the_cluster_and_a_checksum(world, ns, shop):
    inventory = world.get_app(ns, "shop")["status"]["inventory"]
    uids = {entry["id"]: entry["uid"] for entry in inventory["entries"]}
    assert uids[f"{ns}_web_apps_Deployment"] == workload(world, ns)["metadata"]["uid"]
    assert inventory["cluster"] == world.api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    assert inventory["checksum"].startswith("sha256:")


def test_a_new_commit_is_applied_after_a_hint_and_a_revert_rolls_it_back(world, ns, shop):
    commit = shop.commit({"app/web.yaml": deployment(replicas=3, tag="2")})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    assert workload(world, ns)["spec"]["replicas"] == 3
    back = shop.revert()
    world.poke(ns)
    world.ready(ns, "shop", back)
    assert workload(world, ns)["spec"]["replicas"] == 2


def test_a_manual_edit_is_healed_and_told_with_path_and_values(world, ns, shop):
    world.api.merge(f"/apis/apps/v1/namespaces/{ns}/deployments/web", {"spec": {"replicas": 7}})
    until(lambda: workload(world, ns)["spec"]["replicas"] == 2, "the edit is healed", 5)
    events = until(
        lambda: [
            event["message"]
            for event in world.api.get(f"/api/v1/namespaces/{ns}/events")["items"]
            if event["reason"] == "DriftDetected"
        ],
        "drift is told",
    )
    assert f"Deployment/{ns}/web" in events[0]
    assert "spec.replicas" in events[0]
    assert "7" in events[0]
    assert "corrected" in events[0]


def test_a_manual_deletion_is_healed(world, ns, shop):
    uid = settings(world, ns)["metadata"]["uid"]
    world.api.delete(f"/api/v1/namespaces/{ns}/configmaps/settings")
    again = until(lambda: settings(world, ns), "the object is back", 5)
    assert again["metadata"]["uid"] != uid


def test_a_field_that_git_does_not_declare_is_left_alone(world, ns, shop):
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"data": {"added": "by hand"}})
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"data": {"colour": "blue"}})
    until(lambda: settings(world, ns)["data"]["colour"] == "red", "the declared field is healed", 5)
    assert settings(world, ns)["data"]["added"] == "by hand"


@pytest.mark.parametrize(("mode", "told"), [("alert", True), ("ignore", False)])
def test_drift_is_only_told_or_ignored_where_the_app_says_so(world, ns, mode, told):
    repo = world.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", annotations={"trimtab.dev/drift": mode})
    world.ready(ns, "shop")
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"data": {"colour": "blue"}})

    def tales():
        return [e for e in world.api.get(f"/api/v1/namespaces/{ns}/events")["items"] if e["reason"] == "DriftDetected"]

    if told:
        until(tales, "drift is told", 5)
    time.sleep(1)
    assert settings(world, ns)["data"]["colour"] == "blue"
    assert len(tales()) == (1 if told else 0)


def test_removing_a_file_removes_its_objects_and_nothing_else(world, ns, shop):
    commit = shop.commit({"app/settings.yaml": None})
    world.poke(ns)
    app = world.ready(ns, "shop", commit)
    until(lambda: settings(world, ns) is None, "the object is pruned")
    assert workload(world, ns) is not None
    assert [entry["id"] for entry in app["status"]["inventory"]["entries"]] == [f"{ns}_web_apps_Deployment"]


def test_without_prune_the_object_stays(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/a.yaml": config("a"), "app/b.yaml": config("b")})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", prune=False)
    world.ready(ns, "shop")
    commit = repo.commit({"app/b.yaml": None})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    assert settings(world, ns, "b") is not None


def test_an_empty_render_prunes_nothing_until_that_is_said_to_be_meant(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/a.yaml": config("a"), "app/README.md": "x"})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app")
    world.ready(ns, "shop")
    commit = repo.commit({"app/a.yaml": None})
    world.poke(ns)
    app = world.ready(ns, "shop", commit)
    assert condition(app, "PruneHeld")["status"] == "True"
    assert 'trimtab.dev/allow-empty: "true"' in condition(app, "PruneHeld")["message"]
    assert settings(world, ns, "a") is not None
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/shop"
    world.api.merge(path, {"metadata": {"annotations": {"trimtab.dev/allow-empty": "true"}}})
    until(lambda: settings(world, ns, "a") is None, "the object is pruned")
    until(lambda: not condition(world.get_app(ns, "shop"), "PruneHeld"), "the flag is gone")


def test_deleting_the_app_deletes_what_it_owns_and_leaves_no_finalizer(world, ns, shop):
    world.api.delete(f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/shop")
    until(lambda: world.get_app(ns, "shop") is None, "the app is gone")
    assert settings(world, ns) is None
    until(lambda: workload(world, ns) is None, "the Deployment is gone")


@pytest.mark.parametrize("how", [{"deletionPolicy": "Orphan"}, {"prune": False}, {"suspend": True}])
def test_deleting_the_app_keeps_the_objects_where_that_is_wanted(world, ns, how):
    repo = world.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app")
    world.ready(ns, "shop")
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/shop"
    world.api.merge(path, {"spec": how})
    world.api.delete(path)
    until(lambda: world.get_app(ns, "shop") is None, "the app is gone")
    assert settings(world, ns) is not None


def test_a_dependent_waits_and_goes_on_the_moment_its_dependency_is_ready(world, ns):
    repo = world.repo(ns)
    repo.commit({"base/a.yaml": config("a"), "app/b.yaml": config("b")})
    world.source(ns, repo.url)
    world.app(ns, "app", "./app", dependsOn=[{"name": "base"}])
    world.failed(ns, "app", "DependencyNotReady", f"{ns}/base does not exist")
    assert settings(world, ns, "b") is None
    world.app(ns, "base", "./base")
    started = time.monotonic()
    world.ready(ns, "app")
    assert time.monotonic() - started < 60, "it waited for a timer"


def test_a_circle_of_dependencies_is_named(world, ns):
    repo = world.repo(ns)
    repo.commit({"a/a.yaml": config("a"), "b/b.yaml": config("b")})
    world.source(ns, repo.url)
    world.app(ns, "one", "./a", dependsOn=[{"name": "two"}])
    world.app(ns, "two", "./b", dependsOn=[{"name": "one"}])
    message = world.failed(ns, "two", "DependencyCycle")
    assert f"{ns}/two → {ns}/one → {ns}/two" in message


def test_a_crd_and_its_custom_resource_and_a_namespace_and_its_contents_go_in_one_commit(world, ns):
    group = f"{ns}.example.org"
    crd = f"""apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: widgets.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: widgets, singular: widget, kind: Widget}}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
    namespace = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {ns}-new}}\n"
    widget = f"apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: w, namespace: {ns}-new}}\nspec: {{size: 3}}\n"
    inside = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, namespace: {ns}-new}}\n"
    repo = world.repo(ns)
    repo.commit({"app/all.yaml": "---\n".join([widget, inside, crd, namespace])})
    world.source(ns, repo.url)
    world.app(ns, "all", "./app", targetNamespace=None, wait=True)
    world.ready(ns, "all")
    assert world.api.get(f"/apis/{group}/v1/namespaces/{ns}-new/widgets/w")["spec"] == {"size": 3}
    assert world.api.get(f"/api/v1/namespaces/{ns}-new/configmaps/c")


def test_a_suspended_app_is_left_alone_and_goes_on_when_resumed(world, ns, shop):
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/shop"
    world.suspend(ns)
    world.api.merge(f"/apis/apps/v1/namespaces/{ns}/deployments/web", {"spec": {"replicas": 7}})
    time.sleep(1.5)
    assert workload(world, ns)["spec"]["replicas"] == 7
    world.api.merge(path, {"spec": {"suspend": False}})
    until(lambda: workload(world, ns)["spec"]["replicas"] == 2, "drift is healed after the pause")


def test_wait_false_is_ready_without_waiting_and_wait_true_says_what_it_waits_for(world, ns):
    repo = world.repo(ns)
    claim = """apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, storageClassName: none-such}
"""
    repo.commit({"app/claim.yaml": claim})
    world.source(ns, repo.url)
    world.app(ns, "quick", "./app")
    world.ready(ns, "quick")
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/quick"
    world.api.merge(path, {"spec": {"wait": True, "timeout": "6s"}})

    def waiting():
        found = condition(world.get_app(ns, "quick"), "Reconciling")
        return found if "waiting for" in found.get("message", "") else None

    assert f"PersistentVolumeClaim/{ns}/data" in until(waiting, "it says what it waits for", 10)["message"]
    message = world.failed(ns, "quick", "HealthCheckFailed", "timed out after 6 s")
    assert f"PersistentVolumeClaim/{ns}/data" in message


def test_health_checks_count_only_what_they_name(world, ns, shop):
    world.app(
        ns,
        "checked",
        "./app",
        targetNamespace=f"{ns}",
        suspend=True,
    )
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/shop"
    checks = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "namespace": ns}]
    world.api.merge(path, {"spec": {"wait": False, "healthChecks": checks}})
    app = world.ready(ns, "shop")
    assert condition(app, "Healthy")["status"] == "True"


def test_an_asked_for_reconcile_without_change_writes_nothing_but_the_echo(world, ns, shop):
    until(lambda: workload(world, ns)["status"].get("readyReplicas") == 2, "the rollout is over")
    time.sleep(1)
    before = (workload(world, ns)["metadata"]["resourceVersion"], settings(world, ns)["metadata"]["resourceVersion"])
    moment = world.poke_app(ns, "shop")
    until(lambda: world.get_app(ns, "shop")["status"].get("lastHandledReconcileAt") == moment, "the echo")
    after = (workload(world, ns)["metadata"]["resourceVersion"], settings(world, ns)["metadata"]["resourceVersion"])
    assert after == before


def test_a_commit_that_does_not_touch_the_app_only_moves_its_revision(world, ns, shop):
    time.sleep(1)
    before = settings(world, ns)["metadata"]["resourceVersion"]
    commit = shop.commit({"elsewhere/x.yaml": config("x")})
    world.poke(ns)
    world.ready(ns, "shop", commit)
    assert settings(world, ns)["metadata"]["resourceVersion"] == before


def test_an_app_acts_in_the_name_of_its_account_and_a_missing_one_is_an_error(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", serviceAccountName="deployer")
    world.failed(ns, "shop", "ReconciliationFailed", f"ServiceAccount {ns}/deployer does not exist")
    world.api.create(f"/api/v1/namespaces/{ns}/serviceaccounts", {"metadata": {"name": "deployer"}})
    world.failed(ns, "shop", "ValidationFailed", "cannot patch resource")
    assert settings(world, ns) is None
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]
    world.api.create(f"{rbac}/roles", {"metadata": {"name": "deployer"}, "rules": rules})
    world.api.create(
        f"{rbac}/rolebindings",
        {
            "metadata": {"name": "deployer"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"},
            "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": ns}],
        },
    )
    world.ready(ns, "shop")


def test_sources_of_other_namespaces_are_denied_unless_they_are_shared(world, ns):
    other = world.namespace("other")
    repo = world.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    world.source(other, repo.url)
    reference = {"kind": "GitRepository", "name": "repo", "namespace": other}
    world.app(ns, "shop", "./app", sourceRef=reference)
    world.failed(ns, "shop", "AccessDenied", f"sources of namespace {other}")
    assert condition(world.get_app(ns, "shop"), "Stalled")["status"] == "True"


def test_the_artifact_can_be_fetched_as_flux_does(world, ns, shop):
    import hashlib
    import io
    import tarfile
    import urllib.request

    artifact = world.get_source(ns)["status"]["artifact"]
    assert artifact["path"].startswith(f"gitrepository/{ns}/repo/")
    with urllib.request.urlopen(artifact["url"], timeout=30) as answer:
        data = answer.read()
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == artifact["digest"]
    assert len(data) == artifact["size"]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert {member.name for member in archive if member.isfile()} == {"app/web.yaml", "app/settings.yaml"}
