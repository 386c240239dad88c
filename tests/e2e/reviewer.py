"""An admission webhook of a test: a real HTTPS server that the API server asks."""

import base64
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.e2e.world import ApiFailure, World, until
from trimtab.cluster.layout import Layout
from trimtab.cluster.pki import authority

Decide = Callable[[dict[str, Any]], dict[str, Any]]


def allow(_request: dict[str, Any]) -> dict[str, Any]:
    return {"allowed": True}


def deny(words: str) -> Decide:
    return lambda _request: {"allowed": False, "status": {"message": words}}


def patch(operations: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Decide:
    """Rewrite what is admitted; `operations` makes a JSON patch of the object."""

    def decide(request: dict[str, Any]) -> dict[str, Any]:
        encoded = base64.b64encode(json.dumps(operations(request["object"])).encode()).decode()
        return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}

    return decide


class Webhook:
    """Decides about ConfigMaps of one namespace, those that are asked of it."""

    def __init__(self, world: World, namespace: str, directory: Path) -> None:
        self.decide: Decide = allow
        self.asked = 0
        self._world, self._namespace = world, namespace
        (directory / "pki").mkdir()
        issuer = authority(Layout(directory))
        self._ca = base64.b64encode(issuer.pem).decode()
        pair = issuer.server("webhook", ["127.0.0.1"])
        self._pem = directory / "webhook.pem"
        self._pem.write_bytes(pair.certificate + pair.key)
        self._port = 0
        self._configured: list[str] = []

    @contextmanager
    def served(self) -> Iterator["Webhook"]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
                answer = hook.answer(request)
                review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
                body = json.dumps(review).encode()
                with contextlib.suppress(OSError):  # whoever asked may have given up
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._pem)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.daemon_threads = True
        self._port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            for path in self._configured:
                self._world.api.delete(path)
            server.shutdown()
            server.server_close()
            thread.join(10)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        probe = request.get("name") == "probe"
        return {"uid": request["uid"], **(allow(request) if probe else self.decide(request))}

    def configure(
        self,
        kind: str,
        *,
        policy: str = "Fail",
        operations: tuple[str, ...] = ("CREATE", "UPDATE"),
        timeout_s: int = 30,
    ) -> None:
        """Register as a `Validating` or `Mutating` webhook, and wait until the server asks."""
        path = f"/apis/admissionregistration.k8s.io/v1/{kind.lower()}webhookconfigurations"
        webhook = {
            "name": f"{kind.lower()}.example.org",
            "clientConfig": {"url": f"https://127.0.0.1:{self._port}/", "caBundle": self._ca},
            "rules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": list(operations),
                    "resources": ["configmaps"],
                    "scope": "Namespaced",
                }
            ],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self._namespace}},
            "matchConditions": [{"name": "tested", "expression": "request.name != 'kube-root-ca.crt'"}],
            "failurePolicy": policy,
            "sideEffects": "None",
            "timeoutSeconds": timeout_s,
            "admissionReviewVersions": ["v1"],
        }
        self._world.api.create(path, {"metadata": {"name": self._namespace}, "webhooks": [webhook]})
        self._configured.append(f"{path}/{self._namespace}")
        before = self.asked
        until(lambda: self._probe() and self.asked > before, "the API server asks the webhook")

    def _probe(self) -> bool:
        path = f"/api/v1/namespaces/{self._namespace}/configmaps"
        with contextlib.suppress(ApiFailure):
            self._world.api.create(f"{path}?dryRun=All", {"metadata": {"name": "probe"}})
        return True
