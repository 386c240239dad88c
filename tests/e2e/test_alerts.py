"""The shipped alerts, end to end: a real Prometheus scrapes Trimtab, a real Alertmanager delivers what the rules find.

The rules are the shipped ones with a `for` of a second. One controller, Prometheus and Alertmanager serve all tests.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.test_main_job import config, settings
from tests.e2e.watching import Prometheus, Sink, Wire, prometheus
from tests.e2e.world import Api, Controller, World, until

MISSING = [name for name in ("prometheus", "prometheus-alertmanager") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"apt-get install {' '.join(MISSING)}: not installed"),
    pytest.mark.timeout(300),
]

READY = 'trimtab_ready{{kind="Kustomization",namespace="{}",name="shop"}}'


class Watched(NamedTuple):
    """A controller that the tests may kill, the wire to its API server, and those who watch it."""

    world: World
    wire: Wire
    prometheus: Prometheus
    sink: Sink

    def ready(self, namespace: str) -> float | None:
        """What is said of the app: 1, 0, -1, or nothing."""
        found = self.prometheus.ask(READY.format(namespace))
        return found[0][1] if found else None


@pytest.fixture(scope="module")
def watched(
    world: World,
    kubeconfig: Path,
    api: Api,
    git_root: Path,
    git_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watched]:
    world.controller.stop()
    directory = tmp_path_factory.mktemp("watched")
    sink, wire = Sink(), Wire(kubeconfig, directory, api.server)
    controller = Controller(wire.kubeconfig, directory / "trimtab")
    controller.start()
    try:
        target = f"127.0.0.1:{controller.metrics_port}"
        with prometheus(directory / "prometheus", target, sink.url) as asked:
            yield Watched(World(api, git_url, git_root, controller), wire, asked, sink)
    finally:
        controller.kill()
        wire.close()
        sink.close()
        world.controller.start()


@pytest.fixture(scope="module")
def ns(watched: Watched) -> Iterator[str]:
    """A namespace with an app that tells of drift and leaves it, at its second commit."""
    world = watched.world
    name = world.namespace("alerts")
    repo = world.repo(name)
    repo.commit({"app/settings.yaml": config()})
    world.source(name, repo.url)
    world.app(name, "shop", "./app", {"trimtab.dev/drift": "alert"})
    world.ready(name, "shop")
    commit = repo.commit({"app/more.yaml": config().replace("settings", "more")})
    world.poke(name)
    world.ready(name, "shop", commit)
    yield name
    world.let_go(name)


def recolour(watched: Watched, ns: str, value: str) -> None:
    path = f"/api/v1/namespaces/{ns}/configmaps/settings?fieldManager=painter"
    watched.world.api.merge(path, {"data": {"colour": value}})


def test_drift_that_is_left_is_delivered_and_so_is_its_end(watched: Watched, ns: str) -> None:
    until(lambda: watched.ready(ns) == 1, "Prometheus knows of the app")
    recolour(watched, ns, "blue")
    told = watched.sink.hear("TrimtabDriftUnresolved", "firing", namespace=ns)
    assert told["labels"]["name"] == "shop"
    assert told["annotations"]["summary"] == f"Kustomization {ns}/shop has drifted"
    assert told["annotations"]["runbook"] == "docs/alerts.md#trimtabdriftunresolved"
    recolour(watched, ns, "red")
    assert settings(watched.world, ns)["data"]["colour"] == "red"
    watched.sink.hear("TrimtabDriftUnresolved", "resolved", namespace=ns)
    assert watched.prometheus.rule_problems() == []


def test_the_second_commit_of_an_app_has_a_lead_and_each_object_a_last_look(watched: Watched, ns: str) -> None:
    [(_, count)] = until(
        lambda: watched.prometheus.ask('trimtab_commit_lead_seconds_count{kind="Kustomization"} > 0'),
        "the lead of the commit is measured",
    )
    assert count == 1, "the first revision of an app has none"
    labels = f'namespace="{ns}"'
    looked = watched.prometheus.told(f"time() - trimtab_last_observed_timestamp_seconds{{{labels}}}")
    assert {found["kind"] for found, _ in looked} == {"Kustomization", "GitRepository"}
    assert all(0 <= age < 120 for _, age in looked)


def test_without_the_api_server_everything_is_unknown_and_nothing_in_sync(watched: Watched, ns: str) -> None:
    until(lambda: watched.ready(ns) == 1, "all is well")
    since = len(watched.sink.alerts)
    watched.wire.cut()
    watched.sink.hear("TrimtabUnknown", "firing", since, kind="Kustomization")
    until(lambda: watched.ready(ns) == -1, "the app is unknown")
    assert [value for _, value in watched.prometheus.told("max(trimtab_ready)")] == [-1]
    success = f'trimtab_last_success_timestamp_seconds{{namespace="{ns}",name="shop"}}'
    before = watched.prometheus.told(success)  # when it was last well is still known
    until(lambda: "lost the Lease" in watched.world.controller.log, "the Lease is lost")
    [(_, ready)] = watched.prometheus.told(READY.format(ns))
    assert ready == -1, "who holds no Lease knows no more than before"
    assert [value for _, value in watched.prometheus.told(success)] == [value for _, value in before]
    assert watched.sink.heard("TrimtabNotReady", "firing", since, namespace=ns) is None
    watched.wire.join()
    watched.sink.hear("TrimtabUnknown", "resolved", since, kind="Kustomization")
    until(lambda: watched.ready(ns) == 1, "it is known again")


def test_a_process_that_dies_is_told_of_and_so_is_its_return(watched: Watched, ns: str) -> None:
    until(lambda: watched.ready(ns) == 1, "all is well")
    since = len(watched.sink.alerts)
    watched.world.controller.kill()
    told = watched.sink.hear("TrimtabDown", "firing", since)
    assert told["labels"]["severity"] == "critical"
    until(lambda: watched.ready(ns) is None, "nothing is said of the app")
    watched.world.controller.start()
    watched.sink.hear("TrimtabDown", "resolved", since)
