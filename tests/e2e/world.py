"""The world of a black-box test: a real API server, a real git server, and `trimtab run` as a process of its own.

The tests look at the cluster with a client of their own (the standard library), not with the one under test.
"""

import base64
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trimtab.manifests.yaml import load

SOURCES = "/apis/source.toolkit.fluxcd.io/v1"
EXTENSIONS = "/apis/source.extensions.fluxcd.io/v1beta1"
APPS = "/apis/kustomize.toolkit.fluxcd.io/v1"


class ApiFailure(Exception):
    """What the server answered instead of success."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Api:
    """A plain JSON client with the administrator's certificate."""

    def __init__(self, kubeconfig: Path) -> None:
        [document] = load(kubeconfig.read_bytes(), str(kubeconfig))
        cluster = document.value["clusters"][0]["cluster"]
        user = document.value["users"][0]["user"]
        self.cluster = cluster
        self.server = cluster["server"]
        self._tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile("wb") as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]))
            pem.write(b"\n" + base64.b64decode(user["client-key-data"]))
            pem.flush()
            self._tls.load_cert_chain(pem.name)

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        request = urllib.request.Request(
            self.server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": kind},
        )
        try:
            with urllib.request.urlopen(request, context=self._tls, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as failure:
            text = failure.read().decode()
            message = json.loads(text).get("message", text) if text.startswith("{") else text
            raise ApiFailure(failure.code, message) from None

    def get(self, path: str) -> Any:
        """The object, or None. A kind that was defined just now has no storage for a moment."""
        for patience in range(50, -1, -1):
            try:
                return self.call("GET", path)
            except ApiFailure as failure:
                if failure.code == 404:
                    return None
                if failure.code != 429 or not patience:
                    raise
                time.sleep(0.2)
        return None

    def create(self, path: str, body: Any) -> Any:
        return self.call("POST", path, body)

    def merge(self, path: str, patch: Any) -> Any:
        return self.call("PATCH", path, patch, "application/merge-patch+json")

    def delete(self, path: str) -> None:
        try:
            self.call("DELETE", path)
        except ApiFailure as failure:
            if failure.code != 404:
                raise


def until(condition: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
    """Poll until `condition` is true and return its value. A machine with other work may take twice the time.

    Nothing is given up in less than a minute: a shared machine can stand still for a while.
    """
    timeout = max(2 * timeout, 60.0)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"after {timeout:g} s: {what() if callable(what) else what}")


class Repo:
    """A bare repository that is served, and a work tree that pushes to it."""

    def __init__(self, root: Path, name: str, url: str) -> None:
        self.bare = root / f"{name}.git"
        self.url = f"{url}/{name}.git"
        self.work = root / f"{name}-work"
        self._git("init", "-q", "--bare", "-b", "main", str(self.bare), cwd=root)
        self._git("-C", str(self.bare), "config", "http.receivepack", "true", cwd=root)
        self._git("init", "-q", "-b", "main", str(self.work), cwd=root)

    def _git(self, *arguments: str, cwd: Path | None = None) -> str:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.bare.parent),
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.org",
        }
        done = subprocess.run(["git", *arguments], cwd=cwd or self.work, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, files: Mapping[str, str | bytes | None], message: str = "change") -> str:
        """Write, remove (None), commit and push; the commit's id."""
        for name, content in files.items():
            path = self.work / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self.push(message)

    def push(self, message: str = "change") -> str:
        self._git("add", "-A")
        self._git("commit", "-q", "--allow-empty", "-m", message)
        self._git("push", "-q", "--force", str(self.bare), "HEAD:main")
        return self._git("rev-parse", "HEAD")

    def revert(self) -> str:
        self._git("revert", "--no-edit", "HEAD")
        self._git("push", "-q", str(self.bare), "HEAD:main")
        return self._git("rev-parse", "HEAD")


class Controller:
    """`trimtab run` as a child process."""

    def __init__(self, kubeconfig: Path, directory: Path, *extra: str) -> None:
        self.kubeconfig, self.directory, self.extra = kubeconfig, directory, extra
        self.storage_port, self.metrics_port = free_port(), free_port()
        self.environment: Mapping[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        log = (self.directory / "trimtab.log").open("ab")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "trimtab", "run", "--kubeconfig", str(self.kubeconfig)),
                *("--storage-path", str(self.directory / "data"), "--storage-addr", f"127.0.0.1:{self.storage_port}"),
                *("--metrics-addr", f"127.0.0.1:{self.metrics_port}", *self.extra),
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, **self.environment},
        )
        until(self._answers, lambda: f"it does not start: {self.log[-2000:]}")

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/healthz", timeout=30).close()
        except OSError:
            return False
        return True

    def stop(self) -> int:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait(60)

    @property
    def log(self) -> str:
        return (self.directory / "trimtab.log").read_text()


def _own_ports() -> Iterator[int]:
    """Ports below those that the kernel gives to connections, of which each worker of a run has its own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = range(10_000 + worker, 32_768, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    first = random.randrange(len(own))
    return itertools.cycle([*own[first:], *own[:first]])


_PORTS = _own_ports()


def free_port() -> int:
    """A port that nobody has until somebody means to listen there, and that nobody else is told of meanwhile."""
    while True:
        port = next(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


_NUMBERS = itertools.count(1)
"""Of namespaces: several worlds share a cluster."""


class World:
    """Everything a test needs, with one namespace per test."""

    def __init__(self, api: Api, git_url: str, git_root: Path, controller: Controller) -> None:
        self.api = api
        self.controller = controller
        self._git_url, self._git_root = git_url, git_root

    def namespace(self, stem: str) -> str:
        name = f"{stem[:30].strip('-')}-{next(_NUMBERS)}"
        self.api.create("/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def let_go(self, namespace: str) -> None:
        """Delete the apps and sources of a namespace; what they applied stays."""
        for apps in (
            f"{APPS}/namespaces/{namespace}/kustomizations",
            f"{SOURCES}/namespaces/{namespace}/gitrepositories",
            f"{SOURCES}/namespaces/{namespace}/ocirepositories",
            f"{SOURCES}/namespaces/{namespace}/buckets",
            f"/apis/helm.toolkit.fluxcd.io/v2/namespaces/{namespace}/helmreleases",
            f"{SOURCES}/namespaces/{namespace}/helmcharts",
            f"{SOURCES}/namespaces/{namespace}/helmrepositories",
            f"{EXTENSIONS}/namespaces/{namespace}/artifactgenerators",
            f"{SOURCES}/namespaces/{namespace}/externalartifacts",
        ):
            for item in (self.api.get(apps) or {"items": []})["items"]:
                path = f"{apps}/{item['metadata']['name']}"
                with contextlib.suppress(ApiFailure):
                    self.api.merge(path, {"spec": {"suspend": True}})
                    self.api.delete(path)

    def suspend(self, namespace: str, name: str = "shop") -> None:
        """Suspend an app, and wait until the controller knows: what is done then is done to a suspended one."""
        self.api.merge(f"{APPS}/namespaces/{namespace}/kustomizations/{name}", {"spec": {"suspend": True}})
        said = f'trimtab_suspended{{kind="Kustomization",name="{name}",namespace="{namespace}"}} 1.0'
        address = f"http://127.0.0.1:{self.controller.metrics_port}/metrics"

        def known() -> bool:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return said in answer.read().decode()

        until(known, lambda: f"{namespace}/{name} is suspended: {self.controller.log[-2000:]}")

    def repo(self, name: str) -> Repo:
        return Repo(self._git_root, name, self._git_url)

    def source(
        self, namespace: str, url: str, name: str = "repo", labels: Mapping[str, str] | None = None, **spec: Any
    ) -> None:
        spec = {"url": url, "interval": "60m", "ref": {"branch": "main"}, **spec}
        self.api.create(
            f"{SOURCES}/namespaces/{namespace}/gitrepositories",
            {
                "apiVersion": "source.toolkit.fluxcd.io/v1",
                "kind": "GitRepository",
                "metadata": {"name": name, "namespace": namespace, "labels": dict(labels or {})},
                "spec": spec,
            },
        )

    def app(
        self,
        namespace: str,
        name: str,
        path: str = "",
        annotations: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> None:
        spec = {
            "interval": "60m",
            "retryInterval": "2s",
            "timeout": "60s",
            "prune": True,
            "path": path,
            "targetNamespace": namespace,
            "sourceRef": {"kind": "GitRepository", "name": "repo"},
            **spec,
        }
        self.api.create(
            f"{APPS}/namespaces/{namespace}/kustomizations",
            {
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
                "kind": "Kustomization",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "annotations": dict(annotations or {}),
                    "labels": dict(labels or {}),
                },
                "spec": {key: value for key, value in spec.items() if value is not None},
            },
        )

    def get_app(self, namespace: str, name: str) -> Any:
        return self.api.get(f"{APPS}/namespaces/{namespace}/kustomizations/{name}")

    def get_source(self, namespace: str, name: str = "repo") -> Any:
        return self.api.get(f"{SOURCES}/namespaces/{namespace}/gitrepositories/{name}")

    def poke(self, namespace: str, name: str = "repo") -> str:
        """Ask for a look at a source now."""
        return self._request(f"{SOURCES}/namespaces/{namespace}/gitrepositories/{name}")

    def poke_app(self, namespace: str, name: str) -> str:
        return self._request(f"{APPS}/namespaces/{namespace}/kustomizations/{name}")

    def _request(self, path: str) -> str:
        moment = str(time.time_ns())
        self.api.merge(path, {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": moment}}})
        return moment

    def ready(self, namespace: str, name: str, commit: str = "", timeout: float = 60.0) -> Any:
        """Wait until the app is Ready (at `commit`) and return it."""

        def reached() -> Any:
            app = self.get_app(namespace, name)
            ready = condition(app, "Ready")
            at = commit in (app["status"].get("lastAppliedRevision") or "")
            current = app["status"].get("observedGeneration") == app["metadata"]["generation"]
            return app if ready.get("status") == "True" and at and current else None

        return until(reached, lambda: f"{name} is not ready: {self._why(namespace, name)}", timeout)

    def failed(self, namespace: str, name: str, reason: str = "", words: str = "", timeout: float = 30.0) -> str:
        """Wait until Ready is False (with `reason` and `words` in its message) and return the message."""

        def reached() -> str | None:
            ready = condition(self.get_app(namespace, name), "Ready")
            wanted = ready.get("status") == "False" and reason in ready["reason"] and words in ready["message"]
            return ready["message"] if wanted else None

        message: str = until(reached, lambda: f"{name} did not fail so: {self._why(namespace, name)}", timeout)
        return message

    def _why(self, namespace: str, name: str) -> str:
        app, source = self.get_app(namespace, name), self.get_source(namespace)
        return json.dumps({"app": app and app.get("status"), "source": source and source.get("status")}, indent=1)


def condition(item: Any, kind: str) -> dict[str, Any]:
    """The condition of that type, or nothing."""
    conditions = ((item or {}).get("status") or {}).get("conditions") or []
    return next((found for found in conditions if found["type"] == kind), {})
