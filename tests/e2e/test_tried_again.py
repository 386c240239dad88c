"""What could not be done is done as soon as it can be, though nobody pushes and nobody asks."""

import pytest

from tests.e2e.reviewer import Webhook, allow, deny
from tests.e2e.test_main_job import config, settings
from tests.e2e.test_tenancy import RBAC, bind
from tests.e2e.world import until


@pytest.fixture
def hook(world, ns, tmp_path):
    with Webhook(world, ns, tmp_path).served() as served:
        yield served


def recolour(world, ns, value):
    path = f"/api/v1/namespaces/{ns}/configmaps/settings?fieldManager=painter"
    world.api.merge(path, {"data": {"colour": value}})


def test_a_correction_that_was_denied_is_made_later_though_the_app_itself_is_refused_for_good(world, ns, hook):
    repo = world.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app")
    world.ready(ns, "shop")
    repo.commit({"app/settings.yaml": "kind: [\n"})
    world.poke(ns)
    world.failed(ns, "shop", "BuildFailed")

    def decide(request):
        ours = request["options"].get("fieldManager") == "kustomize-controller"
        return (deny("not now") if ours else allow)(request)

    hook.decide = decide
    hook.configure("Validating")
    before = hook.asked
    recolour(world, ns, "blue")
    until(lambda: hook.asked >= before + 2, "the correction was tried")
    assert settings(world, ns)["data"]["colour"] == "blue"
    hook.decide = allow
    until(lambda: settings(world, ns)["data"]["colour"] == "red", "it is corrected")
    assert "BuildFailed" in str(world.get_app(ns, "shop")["status"]["conditions"])


def test_a_suspended_app_that_could_not_be_looked_at_is_looked_at_again(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    until(lambda: world.api.get(f"/api/v1/namespaces/{ns}/serviceaccounts/default"), "it has an account", 60)
    bind(world.api, ns)
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", serviceAccountName="default", interval="2s")
    world.ready(ns, "shop")
    world.suspend(ns)
    [binding] = world.api.get(f"{RBAC}/namespaces/{ns}/rolebindings")["items"]
    path = f"{RBAC}/namespaces/{ns}/rolebindings/{binding['metadata']['name']}"
    world.api.delete(path)
    recolour(world, ns, "blue")
    world.api.create(
        path.rpartition("/")[0],
        {key: binding[key] for key in ("roleRef", "subjects")} | {"metadata": {"name": "again"}},
    )
    drift = until(lambda: world.get_app(ns, "shop")["status"].get("drift"), "it is told")
    assert [record["answer"] for record in drift] == ["reported"]
    assert settings(world, ns)["data"]["colour"] == "blue"
