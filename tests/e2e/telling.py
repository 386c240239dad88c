"""A world with somebody to tell: Alerts, Providers, and a double that takes what they say on loopback."""

import contextlib
import http.client
import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.e2e.world import World, until

API = "/apis/notification.toolkit.fluxcd.io/v1beta3"


class Told:
    """One request that the double got."""

    def __init__(self, path: str, headers: Any, body: bytes) -> None:
        self.path = path
        self.key, self.phase = headers["Idempotency-Key"], headers["Trimtab-Phase"]
        self.secret = headers.get("X-Secret", "")
        self.raw = body.decode()
        self.event = json.loads(body)

    @property
    def name(self) -> str:
        involved = self.event["involvedObject"]
        return f"{involved['kind']}/{involved['name']}"

    def __repr__(self) -> str:
        return f"{self.phase} {self.name} {self.event['reason']}: {self.event['message'][:100]}"


class Sink:
    """A plain HTTP server, the double of a provider: keeps what is told."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(Told(self.path, self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Telling(World):
    """A world with a provider to tell."""

    sink: Sink
    events: int

    def alert(self, namespace: str, name: str = "all", annotations: dict[str, str] | None = None, **spec: Any) -> None:
        """An Alert, and a Provider of the type generic with a Secret."""
        secret = {"metadata": {"name": name}, "stringData": {"headers": "X-Secret: from-the-secret\n"}}
        self.api.create(f"/api/v1/namespaces/{namespace}/secrets", secret)
        provider = {"type": "generic", "address": f"{self.sink.url}/{namespace}/{name}", "secretRef": {"name": name}}
        self.tell(namespace, name, provider, annotations, **spec)

    def tell(
        self,
        namespace: str,
        name: str,
        provider: dict[str, Any],
        annotations: dict[str, str] | None = None,
        **spec: Any,
    ) -> None:
        """An Alert, and the Provider."""
        base = f"{API}/namespaces/{namespace}"
        common = {"apiVersion": "notification.toolkit.fluxcd.io/v1beta3", "metadata": {"name": name}}
        self.api.create(f"{base}/providers", common | {"kind": "Provider", "spec": provider})
        spec = {"providerRef": {"name": name}, "eventSources": [{"kind": "Kustomization", "name": "*"}], **spec}
        metadata = {"name": name, "annotations": annotations or {}}
        self.api.create(f"{base}/alerts", common | {"kind": "Alert", "metadata": metadata, "spec": spec})

    def known(self, namespace: str, *names: str) -> None:
        """Wait until what is posted of that namespace is told of by those Alerts."""
        numbers = itertools.count(1)

        def told() -> bool:
            event = {
                "involvedObject": {"kind": "Kustomization", "namespace": namespace, "name": "probe"},
                "severity": "info",
                "timestamp": "2026-11-26T22:00:00Z",
                "message": f"the probe with number {next(numbers)}",
                "reason": "Probed",
                "reportingController": "kustomize-controller",
            }
            with contextlib.suppress(ConnectionRefusedError):  # the controller has only begun
                self.post(json.dumps(event).encode())
            return all(self.of(namespace, name) for name in names)

        until(told, lambda: f"{names} of {namespace} are known: {self.controller.log[-2000:]}")

    def of(self, namespace: str, name: str = "all") -> list[Told]:
        return [one for one in self.sink.told if one.path == f"/{namespace}/{name}"]

    def heard(self, namespace: str, phase: str, reason: str, name: str = "all", count: int = 1) -> Told:
        def found() -> Told | None:
            matching = [one for one in self.of(namespace, name) if (one.phase, one.event["reason"]) == (phase, reason)]
            return matching[count - 1] if len(matching) >= count else None

        what = f"{phase} {reason} is told"
        told: Told = until(found, lambda: f"{what}: {self.of(namespace, name)}\n{self.controller.log[-2000:]}")
        return told

    def post(self, body: bytes, source: str = "127.0.0.1") -> int:
        """Post an event as another controller does, from the address `source`; the status of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.events, timeout=20, source_address=(source, 0))
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            return connection.getresponse().status
        finally:
            connection.close()
