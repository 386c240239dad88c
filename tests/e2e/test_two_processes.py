"""Sources and apps in processes of their own: the artifacts travel over HTTP, as between Flux's controllers."""

import pytest

from tests.e2e.test_main_job import config, settings
from tests.e2e.world import Controller, World


@pytest.fixture
def apart(world, api, kubeconfig, git_root, git_url, tmp_path):
    """The session's controller gives way to two."""
    world.controller.stop()
    source = Controller(kubeconfig, tmp_path / "source", "--controllers", "source")
    kustomize = Controller(kubeconfig, tmp_path / "kustomize", "--controllers", "kustomize")
    source.start()
    kustomize.start()
    yield World(api, git_url, git_root, kustomize)
    assert source.stop() == 0
    assert kustomize.stop() == 0
    assert "Traceback" not in source.log + kustomize.log
    world.controller.start()


def test_an_artifact_of_another_process_is_fetched_checked_and_applied(apart, ns):
    repo = apart.repo(ns)
    first = repo.commit({"app/settings.yaml": config()})
    apart.source(ns, repo.url)
    apart.app(ns, "shop", "./app")
    apart.ready(ns, "shop", first)
    second = repo.commit({"app/settings.yaml": config(colour="blue")})
    apart.poke(ns)
    apart.ready(ns, "shop", second)
    assert settings(apart, ns)["data"]["colour"] == "blue"


def test_an_artifact_that_is_not_what_its_status_says_is_not_applied(apart, ns):
    repo = apart.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    apart.source(ns, repo.url, suspend=True)
    path = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{ns}/gitrepositories/repo"
    artifact = {
        "path": "x",
        "url": f"{repo.url}/HEAD",
        "revision": "main@sha1:0",
        "digest": f"sha256:{'0' * 64}",
        "lastUpdateTime": "2026-01-01T00:00:00Z",
    }
    apart.api.merge(f"{path}/status", {"status": {"artifact": artifact}})
    apart.app(ns, "shop", "./app")
    apart.failed(ns, "shop", "ArtifactFailed")
    assert settings(apart, ns) is None
