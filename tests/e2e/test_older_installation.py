"""A cluster whose installation is older than some of our kinds: it goes on without them, and takes them up later."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.test_main_job import config
from tests.e2e.world import SOURCES, ApiFailure, Controller, World, condition, until
from trimtab.api.crd import DEFINITIONS, crd

PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NOWHERE: dict[str, dict[str, Any]] = {
    "OCIRepository": {"interval": "1h", "url": "oci://169.254.169.254/app"},
    "Bucket": {"interval": "1h", "endpoint": "169.254.169.254", "bucketName": "apps"},
    "HelmRepository": {"interval": "1h", "url": "https://169.254.169.254/charts"},
    "HelmChart": {"interval": "1h", "chart": "app", "sourceRef": {"kind": "HelmRepository", "name": "nobody"}},
    "ExternalArtifact": {},
    "ArtifactGenerator": {
        "sources": [{"alias": "chart", "kind": "HelmChart", "name": "nobody"}],
        "artifacts": [{"name": "made", "copy": [{"from": "@chart/", "to": "@artifact/"}]}],
    },
}
"""What fails at once, of each kind."""
LATER = [crd(one) for one in DEFINITIONS if one.gvk.kind in NOWHERE]


def address(body: Any) -> str:
    spec = body["spec"]
    return f"/apis/{spec['group']}/{spec['versions'][0]['name']}"


def served(world: World, body: Any) -> bool:
    found = {one["name"] for one in (world.api.get(address(body)) or {"resources": []})["resources"]}
    return body["spec"]["names"]["plural"] in found


def install(world: World, body: Any) -> None:
    if world.api.get(f"{PATH}/{body['metadata']['name']}") is None:
        world.api.create(PATH, body)
    until(lambda: served(world, body), f"{body['metadata']['name']} is served")


def unheld(world: World, body: Any) -> None:
    """Take the finalizers off all objects of a kind."""
    for item in (world.api.get(f"{address(body)}/{body['spec']['names']['plural']}") or {"items": []})["items"]:
        if item["metadata"].get("finalizers"):
            there = place(body, item["metadata"]["namespace"])
            world.api.merge(f"{there}/{item['metadata']['name']}", {"metadata": {"finalizers": None}})


def place(body: Any, ns: str) -> str:
    return f"{address(body)}/namespaces/{ns}/{body['spec']['names']['plural']}"


def created(world: World, path: str, body: Any) -> bool:
    try:
        world.api.create(path, body)
    except ApiFailure as failure:
        if failure.code in (404, 429):  # its storage is not ready yet
            return False
        raise
    return True


def failed(world: World, path: str) -> bool:
    return condition(world.api.get(path), "Ready").get("status") == "False"


@pytest.fixture
def older(world: World, api: Any, kubeconfig: Any, git_root: Any, git_url: str, tmp_path: Any) -> Iterator[World]:
    """A controller that starts where only the first two kinds are installed."""
    world.controller.stop()
    for body in LATER:
        unheld(world, body)  # what earlier tests left, and nobody lets go now
        world.api.delete(f"{PATH}/{body['metadata']['name']}")
    for body in LATER:
        until(lambda body=body: not served(world, body), f"{body['metadata']['name']} is gone", 90.0)  # type: ignore[misc]
    controller = Controller(kubeconfig, tmp_path)
    controller.start()
    yield World(api, git_url, git_root, controller)
    assert controller.stop() == 0
    assert "Traceback" not in controller.log, controller.log[-4000:]
    for body in LATER:
        install(world, body)
    world.controller.start()


@pytest.mark.timeout(300)
def test_what_is_installed_is_served_and_each_other_kind_as_soon_as_it_is(older: World) -> None:
    ns = older.namespace("older")
    repo = older.repo(ns)
    commit = repo.commit({"settings.yaml": config()})
    older.source(ns, repo.url)
    older.app(ns, "app")
    older.ready(ns, "app", commit)
    # In the other order than that of the list: none waits for another, but for generators, which need artifacts.
    for body in reversed(LATER):
        install(older, body)
        kind = body["spec"]["names"]["kind"]
        made = {"apiVersion": address(body).removeprefix("/apis/"), "kind": kind, "metadata": {"name": "nowhere"}}
        until(lambda: created(older, place(body, ns), {**made, "spec": NOWHERE[kind]}), f"a {kind} is taken")  # noqa: B023
    far = {
        "url": "http://169.254.169.254/x.tar.gz",
        "digest": f"sha256:{'0' * 64}",
        "revision": "v1",
        "path": "x.tar.gz",
        "lastUpdateTime": "2026-11-26T11:00:00Z",
    }
    older.api.merge(f"{SOURCES}/namespaces/{ns}/externalartifacts/nowhere/status", {"status": {"artifact": far}})
    older.app(ns, "far", sourceRef={"kind": "ExternalArtifact", "name": "nowhere"})
    older.failed(ns, "far", "ArtifactFailed", "never contacted")
    for body in LATER:
        if (kind := body["spec"]["names"]["kind"]) != "ExternalArtifact":
            until(lambda: failed(older, f"{place(body, ns)}/nowhere"), f"the {kind} is looked after")  # noqa: B023
    for body in LATER:
        said = f"{body['spec']['names']['kind']} {address(body).removeprefix('/apis/')} is not installed"
        assert older.controller.log.count(said) == 1, "said once, not every five seconds"
    older.let_go(ns)
