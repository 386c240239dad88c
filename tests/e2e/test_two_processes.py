"""Sources and apps in processes of their own: the artifacts travel over HTTP, as between Flux's controllers."""

import pytest

from tests.charts.world import chart_files
from tests.e2e import test_artifact_generator as generators
from tests.e2e.test_main_job import config, settings
from tests.e2e.world import Controller, World


@pytest.fixture(scope="module")
def apart(world, api, kubeconfig, git_root, git_url, tmp_path_factory):
    """The session's controller gives way to three."""
    world.controller.stop()
    parts = ("source", "source-watcher", "kustomize")
    all_ = [Controller(kubeconfig, tmp_path_factory.mktemp(part), "--controllers", part) for part in parts]
    for one in all_:
        one.start()
    yield World(api, git_url, git_root, all_[-1])
    assert [one.stop() for one in all_] == [0, 0, 0]
    assert "Traceback" not in "".join(one.log for one in all_)
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


def test_what_a_generator_makes_in_a_process_of_its_own_reaches_the_app(apart, ns):
    repo = generators.monorepo(
        apart, ns, **{f"chart/{path}": text for path, text in chart_files("chart", "1.0.0").items()}
    )
    chart = {"chart": "./chart", "interval": "60m", "sourceRef": {"kind": "GitRepository", "name": "repo"}}
    kind = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmChart", "metadata": {"name": "chart"}}
    charts = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{ns}/helmcharts"
    apart.api.create(charts, {**kind, "spec": chart})
    sources = [
        {"alias": "repo", "kind": "GitRepository", "name": "repo"},
        {"alias": "chart", "kind": "HelmChart", "name": "chart"},
    ]
    steps = [
        generators.rule("@repo/apps/web/**"),
        generators.rule("@chart/chart/Chart.yaml", "@artifact/chart/Chart.txt"),
    ]
    generators.generator(apart, ns, generators.made("web", *steps), sources=sources)
    generators.app(apart, ns, "web")
    apart.ready(ns, "web", "latest@sha256:")
    before = generators.artifact(apart, ns, "web")
    repo.commit({"apps/web/settings.yaml": generators.settings("web", "two")})
    apart.poke(ns)
    apart.ready(ns, "web", generators.artifact_moved(apart, ns, "web", before))
    assert generators.applied(apart, ns, "web") == "two"
    apart.api.delete(f"{charts}/chart")
