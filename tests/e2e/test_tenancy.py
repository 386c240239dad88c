"""Tenants who share a controller: whose rights count, what an app may refer to, and where it may write."""

import base64
import gzip
import json

import pytest

from tests.e2e.releases import Home, chart
from tests.e2e.test_main_job import config
from tests.e2e.world import APPS, Controller, World, condition, until

RBAC = "/apis/rbac.authorization.k8s.io/v1"
CONFIG_MAPS = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}


@pytest.fixture(scope="module")
def strict(world, api, kubeconfig, git_root, git_url, tmp_path_factory):
    """A controller that keeps tenants apart. It is itself a cluster administrator: none of that may show."""
    world.controller.stop()
    controller = Controller(kubeconfig, tmp_path_factory.mktemp("strict"), "--multi-tenant")
    controller.start()
    yield World(api, git_url, git_root, controller)
    assert controller.stop() == 0
    assert "Traceback" not in controller.log, controller.log[-4000:]
    world.controller.start()


@pytest.fixture
def tenant(strict, request):
    """`tenant("a")` is a namespace whose account `default` may work on ConfigMaps in it, and a repository."""
    made = []

    def make(name, *, bound=True):
        ns = strict.namespace(f"{name}-{request.node.name.removeprefix('test_').replace('_', '-')}")
        made.append(ns)
        until(lambda: strict.api.get(f"/api/v1/namespaces/{ns}/serviceaccounts/default"), "it has an account", 60)
        if bound:
            bind(strict.api, ns)
        return ns

    yield make
    for ns in made:
        strict.let_go(ns)


def bind(api, ns, account="default", everywhere=False, to_namespace=None):
    """Let an account of `ns` work on ConfigMaps: there, in another namespace, or everywhere and as it likes."""
    subject = {"kind": "ServiceAccount", "name": account, "namespace": ns}
    name, place = f"{account}-{ns}", to_namespace or ns
    if everywhere:
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
        body = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
        api.create(f"{RBAC}/clusterrolebindings", body)
        return
    api.create(f"{RBAC}/namespaces/{place}/roles", {"metadata": {"name": name}, "rules": [CONFIG_MAPS]})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    body = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
    api.create(f"{RBAC}/namespaces/{place}/rolebindings", body)


def publish(world, ns, files):
    repo = world.repo(ns)
    repo.commit(files)
    world.source(ns, repo.url)
    return repo


def settings(world, ns, name="settings"):
    return world.api.get(f"/api/v1/namespaces/{ns}/configmaps/{name}")


def app_path(ns, name="shop"):
    return f"{APPS}/namespaces/{ns}/kustomizations/{name}"


def placed(ns, name="settings"):
    return config(name=name).replace("metadata: {", f"metadata: {{namespace: {ns}, ", 1)


def test_an_app_without_an_account_acts_as_the_default_one_and_never_as_the_controller(strict, tenant):
    ns = tenant("a", bound=False)
    publish(strict, ns, {"app/settings.yaml": config()})
    strict.app(ns, "shop", "./app")
    message = strict.failed(ns, "shop", words="cannot")
    assert f"system:serviceaccount:{ns}:default" in message
    assert settings(strict, ns) is None
    bind(strict.api, ns)
    strict.ready(ns, "shop")
    assert settings(strict, ns)


def test_a_source_of_another_tenant_is_not_read_whatever_its_namespace_says(strict, tenant):
    a, b = tenant("a"), tenant("b")
    publish(strict, b, {"app/settings.yaml": config()})
    strict.api.merge(f"/api/v1/namespaces/{b}", {"metadata": {"labels": {"trimtab.dev/shared-sources": "true"}}})
    strict.app(b, "shop", "./app")
    strict.ready(b, "shop")
    ref = {"kind": "GitRepository", "name": "repo", "namespace": b}
    strict.app(a, "spy", "./app", sourceRef=ref)
    strict.failed(a, "spy", "AccessDenied", "may not be used")
    assert condition(strict.get_app(a, "spy"), "Stalled")["status"] == "True"
    assert settings(strict, a) is None


@pytest.mark.parametrize("way", ["dependsOn", "annotation"])
def test_an_app_of_another_tenant_is_not_depended_on(strict, tenant, way):
    a, b = tenant("a"), tenant("b")
    publish(strict, a, {"app/settings.yaml": config()})
    spec, annotations = {}, {}
    if way == "dependsOn":
        spec = {"dependsOn": [{"name": "shop", "namespace": b, "readyExpr": "dep.spec.path == './secret'"}]}
    else:
        annotations = {"trimtab.dev/depends-on": f"Kustomization/{b}/shop"}
    strict.app(a, "spy", "./app", annotations, **spec)
    message = strict.failed(a, "spy", "AccessDenied", f"{b}/shop")
    assert "readyExpr" not in message
    assert settings(strict, a) is None


def test_an_account_with_too_many_rights_still_writes_only_where_the_namespace_says(strict, tenant):
    a, b = tenant("a", bound=False), tenant("b")
    bind(strict.api, a, everywhere=True)
    publish(strict, a, {"app/mine.yaml": placed(a, "mine"), "app/theirs.yaml": placed(b, "theirs")})
    strict.app(a, "shop", "./app", targetNamespace=None)
    message = strict.failed(a, "shop", "ValidationFailed", "nothing was applied")
    assert f"ConfigMap/{b}/theirs (app/theirs.yaml:" in message
    assert f"annotations of the Namespace {a}" in message
    assert settings(strict, b, "theirs") is None
    assert settings(strict, a, "mine") is None
    stem = b.rsplit("-", 1)[0]
    strict.api.merge(
        f"/api/v1/namespaces/{a}", {"metadata": {"annotations": {"trimtab.dev/allowed-namespaces": f"{stem}-*"}}}
    )
    strict.ready(a, "shop")
    assert settings(strict, b, "theirs")
    assert settings(strict, a, "mine")


def test_what_lives_in_no_namespace_has_to_be_listed_by_its_kind(strict, tenant):
    a = tenant("a", bound=False)
    bind(strict.api, a, everywhere=True)
    role = f"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {a}}}\nrules: []\n"
    publish(strict, a, {"app/role.yaml": role, "app/settings.yaml": config()})
    strict.app(a, "shop", "./app")
    message = strict.failed(a, "shop", "ValidationFailed", "trimtab.dev/allowed-kinds")
    assert f"ClusterRole/{a} (app/role.yaml:1) is in no namespace" in message
    assert settings(strict, a) is None
    kinds = {"trimtab.dev/allowed-kinds": "ClusterRole.rbac.authorization.k8s.io"}
    strict.api.merge(f"/api/v1/namespaces/{a}", {"metadata": {"annotations": kinds}})
    message = strict.failed(a, "shop", words="does not list (ConfigMap)")
    assert "app/settings.yaml" in message
    kinds = {"trimtab.dev/allowed-kinds": "ConfigMap, ClusterRole.rbac.authorization.k8s.io"}
    strict.api.merge(f"/api/v1/namespaces/{a}", {"metadata": {"annotations": kinds}})
    strict.ready(a, "shop")
    assert settings(strict, a)


def test_a_list_that_makes_no_sense_lets_nothing_through(strict, tenant):
    a = tenant("a")
    publish(strict, a, {"app/settings.yaml": config()})
    wrong = {"trimtab.dev/allowed-kinds": "config maps"}
    strict.api.merge(f"/api/v1/namespaces/{a}", {"metadata": {"annotations": wrong}})
    strict.app(a, "shop", "./app")
    strict.failed(a, "shop", "ValidationFailed", "'config maps'")
    assert settings(strict, a) is None


def test_the_moment_an_account_is_gone_nothing_is_applied_pruned_or_deleted_in_its_name(strict, tenant):
    ns = tenant("a", bound=False)
    accounts = f"/api/v1/namespaces/{ns}/serviceaccounts"
    strict.api.create(accounts, {"metadata": {"name": "ship"}})
    bind(strict.api, ns, "ship")
    repo = publish(strict, ns, {"app/settings.yaml": config(), "app/old.yaml": config(name="old")})
    strict.app(ns, "shop", "./app", serviceAccountName="ship")
    strict.ready(ns, "shop")
    strict.api.delete(f"{accounts}/ship")
    repo.commit({"app/old.yaml": None, "app/new.yaml": config(name="new")})
    strict.poke(ns)
    strict.failed(ns, "shop", "ReconciliationFailed", f"ServiceAccount {ns}/ship does not exist")
    assert settings(strict, ns, "new") is None
    assert settings(strict, ns, "old")
    strict.api.create(accounts, {"metadata": {"name": "ship"}})
    strict.ready(ns, "shop", timeout=30)
    until(lambda: settings(strict, ns, "old") is None, "it is pruned")
    strict.api.delete(f"{accounts}/ship")
    strict.api.delete(app_path(ns))
    strict.failed(ns, "shop", words=f"ServiceAccount {ns}/ship does not exist")
    assert settings(strict, ns), "the deletion is held"
    strict.api.create(accounts, {"metadata": {"name": "ship"}})
    until(lambda: strict.get_app(ns, "shop") is None, "it goes on when the account is back")
    assert settings(strict, ns) is None


def test_a_default_account_that_is_gone_is_missed_as_well(strict, tenant):
    ns = tenant("a")
    publish(strict, ns, {"app/settings.yaml": config()})
    strict.app(ns, "shop", "./app", serviceAccountName="nobody")
    strict.failed(ns, "shop", words=f"ServiceAccount {ns}/nobody does not exist")
    strict.api.merge(app_path(ns), {"spec": {"serviceAccountName": "../kube-system:default"}})
    strict.failed(ns, "shop", words="cannot be the name of a ServiceAccount")
    assert settings(strict, ns) is None


def test_health_of_another_tenant_s_object_is_not_told(strict, tenant):
    a, b = tenant("a"), tenant("b")
    publish(strict, b, {"app/secretive.yaml": config(name="secretive")})
    strict.app(b, "shop", "./app")
    strict.ready(b, "shop")
    publish(strict, a, {"app/settings.yaml": config()})
    check = {"apiVersion": "v1", "kind": "ConfigMap", "name": "secretive", "namespace": b}
    strict.app(a, "spy", "./app", healthChecks=[check], timeout="3s")
    strict.failed(a, "spy", "HealthCheckFailed", "cannot get resource")


# Releases

OUTSIDE = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: out\n  namespace: default\n"


def test_a_release_stays_in_its_namespace_with_objects_hooks_and_new_namespaces(strict):
    home = Home(strict, "tenant")
    until(lambda: home.api.get(f"/api/v1/namespaces/{home.ns}/serviceaccounts/default"), "it has an account", 60)
    annotated = '  annotations: {"helm.sh/hook": post-delete}\n'
    home.charts(
        chart(),
        chart(name="object", files={"templates/out.yaml": OUTSIDE}),
        chart(name="hook", files={"templates/out.yaml": OUTSIDE + annotated}),
    )
    home.release()
    home.failed(words=f'"system:serviceaccount:{home.ns}:default"')
    bind(home.api, home.ns, everywhere=True)  # more than was meant
    try:
        home.ask()
        home.ready(revision=1)
        for name in ("object", "hook"):
            home.release(name, name)
            home.failed(name, words="is outside: the namespace")
            assert home.data(name) is None
        home.release("away", targetNamespace=f"{home.ns}-new", install={"createNamespace": True})
        home.failed("away", words="refused, nothing was applied")
        assert home.api.get(f"/api/v1/namespaces/{home.ns}-new") is None
        # what the tenant itself puts on record is no way out either
        smuggle(home, annotated)
        home.api.delete(home.path())
        home.failed(words="is outside: the namespace")
        assert home.api.get("/api/v1/namespaces/default/configmaps/out") is None
        home.change(uninstall={"disableHooks": True})
        home.gone()
    finally:
        strict.let_go(home.ns)


def smuggle(home, annotated):
    """Write another hook into the record of `app`."""
    path = f"/api/v1/namespaces/{home.ns}/secrets/sh.helm.release.v1.app.v1"
    packed = base64.b64decode(base64.b64decode(home.api.get(path)["data"]["release"]))
    record = json.loads(gzip.decompress(packed))
    run = {"phase": ""}
    bad = {"name": "out", "kind": "ConfigMap", "path": "app/templates/out.yaml", "manifest": OUTSIDE + annotated}
    record["hooks"] = [{**bad, "events": ["post-delete"], "last_run": run}]
    data = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(record).encode()))).decode()
    home.api.merge(path, {"data": {"release": data}})
