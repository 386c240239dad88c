"""Apps whose objects go to another cluster: what they do there, and what becomes of them when it is not there."""

import asyncio
import base64

import pytest

from tests.e2e.test_main_job import config
from tests.e2e.world import APPS, Api, until
from trimtab.cluster.plane import ControlPlane
from trimtab.toolchain import binaries


@pytest.fixture(scope="module")
def far_plane(tmp_path_factory):
    """A second control plane."""
    plane = ControlPlane(tmp_path_factory.mktemp("far"), kwok=False, audit=True, binaries=binaries.find("controlplane"))
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(plane.start())
        yield plane
        loop.run_until_complete(plane.stop())
    finally:
        loop.close()


@pytest.fixture(scope="module")
def far(far_plane):
    return Api(far_plane.kubeconfig)


@pytest.fixture
def there(far, ns):
    """The namespace of the test in the other cluster, by the same name."""
    far.create("/api/v1/namespaces", {"metadata": {"name": ns}})
    return ns


def kubeconfig(world, ns, text, name="far", key="value"):
    """Put a kubeconfig into a Secret; the field that refers to it."""
    data = {key: base64.b64encode(text).decode()}
    path = f"/api/v1/namespaces/{ns}/secrets"
    if world.api.get(f"{path}/{name}"):
        world.api.merge(f"{path}/{name}", {"data": data})
    else:
        world.api.create(path, {"metadata": {"name": name}, "data": data})
    return {"secretRef": {"name": name}}


def start(world, ns, plane, **spec):
    repo = world.repo(ns)
    commit = repo.commit({"app/settings.yaml": config()})
    world.source(ns, repo.url)
    ref = kubeconfig(world, ns, plane.kubeconfig.read_bytes())
    world.app(ns, "shop", "./app", kubeConfig=ref, **spec)
    return repo, commit


def settings(api, ns):
    return api.get(f"/api/v1/namespaces/{ns}/configmaps/settings")


def system(api):
    return api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]


def test_objects_go_to_the_other_cluster_and_all_that_is_told_stays_here(world, ns, there, far, far_plane):
    repo, commit = start(world, ns, far_plane)
    app = world.ready(ns, "shop", commit)
    assert settings(far, ns)
    assert settings(world.api, ns) is None
    recorded = app["status"]["inventory"]
    assert recorded["cluster"] == system(far) != system(world.api)
    assert [entry["id"] for entry in recorded["entries"]] == [f"{ns}_settings__ConfigMap"]
    far.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"data": {"colour": "drifted"}})
    until(lambda: settings(far, ns)["data"]["colour"] != "drifted", "drift is corrected by watch")
    repo.commit({"app/settings.yaml": None, "app/more.yaml": config(name="more")})
    world.poke(ns)
    until(lambda: settings(far, ns) is None, "it is pruned there")
    world.api.delete(f"{APPS}/namespaces/{ns}/kustomizations/shop")
    until(lambda: world.get_app(ns, "shop") is None, "the app is gone")
    assert far.get(f"/api/v1/namespaces/{ns}/configmaps/more") is None
