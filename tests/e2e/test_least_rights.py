"""With the accounts and rights of `trimtab install`, and nothing more, the main job is done."""

import json

import pytest

from tests.e2e.test_main_job import config, deployment, settings, workload
from tests.e2e.test_receivers import PUSH, Hooked, signed
from tests.e2e.world import ApiFailure, Controller, free_port, until
from trimtab.api.install import install_manifests


@pytest.fixture
def modest(world, api, kubeconfig, git_root, git_url, tmp_path):
    """The controller as it runs in a cluster: the account trimtab-sync, an applier and a reader."""
    world.controller.stop()
    for body in install_manifests(namespace="flux-system", image="trimtab:test"):
        if body["kind"] in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"):
            create(api, body)
    token = api.create("/api/v1/namespaces/flux-system/serviceaccounts/trimtab-sync/token", {"spec": {}})
    account = tmp_path / "kubeconfig"
    account.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": api.cluster}],
                "users": [{"name": "u", "user": {"token": token["status"]["token"]}}],
            }
        )
    )
    accounts = ("--applier", "flux-system/trimtab-applier", "--reader", "flux-system/trimtab-reader")
    port = free_port()
    roles = ("--controllers=source,kustomize,notification", f"--receiver-addr=127.0.0.1:{port}")
    gates = "--feature-gates=StrictPostBuildSubstitutions=false"
    controller = Controller(account, tmp_path / "run", *accounts, *roles, gates)
    controller.start()
    modest = Hooked(api, git_url, git_root, controller)
    modest.port = port
    yield modest
    assert controller.stop() == 0
    assert "Traceback" not in controller.log, controller.log[-4000:]
    assert "orbidden" not in controller.log, controller.log[-4000:]
    world.controller.start()


def create(api, body):
    """Make it so, whatever other tests installed under the same name."""
    root = f"/apis/{body['apiVersion']}" if "/" in body["apiVersion"] else f"/api/{body['apiVersion']}"
    namespace = body["metadata"].get("namespace")
    scope = f"/namespaces/{namespace}" if namespace else ""
    path = f"{root}{scope}/{body['kind'].lower()}s"
    try:
        api.create(path, body)
    except ApiFailure as failure:
        if failure.code != 409:
            raise
        api.merge(f"{path}/{body['metadata']['name']}", body)


def test_the_main_job_is_done_with_the_rights_that_are_installed(modest, ns):
    repo = modest.repo(ns)
    repo.commit({"app/web.yaml": deployment(), "app/settings.yaml": config()})
    secret = {"metadata": {"name": "key"}, "stringData": {"bearerToken": "x"}}
    modest.api.create(f"/api/v1/namespaces/{ns}/secrets", secret)
    modest.source(ns, repo.url)
    modest.app(ns, "shop", "./app", wait=True)
    modest.ready(ns, "shop")
    modest.api.merge(f"/apis/apps/v1/namespaces/{ns}/deployments/web", {"spec": {"replicas": 7}})
    until(lambda: workload(modest, ns)["spec"]["replicas"] == 2, "drift is healed", 10)
    modest.token(ns)
    modest.receiver(ns)
    path = modest.path(ns)
    commit = repo.commit({"app/settings.yaml": None})
    assert modest.post(path, PUSH, signed())[0] == 200
    modest.ready(ns, "shop", commit)
    until(lambda: settings(modest, ns) is None, "it is pruned")
    until(lambda: modest.api.get(f"/api/v1/namespaces/{ns}/events")["items"], "events are written")
    modest.api.delete(f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/shop")
    until(lambda: modest.get_app(ns, "shop") is None, "the app is gone")
    modest.api.delete(f"/apis/notification.toolkit.fluxcd.io/v1/namespaces/{ns}/receivers/hook")
    until(lambda: modest.get_receiver(ns) is None, "the receiver is gone")


def test_variables_are_read_and_watched_with_the_rights_that_are_installed(modest, ns):
    repo = modest.repo(ns)
    repo.commit({"app/settings.yaml": config(colour="'x${colour}${unset}'")})
    watched = {"name": "vars", "labels": {"reconcile.fluxcd.io/watch": "Enabled"}}
    modest.api.create(f"/api/v1/namespaces/{ns}/secrets", {"metadata": watched, "stringData": {"colour": "red"}})
    modest.source(ns, repo.url)
    refs = [{"kind": "Secret", "name": "vars"}]
    modest.app(ns, "shop", "./app", postBuild={"substituteFrom": refs}, retryInterval="60m")
    modest.ready(ns, "shop")
    # what is not set is empty: the gate says so
    assert settings(modest, ns)["data"]["colour"] == "xred"
    modest.api.merge(f"/api/v1/namespaces/{ns}/secrets/vars", {"stringData": {"colour": "blue"}})
    until(lambda: settings(modest, ns)["data"]["colour"] == "xblue", "a change counts at once", 10)
