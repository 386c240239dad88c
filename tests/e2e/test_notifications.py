"""Alerts from outside: what a provider is told of an app that fails, recovers and drifts, also after a lost journal.

The provider is a double, a plain HTTP server of this test; everything else is real.
"""

import http.client
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.e2e.test_main_job import config, deployment
from tests.e2e.world import Api, Controller, World, free_port, until

API = "/apis/notification.toolkit.fluxcd.io/v1beta3"


class Told:
    """One request that the double got."""

    def __init__(self, path: str, headers: Any, body: bytes) -> None:
        self.path = path
        self.key, self.phase = headers["Idempotency-Key"], headers["Trimtab-Phase"]
        self.secret = headers.get("X-Secret", "")
        self.event = json.loads(body)

    @property
    def name(self) -> str:
        involved = self.event["involvedObject"]
        return f"{involved['kind']}/{involved['name']}"

    def __repr__(self) -> str:
        return f"{self.phase} {self.name} {self.event['reason']}: {self.event['message'][:100]}"


class Telling(World):
    """A world with a provider to tell."""

    told: list[Told]
    sink: str
    events: int

    def alert(self, namespace: str, name: str = "all", **spec: Any) -> None:
        base = f"{API}/namespaces/{namespace}"
        secret = {"metadata": {"name": name}, "stringData": {"headers": "X-Secret: from-the-secret\n"}}
        self.api.create(f"/api/v1/namespaces/{namespace}/secrets", secret)
        common = {"apiVersion": "notification.toolkit.fluxcd.io/v1beta3", "metadata": {"name": name}}
        provider = {"type": "generic", "address": f"{self.sink}/{namespace}/{name}", "secretRef": {"name": name}}
        self.api.create(f"{base}/providers", common | {"kind": "Provider", "spec": provider})
        spec = {"providerRef": {"name": name}, "eventSources": [{"kind": "Kustomization", "name": "*"}], **spec}
        self.api.create(f"{base}/alerts", common | {"kind": "Alert", "spec": spec})

    def of(self, namespace: str, name: str = "all") -> list[Told]:
        return [one for one in self.told if one.path == f"/{namespace}/{name}"]

    def heard(self, namespace: str, phase: str, reason: str, name: str = "all", count: int = 1) -> Told:
        def found() -> Told | None:
            matching = [one for one in self.of(namespace, name) if (one.phase, one.event["reason"]) == (phase, reason)]
            return matching[count - 1] if len(matching) >= count else None

        what = f"{phase} {reason} is told"
        told: Told = until(found, lambda: f"{what}: {self.of(namespace, name)}\n{self.controller.log[-2000:]}", 20)
        return told

    def post(self, body: bytes) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.events, timeout=20)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def telling(world: World, api: Api, kubeconfig, git_root, git_url, tmp_path_factory) -> Iterator[Telling]:
    """The session's controller gives way to one that tells."""
    world.controller.stop()
    told: list[Told] = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(Told(self.path, self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    events = free_port()
    controller = Controller(
        kubeconfig,
        tmp_path_factory.mktemp("telling"),
        "--controllers=source,kustomize,notification",
        f"--receiver-addr=127.0.0.1:{free_port()}",
        f"--events-listen-addr=127.0.0.1:{events}",
        "--cluster-name=here",
    )
    controller.start()
    found = Telling(api, git_url, git_root, controller)
    found.told, found.sink, found.events = told, f"http://127.0.0.1:{server.server_port}", events
    yield found
    server.shutdown()
    server.server_close()
    assert controller.stop() == 0
    assert "Traceback" not in controller.log, controller.log[-4000:]
    assert "from-the-secret" not in controller.log
    world.controller.start()


def test_a_revision_is_told_once_a_failure_has_an_end_and_drift_says_who_did_what(telling: Telling, ns: str) -> None:
    repo = telling.repo(ns)
    first = repo.commit({"app/web.yaml": deployment(), "app/settings.yaml": config()})
    telling.alert(ns, eventMetadata={"team": "shop"}, summary="the shop")
    telling.alert(ns, "errors", eventSeverity="error")
    telling.source(ns, repo.url)
    telling.app(ns, "shop", "./app", annotations={"trimtab.dev/drift": "alert"}, wait=True)
    success = telling.heard(ns, "once", "ReconciliationSucceeded")
    assert first in success.event["metadata"]["revision"]
    assert success.event["metadata"]["team"] == "shop"
    assert success.event["metadata"]["summary"] == "the shop"
    assert success.secret == "from-the-secret"
    telling.poke_app(ns, "shop")

    second = repo.commit({"app/settings.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'Not A Name'}\n"})
    telling.poke(ns)
    failure = telling.heard(ns, "opened", "ValidationFailed")
    assert failure.event["severity"] == "error"
    assert telling.heard(ns, "opened", "ValidationFailed", "errors").event["message"] == failure.event["message"]
    assert second not in first
    third = repo.commit({"app/settings.yaml": config(colour="red")})
    telling.poke(ns)
    recovery = telling.heard(ns, "closed", "ReconciliationSucceeded")
    assert third in recovery.event["metadata"]["revision"]
    # Who heard of the failure hears of its end, also where only errors were asked for.
    telling.heard(ns, "closed", "ReconciliationSucceeded", "errors")

    telling.api.merge(f"/apis/apps/v1/namespaces/{ns}/deployments/web", {"spec": {"replicas": 5}})
    drift = telling.heard(ns, "opened", "DriftDetected")
    assert "replicas" in drift.event["message"]
    assert "5" in drift.event["message"]
    assert drift.event["metadata"]["drift-manager"]
    telling.api.merge(f"/apis/apps/v1/namespaces/{ns}/deployments/web", {"spec": {"replicas": 2}})
    telling.heard(ns, "closed", "NoDriftDetected")

    told = telling.of(ns)
    successes = [one for one in told if one.event["reason"] == "ReconciliationSucceeded"]
    assert len(successes) == 2, told
    assert len({one.key for one in told}) == len(told)


def test_events_of_flux_s_controllers_are_kept_before_they_are_answered(telling: Telling, ns: str) -> None:
    telling.alert(ns)
    other = telling.namespace("other")
    telling.alert(other, eventSources=[{"kind": "Kustomization", "name": "*", "namespace": ns}])
    event = {
        "involvedObject": {
            "kind": "Kustomization",
            "namespace": ns,
            "name": "foreign",
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        },
        "severity": "info",
        "timestamp": "2026-11-26T22:00:00Z",
        "message": "\x1b[31mred\x1b[0m <!channel>",
        "reason": "Progressing",
        "metadata": {"kustomize.toolkit.fluxcd.io/revision": "main@sha1:1", "foreign.example/secret": "no"},
        "reportingController": "kustomize-controller",
        "of a later version": {"deep": [1]},
    }
    body = json.dumps(event).encode()
    until(lambda: telling.api.get(f"{API}/namespaces/{ns}/alerts/all"), "the Alert is there")
    assert telling.post(body) == 202
    assert telling.post(body) == 429
    told = telling.heard(ns, "once", "Progressing")
    assert told.event["message"] == "red <!channel>"
    assert told.event["metadata"] == {"revision": "main@sha1:1"}
    assert telling.post(b"{") == 400
    assert telling.post(b"[" * 100_000) == 400
    assert telling.post(b" " * ((3 << 20) + 1)) == 413
    assert telling.of(other) == [], "what another tenant's objects say is not told"


def test_after_a_lost_journal_ends_are_told_and_nothing_is_told_twice(telling: Telling, ns: str) -> None:
    repo = telling.repo(ns)
    broken = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'Not A Name'}\n"
    repo.commit({"good/settings.yaml": config(), "bad/other.yaml": broken})
    telling.alert(ns)
    telling.source(ns, repo.url)
    telling.app(ns, "good", "./good")
    telling.app(ns, "bad", "./bad")
    telling.heard(ns, "once", "ReconciliationSucceeded")
    telling.heard(ns, "opened", "ValidationFailed")

    def recorded() -> bool:
        found = telling.api.get("/api/v1/namespaces/flux-system/configmaps/trimtab-notified")
        text = ((found or {}).get("data") or {}).get("stories", "")
        return f"Kustomization/{ns}/good" in text and f"Kustomization/{ns}/bad" in text

    until(recorded, "what was told is kept", 40)
    assert telling.controller.stop() == 0
    shutil.rmtree(telling.controller.directory / "data" / "notify")
    before = len(telling.of(ns))
    repo.commit({"bad/other.yaml": config(name="other")})
    telling.controller.start()
    telling.poke(ns)
    closed = telling.heard(ns, "closed", "ReconciliationSucceeded")
    assert closed.name == "Kustomization/bad"
    after = [one for one in telling.of(ns)[before:] if one.event["reason"] != "Progressing"]
    assert [one.name for one in after] == ["Kustomization/bad"], after
