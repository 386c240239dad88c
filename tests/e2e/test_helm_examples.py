"""The directories of `examples/helm` work as they stand: applied as their README says, the tree in a repository."""

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.releases import RELEASES
from tests.e2e.world import SOURCES, Repo, World, condition, until
from trimtab.cli.demo import repository as demo_repository
from trimtab.cli.demo import root as demo_root

ROOT = demo_repository.examples()
HOME, SOURCE = "flux-system", f"{SOURCES}/namespaces/flux-system/gitrepositories/flux-system"


@pytest.fixture(scope="module")
def tree(world: World) -> Iterator[Repo]:
    """The tree in a repository, and the source that the demo creates for it."""
    repo = world.repo("examples")
    files = {str(path.relative_to(ROOT)): path.read_bytes() for path in ROOT.rglob("*") if path.is_file()}
    repo.commit(files)
    world.api.create(SOURCE.rpartition("/")[0], demo_root.source(repo.url))
    yield repo
    world.let_go(HOME)


class Example:
    """One directory, applied."""

    def __init__(self, world: World, repo: Repo, kubectl: Callable[..., str], name: str) -> None:
        self.world, self.repo, self.api = world, repo, world.api
        self.name = self.namespace = f"helm-{name}"
        self.file = f"helm/{name}/app.yaml"
        self.kubectl = kubectl
        kubectl("apply", "--filename", str(ROOT / self.file))

    def ready(self, *releases: str) -> None:
        self.world.ready(HOME, self.name, timeout=90)
        for release in releases:
            assert condition(self.release(release), "Ready")["status"] == "True"

    def release(self, name: str = "web") -> Any:
        return self.api.get(f"{RELEASES}/namespaces/{self.namespace}/helmreleases/{name}")

    def deployment(self, name: str = "web") -> Any:
        return self.api.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}")["spec"]

    def image(self) -> str:
        return str(self.deployment()["template"]["spec"]["containers"][0]["image"])

    def config(self, name: str = "web") -> Any:
        return self.api.get(f"/api/v1/namespaces/{self.namespace}/configmaps/{name}")["data"]

    def message(self) -> str:
        return str(self.config()["PODINFO_UI_MESSAGE"])

    def change(self, file: str, old: str, new: str) -> None:
        path = f"helm/{self.name.removeprefix('helm-')}/{file}"
        said = (self.repo.work / path).read_text()
        assert old in said
        self.repo.commit({path: said.replace(old, new)})
        self.world.poke(HOME, HOME)

    def why(self) -> str:
        seen = [self.world.get_app(HOME, self.name), self.release()]
        return json.dumps([one and one.get("status") for one in seen], indent=1)


@pytest.fixture
def example(world: World, tree: Repo, kubectl: Callable[..., str], request: pytest.FixtureRequest) -> Iterator[Example]:
    found = Example(world, tree, kubectl, request.param)
    yield found
    kubectl("delete", "--ignore-not-found", "--wait=false", "--filename", str(ROOT / found.file))
    path = f"/api/v1/namespaces/{found.namespace}"
    until(lambda: world.api.get(path) is None, lambda: f"{found.namespace} stays: {found.why()}", 60)


def example_of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", [name], indirect=True)


@example_of("variables")
def test_variables_of_the_cluster_reach_the_values_and_so_does_a_change(example: Example) -> None:
    example.ready("web")
    assert example.message() == "hello from eu-central-1"
    assert example.deployment()["replicas"] == 2
    example.api.merge(f"/api/v1/namespaces/{HOME}/configmaps/helm-variables", {"data": {"region": "eu-west-1"}})
    until(lambda: example.message() == "hello from eu-west-1", example.why)


@example_of("values")
def test_values_come_from_files_from_a_path_and_from_the_object_in_their_order(example: Example) -> None:
    example.ready("web")
    assert example.deployment()["replicas"] == 3
    assert example.image().endswith(":6.9.3")
    assert example.message() == "hello from the release"
    example.change("release/web.yaml", "replicas: 3", "replicas: 4")
    until(lambda: example.deployment()["replicas"] == 4, example.why)
    settings = f"/api/v1/namespaces/{example.namespace}/configmaps/settings"
    example.change("release/settings.yaml", "6.9.3", "6.9.4")
    until(lambda: example.api.get(settings)["data"]["image-tag"] == "6.9.4", example.why)
    until(lambda: example.image().endswith(":6.9.4"), example.why)


@example_of("order")
def test_a_release_comes_after_the_one_it_depends_on(example: Example) -> None:
    example.ready("backend", "frontend")
    began = example.release("frontend")["status"]["history"][0]["firstDeployed"]
    ready = condition(example.release("backend"), "Ready")["lastTransitionTime"]
    assert ready.rstrip("Z") <= began.rstrip("Z")
    assert example.config("frontend")["PODINFO_BACKEND_URL"] == "http://backend/echo"


@example_of("secrets")
def test_values_that_are_encrypted_in_git_reach_the_release_and_nothing_that_is_shown(
    example: Example, tree: Repo
) -> None:
    example.ready("web")
    secret = example.api.get(f"/api/v1/namespaces/{example.namespace}/secrets/web")
    token = base64.b64decode(secret["data"]["TOKEN"]).decode()
    assert token == "not-to-be-seen-in-git"
    found = subprocess.run(["grep", "-r", token, str(tree.work)], capture_output=True, check=False)
    assert found.stdout == b""
    assert token not in example.world.controller.log + json.dumps(example.release()["status"])


def test_every_object_in_the_page_about_releases_is_accepted(world: World, kubectl: Callable[..., str]) -> None:
    page = (ROOT.parent / "docs" / "helm.md").read_text()
    blocks = re.findall(r"(?ms)^```yaml\n(.*?)^```", page)
    assert len(blocks) >= 4
    for block in blocks:
        kubectl("apply", "--dry-run=server", "--validate=strict", "--filename", "-", stdin=block)
