"""Quiet at rest, as the API server's own audit log has it."""

import json
import time

import pytest

from tests.e2e.test_main_job import config, deployment
from tests.e2e.world import Controller, World, until

INTERVALS = 20


@pytest.fixture
def counted(world, api, plane, git_root, git_url, tmp_path):
    """A controller under a name of its own, so that its requests can be told from all others."""
    world.controller.stop()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(plane.kubeconfig_for("trimtab-counted", ["system:masters"]))
    controller = Controller(kubeconfig, tmp_path / "run")
    controller.start()
    yield World(api, git_url, git_root, controller)
    assert controller.stop() == 0
    world.controller.start()


def requests(plane, since):
    """Complete requests of the counted controller since then: verb and address."""
    lines = plane.audit_log.read_text().splitlines(keepends=True)
    events = [json.loads(line) for line in lines if "trimtab-counted" in line and line.endswith("\n")]
    return [
        (event["verb"], event["requestURI"])
        for event in events
        if event["user"]["username"] == "trimtab-counted"
        and event["stage"] == "ResponseComplete"
        and event["requestReceivedTimestamp"] > since
    ]


def looks_and_writes(seen, ns):
    return [(verb, uri) for verb, uri in seen if f"/namespaces/{ns}/" in uri and verb != "watch"]


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def quiet(plane, ns):
    """Whether nothing is asked for three seconds."""
    since = now()
    time.sleep(3)
    return not looks_and_writes(requests(plane, since), ns)


def test_twenty_intervals_without_change_cost_no_request_and_no_write_but_the_leases(counted, ns, plane):
    repo = counted.repo(ns)
    repo.commit({"app/web.yaml": deployment()} | {f"app/c{i}.yaml": config(f"c{i}") for i in range(10)})
    counted.source(ns, repo.url)
    counted.app(ns, "shop", "./app", wait=True, interval="1s")
    counted.ready(ns, "shop")
    until(lambda: counted.get_app(ns, "shop")["status"].get("history"), "the status is written")
    until(lambda: quiet(plane, ns), "events and what else follows are written")
    began, since = time.monotonic(), now()
    time.sleep(INTERVALS * 1.0 + 1)
    seen = requests(plane, since)
    passed = time.monotonic() - began
    renewals = [(verb, uri) for verb, uri in seen if "/leases/" in uri]
    assert renewals, "the log does not show this controller"
    assert looks_and_writes(seen, ns) == []
    assert len(renewals) <= 4 * (passed / 5 + 2), "one for each controller, every five seconds"
