"""One controller for all tests of this package; they keep to namespaces of their own.

It ends with the package: other tests create objects of our kinds on the same control plane and want them left alone.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.world import Api, ApiFailure, Controller, World, until
from trimtab.api.crd import crds
from trimtab.cluster.gitserver import GitServer


@pytest.fixture(scope="session")
def git_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("git")


@pytest.fixture(scope="session")
def git_url(git_root: Path) -> Iterator[str]:
    """The address below which repositories are served to everybody."""
    with served(GitServer(git_root)) as url:
        yield url


@pytest.fixture(scope="session")
def private_git_url(git_root: Path) -> Iterator[str]:
    """The same repositories for `reader` with the password `right`, over plain HTTP."""
    with served(GitServer(git_root, accounts={"reader": "right"})) as url:
        yield url


@contextmanager
def served(server: GitServer) -> Iterator[str]:
    """A git server in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    yield server.url("x").removesuffix("/x.git")
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def served_now(api: Api, path: str) -> bool:
    """Whether a kind can be listed: a new one is announced before its storage is ready, and then asks for patience."""
    try:
        return api.get(path) is not None
    except ApiFailure as failure:
        if failure.code == 429:
            return False
        raise


@pytest.fixture(scope="session")
def api(kubeconfig: Path) -> Api:
    """The API server with our kinds installed."""
    api = Api(kubeconfig)
    for crd in crds():
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        if api.get(f"{path}/{crd['metadata']['name']}") is None:
            api.create(path, crd)
    for crd in crds():
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        for version in (one["name"] for one in crd["spec"]["versions"] if one["served"]):
            until(partial(served_now, api, f"/apis/{group}/{version}/{plural}"), f"{plural} of {group} are served")
    if api.get("/api/v1/namespaces/flux-system") is None:
        api.create("/api/v1/namespaces", {"metadata": {"name": "flux-system"}})
    return api


@pytest.fixture(scope="package")
def world(
    api: Api, kubeconfig: Path, git_root: Path, git_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    controller = Controller(kubeconfig, tmp_path_factory.mktemp("trimtab"))
    controller.start()
    yield World(api, git_url, git_root, controller)
    assert controller.stop() == 0, controller.log[-3000:]
    assert "Traceback" not in controller.log, controller.log[-6000:]


@pytest.fixture
def ns(world: World, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own. Its apps and sources go with the test, so that the next one has the controller."""
    stem = "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).removeprefix("test-")
    name = world.namespace(stem)
    yield name
    world.let_go(name)


@pytest.fixture
def group(world: World, ns: str) -> Iterator[str]:
    """An API group of the test's own; its definitions go with it."""
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    name = f"{ns}.example"
    yield name
    for item in world.api.get(definitions)["items"]:
        if item["spec"]["group"] == name:
            world.api.delete(f"{definitions}/{item['metadata']['name']}")
