"""An admission webhook as a small https server: it sees what is asked, may take its time, and lets everything pass."""

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.e2e.world import Api, free_port
from tests.remotes.world import Authority

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


@contextmanager
def asked_before(
    api: Api, directory: Path, namespace: str, operation: str, resource: str, see: Callable[[Any], object]
) -> Iterator[None]:
    """Call `see` with every admission request for `operation` on `resource` in `namespace`; False denies it."""
    authority = Authority.create(directory)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            allowed = see(review["request"]) is not False
            review["response"] = {"uid": review.pop("request")["uid"], "allowed": allowed}
            body = json.dumps(review).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # who asked may be gone
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    port = free_port()
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.socket = authority.context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    group, _, plural = resource.rpartition("/")
    rule = {"operations": [operation], "apiGroups": [group], "apiVersions": ["*"], "resources": [plural]}
    hook = {
        "name": "see.example.org",
        "clientConfig": {"url": f"https://127.0.0.1:{port}/", "caBundle": base64.b64encode(authority.ca).decode()},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 30,
    }
    name = f"see-{namespace}"
    try:
        api.create(CONFIGURATIONS, {"metadata": {"name": name}, "webhooks": [hook]})
        yield
    finally:
        api.delete(f"{CONFIGURATIONS}/{name}")
        server.shutdown()
        server.server_close()
