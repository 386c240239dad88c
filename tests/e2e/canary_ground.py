"""The ground that canaries are planted in: a world whose controller takes webhooks, and a server that leads astray."""

import base64
import contextlib
import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.e2e.canaries import Needles
from tests.e2e.releases import RELEASES
from tests.e2e.test_receivers import Hooked
from tests.e2e.world import APPS, SOURCES, Api, Controller, condition, until
from tests.sops.conftest import FIXTURES

CANARY = FIXTURES / "canary"
PLAIN = "songbird-in-plain-git"
"""What everybody reads in git or in an index is in the artifacts too; it is told nowhere all the same."""


class Ground(Hooked):
    """Where the canaries are planted."""

    def __init__(self, api: Api, git_url: str, git_root: Path, controller: Controller, directory: Path) -> None:
        super().__init__(api, git_url, git_root, controller)
        self.git_root, self.directory = git_root, directory
        self.namespaces: list[str] = []
        self.needles = Needles({"the value of a variable in capitals": "CANARY-IN-"})
        self.closing = contextlib.ExitStack()
        self.paths: list[str] = []
        """Of webhooks: who knows one may call it."""

    def namespace(self, stem: str) -> str:
        name = super().namespace(stem)
        self.namespaces.append(name)
        return name

    def secret(self, ns: str, name: str, data: Mapping[str, str | bytes], **metadata: Any) -> dict[str, str]:
        """Put a Secret there, and the reference to it."""
        encoded = {key: base64.b64encode(v.encode() if isinstance(v, str) else v).decode() for key, v in data.items()}
        body = {"metadata": {"name": name, **metadata}, "data": encoded}
        self.api.create(f"/api/v1/namespaces/{ns}/secrets", body)
        return {"name": name}

    def make(self, ns: str, kind: str, name: str, **spec: Any) -> None:
        """Create an object of the sources."""
        plural = {"OCIRepository": "ocirepositories", "HelmRepository": "helmrepositories"}.get(
            kind, f"{kind.lower()}s"
        )
        body = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": kind, "metadata": {"name": name, "namespace": ns}}
        spec = {"interval": "60m", **spec}
        self.api.create(f"{SOURCES}/namespaces/{ns}/{plural}", {**body, "spec": spec})

    def comes(self, ns: str, plural: str, name: str, status: str, words: str = "", reason: str = "") -> None:
        """Wait until a source, or another object of ours, is Ready or is not, and says so."""
        group = {"kustomizations": APPS, "helmreleases": RELEASES}.get(plural, SOURCES)

        def there() -> bool:
            found = condition(self.api.get(f"{group}/namespaces/{ns}/{plural}/{name}"), "Ready")
            said = found.get("status") == status and words in found["message"] and reason in found["reason"]
            return bool(said)

        until(there, lambda: f"{plural}/{name}: {self.api.get(f'{group}/namespaces/{ns}/{plural}/{name}')}", 90)

    def data(self, ns: str, plural: str, name: str) -> Any:
        found = self.api.get(f"/api/v1/namespaces/{ns}/{plural}/{name}")
        return found and found.get("data")

    def event(self, ns: str, words: str) -> None:
        """Wait for an Event with `words`."""
        until(lambda: words in json.dumps(self.api.get(f"/api/v1/namespaces/{ns}/events")), f"no event has {words}", 60)


class Answers:
    """A server that says what it was told to say to each path, and 401 to all others, with who asked in its words."""

    def __init__(self) -> None:
        self.by_path: dict[str, tuple[int, dict[str, str], bytes]] = {}
        answers = self.by_path

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shown = f"not for {self.headers.get('Authorization', 'nobody')}: {self.path}".encode()
                challenge = {"WWW-Authenticate": 'Basic realm="here"'}
                status, headers, body = answers.get(self.path.partition("?")[0], (401, challenge, shown))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def sealed(name: str) -> str:
    return (CANARY / name).read_text()


def config_map(name: str, **data: str) -> str:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    return json.dumps(body)


def kubeconfig_of_account(api: Api, ns: str, name: str) -> tuple[bytes, str]:
    """A kubeconfig with the token of an account that may do everything; the token, too."""
    accounts = f"/api/v1/namespaces/{ns}/serviceaccounts"
    api.create(accounts, {"metadata": {"name": name}})
    binding = {
        "metadata": {"name": f"{ns}-{name}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": ns}],
    }
    api.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
    token: str = api.create(f"{accounts}/{name}/token", asked)["status"]["token"]
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": api.cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    return json.dumps(body).encode(), token
