"""The cluster serves Flux's definitions, which prune what is ours alone from a status: nothing is lost by that."""

import asyncio
import base64
import json
from functools import partial

import pytest

from tests.e2e.conftest import served_now
from tests.e2e.test_inventory import HOLDERS, applied_by_flux, configs, entry, flux_status, holders, labelled
from tests.e2e.test_main_job import config
from tests.e2e.world import APPS, Api, Controller, World, condition, until
from trimtab.api.crd import crds
from trimtab.cluster.plane import ControlPlane
from trimtab.toolchain import binaries

OURS_ALONE = ("format", "cluster", "checksum", "count")
"""Fields of `status.inventory` that Flux's definition does not have; its entries have `id` and `v`, both required."""


def definitions_of_flux():
    """Our definitions without what is ours alone: the shape of Flux's, as its API is documented."""
    for definition in crds():
        [version] = definition["spec"]["versions"]
        whole = version["schema"]["openAPIV3Schema"]["properties"].get("status")
        if whole is None:  # Alerts and Providers
            yield definition
            continue
        status = whole["properties"]
        status.pop("drift", None)
        status.pop("trust", None)
        kind = definition["spec"]["names"]["kind"]
        if kind == "ArtifactGenerator":
            del status["observedGeneration"], whole["default"]
        if kind == "Kustomization":
            for field in OURS_ALONE:
                del status["inventory"]["properties"][field]
            del status["inventory"]["properties"]["entries"]["items"]["properties"]["uid"]
        yield definition


@pytest.fixture(scope="module")
def flux_plane(tmp_path_factory):
    """A control plane of its own: what is stored under other definitions must not meet these."""
    plane = ControlPlane(tmp_path_factory.mktemp("flux"), binaries=binaries.find("controlplane"))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(plane.start())
    api = Api(plane.kubeconfig)
    for definition in definitions_of_flux():
        api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    for definition in definitions_of_flux():
        group, plural = definition["spec"]["group"], definition["spec"]["names"]["plural"]
        for version in (one["name"] for one in definition["spec"]["versions"] if one["served"]):
            until(partial(served_now, api, f"/apis/{group}/{version}/{plural}"), f"{plural} of {group} are served")
    api.create("/api/v1/namespaces", {"metadata": {"name": "flux-system"}})
    yield plane
    loop.run_until_complete(plane.stop())
    loop.close()


@pytest.fixture
def there(flux_plane, git_root, git_url, tmp_path):
    controller = Controller(flux_plane.kubeconfig, tmp_path, "--no-leader-elect")
    yield World(Api(flux_plane.kubeconfig), git_url, git_root, controller)
    if controller.process and controller.process.poll() is None:
        controller.kill()
    assert "Traceback" not in controller.log, controller.log[-6000:]


@pytest.fixture
def home(there, request):
    name = there.namespace("flux-" + "".join(c if c.isalnum() else "-" for c in request.node.name)[8:32])
    yield name
    there.let_go(name)


def head(world, ns):
    found = world.api.get(f"/api/v1/namespaces/{ns}/secrets/shop.inventory.trimtab.dev")
    return found and json.loads(base64.b64decode(found["data"]["inventory"]))


def started(world, ns, files, **spec):
    repo = world.repo(ns)
    commit = repo.commit(files)
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", **spec)
    world.controller.start()
    return repo, world.ready(ns, "shop", commit, timeout=240)


def listed(app):
    return {line["id"] for line in app["status"]["inventory"]["entries"]}


def test_the_extension_lives_in_a_secret_and_flux_s_clients_see_what_they_know(there, home):
    _, app = started(there, home, {"app/a.yaml": config("a"), "app/b.yaml": config("b")})
    assert app["status"]["inventory"] == {"entries": [{"id": entry(home, name), "v": "v1"} for name in "ab"]}
    kept = head(there, home)
    live = labelled(there, home)
    assert {line["id"]: line["uid"] for line in kept["entries"]} == {entry(home, n): live[n]["uid"] for n in "ab"}
    assert (kept["format"], bool(kept["cluster"]), bool(kept["checksum"])) == (1, True, True)


def test_prune_and_restart_and_the_end(there, home):
    repo, _ = started(there, home, {"app/a.yaml": config("a"), "app/b.yaml": config("b")})
    there.controller.kill()
    versions = {name: item["resourceVersion"] for name, item in labelled(there, home).items()}
    commit = repo.commit({"app/b.yaml": None})
    there.controller.start()
    app = there.ready(home, "shop", commit)
    assert listed(app) == {entry(home, "a")}
    assert {name: item["resourceVersion"] for name, item in labelled(there, home).items()} == {"a": versions["a"]}
    assert [line["id"] for line in head(there, home)["entries"]] == [entry(home, "a")]
    there.api.delete(f"{APPS}/namespaces/{home}/kustomizations/shop")
    until(lambda: there.get_app(home, "shop") is None, "the app is gone")
    assert not labelled(there, home)
    until(lambda: not holders(there, home), "the garbage collector has taken the Secret", 60)


BOTH_AND_ONE = {"app/a.yaml": config("a"), "app/b.yaml": config("b"), "less/a.yaml": config("a")}


def less(world, ns):
    """While nobody looks, `b` leaves what is desired: by another path, so that no pass at the old one is first."""
    world.api.merge(f"{APPS}/namespaces/{ns}/kustomizations/shop", {"spec": {"path": "./less"}})


def test_an_object_that_was_replaced_by_somebody_is_not_pruned_because_the_uid_is_known(there, home):
    started(there, home, BOTH_AND_ONE)
    there.controller.kill()
    there.api.delete(f"/api/v1/namespaces/{home}/configmaps/b")
    applied_by_flux(there, home, "b")
    less(there, home)
    there.controller.start()
    app = there.ready(home, "shop")
    assert listed(app) == {entry(home, "a")}
    assert "b" in labelled(there, home), "another object has taken its name"


def test_p13_a_damaged_secret_makes_the_app_read_only(there, home):
    repo, _ = started(there, home, {"app/a.yaml": config("a"), "app/b.yaml": config("b")})
    there.controller.kill()
    kept = head(there, home)
    del kept["entries"][0]
    data = base64.b64encode(json.dumps(kept).encode()).decode()
    path = f"/api/v1/namespaces/{home}/secrets/shop.inventory.trimtab.dev"
    there.api.merge(path, {"data": {"inventory": data}})
    repo.commit({"app/b.yaml": None})
    there.controller.start()
    there.failed(home, "shop", "ReadOnly", "checksum")
    assert set(labelled(there, home)) == {"a", "b"}
    there.api.merge(f"{APPS}/namespaces/{home}/kustomizations/shop", {"spec": {"deletionPolicy": "Orphan"}})


def test_p10_a_list_of_another_cluster_deletes_nothing(there, home):
    started(there, home, BOTH_AND_ONE)
    there.controller.kill()
    kept = head(there, home) | {"cluster": "another"}
    data = base64.b64encode(json.dumps(kept).encode()).decode()
    path = f"/api/v1/namespaces/{home}/secrets/shop.inventory.trimtab.dev"
    there.api.merge(path, {"data": {"inventory": data}})
    less(there, home)
    there.controller.start()
    app = there.ready(home, "shop")
    assert set(labelled(there, home)) == {"a", "b"}
    assert listed(app) == {entry(home, "a")}
    assert head(there, home)["cluster"] != "another"


def test_an_inventory_that_flux_wrote_is_adopted(there, home):
    repo = there.repo(home)
    commit = repo.commit({"app/kept.yaml": config("kept")})
    there.source(home, repo.url)
    for name in ("kept", "left"):
        applied_by_flux(there, home, name)
    there.app(home, "shop", "./app")
    flux_status(there, home, [entry(home, "kept"), entry(home, "left")])
    there.controller.start()
    app = there.ready(home, "shop", commit)
    assert listed(app) == {entry(home, "kept")}
    assert set(labelled(there, home)) == {"kept"}


def test_what_flux_added_while_it_was_in_charge_is_not_lost(there, home):
    repo, _ = started(there, home, {"app/a.yaml": config("a")})
    there.controller.kill()
    applied_by_flux(there, home, "b")
    flux_status(there, home, [entry(home, "a"), entry(home, "b")])
    commit = repo.push()
    there.controller.start()
    app = there.ready(home, "shop", commit)
    until(lambda: set(labelled(there, home)) == {"a"}, "what Flux added and git does not have is pruned")
    until(lambda: listed(there.get_app(home, "shop")) == {entry(home, "a")}, f"it left the record: {app}")
    assert not condition(there.get_app(home, "shop"), "PruneHeld")


@pytest.mark.timeout(400)
def test_a_long_list_is_in_parts_that_the_secret_and_the_status_name(there, home):
    files = {"app/a.yaml": configs(0, 600), "app/b.yaml": configs(600, 1_001)}
    repo, app = started(there, home, files, deletionPolicy="Orphan", annotations={"trimtab.dev/deletion-budget": "50%"})
    assert head(there, home)["count"] == 1_001
    assert listed(app) == {line["id"] for line in head(there, home)["entries"]}
    there.controller.kill()
    commit = repo.commit({"app/b.yaml": configs(600, 990)})
    there.controller.start()
    app = there.ready(home, "shop", commit, timeout=240)
    assert listed(app) == {entry(home, f"c{i}") for i in range(990)}
    until(lambda: len(holders(there, home)) == 1, f"the parts are gone: {HOLDERS}")
