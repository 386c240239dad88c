"""A cluster whose installation is older than some of our kinds: it goes on without them, and takes them up later."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.test_main_job import config
from tests.e2e.world import SOURCES, Controller, World, condition, until
from trimtab.api.crd import DEFINITIONS, crd
from trimtab.api.gvk import GIT_REPOSITORY, KUSTOMIZATION

PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
LATER = [crd(one) for one in DEFINITIONS if one.gvk not in (GIT_REPOSITORY, KUSTOMIZATION)]


def served(world: World, body: Any) -> bool:
    found = {one["name"] for one in world.api.get(SOURCES)["resources"]}
    return body["spec"]["names"]["plural"] in found


def install(world: World, body: Any) -> None:
    if world.api.get(f"{PATH}/{body['metadata']['name']}") is None:
        world.api.create(PATH, body)
    until(lambda: served(world, body), f"{body['metadata']['name']} is served")


@pytest.fixture
def older(world: World, api: Any, kubeconfig: Any, git_root: Any, git_url: str, tmp_path: Any) -> Iterator[World]:
    """A controller that starts where only the first two kinds are installed."""
    world.controller.stop()
    for body in LATER:
        world.api.delete(f"{PATH}/{body['metadata']['name']}")
    for body in LATER:
        until(lambda body=body: not served(world, body), "it is gone")  # type: ignore[misc]
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
    # In the other order than that of the list: none waits for another.
    for body in reversed(LATER):
        install(older, body)
        kind, plural = body["spec"]["names"]["kind"], body["spec"]["names"]["plural"]
        spec = NOWHERE[kind]
        path = f"{SOURCES}/namespaces/{ns}/{plural}"
        made = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": kind, "metadata": {"name": "nowhere"}}
        older.api.create(path, {**made, "spec": {"interval": "1h", **spec}})
        until(
            lambda path=path: condition(older.api.get(f"{path}/nowhere"), "Ready").get("reason") == "URLInvalid",  # type: ignore[misc]
            f"the {kind} is looked after",
        )
    for body in LATER:
        said = f"{body['spec']['names']['kind']} {body['spec']['group']}/v1 is not installed"
        assert older.controller.log.count(said) == 1, "said once, not every five seconds"
    older.let_go(ns)


NOWHERE: dict[str, dict[str, Any]] = {
    "OCIRepository": {"url": "oci://169.254.169.254/app"},
    "Bucket": {"endpoint": "169.254.169.254", "bucketName": "apps"},
}
"""What stalls at once, of each kind."""
