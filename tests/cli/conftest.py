"""A control plane that serves our kinds, and the command as a user calls it."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import Done, called
from tests.e2e.world import until
from trimtab.base.http import AiohttpTransport
from trimtab.cli import local
from trimtab.cluster.plane import ControlPlane
from trimtab.kube import config
from trimtab.kube.client import Client

Command = Callable[..., Done]


def command_line(kubeconfig: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """The command and its environment: nothing of the user's own kubeconfig gets in."""
    env = {**os.environ, "KUBECONFIG": str(kubeconfig), "NO_COLOR": ""}
    return [sys.executable, "-m", "trimtab.cli.main", *arguments], env


def as_user_of(kubeconfig: Path, *arguments: object) -> Done:
    """What the command says to whoever has this kubeconfig, and nothing of the user's own."""
    return called(*arguments, env={"KUBECONFIG": str(kubeconfig), "NO_COLOR": ""})


def allowed(kubectl: Callable[..., str], user: str, *question: str) -> None:
    """Wait until the server knows that a user may: `allowed(kubectl, "jane", "get", "pods", "-n", "shop")`."""

    def may() -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):  # that is how `no` ends
            return kubectl("auth", "can-i", *question, "--as", user).strip() == "yes"
        return False

    until(may, f"{user} may {question}")


@pytest.fixture(scope="session")
def served(plane: ControlPlane) -> ControlPlane:
    """The session's control plane with our kinds installed."""

    async def furnish() -> None:
        transport = AiohttpTransport()
        await local.furnish(Client(config.load(plane.kubeconfig), transport), "flux-system")
        await transport.close()

    asyncio.run(furnish())
    return plane


@pytest.fixture
def trimtab(served: ControlPlane) -> Command:
    """`trimtab("get", "ks")`: what the command says to the cluster's administrator."""

    def run(*arguments: str, kubeconfig: Path | None = None) -> Done:
        return as_user_of(kubeconfig or served.kubeconfig, *arguments)

    return run


@pytest.fixture
def cluster(served: ControlPlane, kubectl: Callable[..., str], namespace: Callable[[], str]) -> "Cluster":
    """A namespace of its own to put our objects into."""
    return Cluster(kubectl, namespace())


class Cluster:
    """Objects of ours, written as a controller would leave them."""

    def __init__(self, kubectl: Callable[..., str], namespace: str) -> None:
        self.kubectl = kubectl
        self.namespace = namespace
        kubectl("create", "namespace", namespace)

    def source(self, name: str) -> None:
        spec = {"url": "https://git.example.org/shop", "interval": "1h"}
        self._create("source.toolkit.fluxcd.io/v1", "GitRepository", name, spec)

    def app(self, name: str, **spec: Any) -> None:
        ref = {"kind": "GitRepository", "name": "shop"}
        spec = {"path": f"./{name}", "interval": "1h", "prune": True, "sourceRef": ref, **spec}
        self._create("kustomize.toolkit.fluxcd.io/v1", "Kustomization", name, spec)

    def status(self, kind: str, name: str, **status: Any) -> None:
        """Write part of an object's status."""
        patch = json.dumps({"status": status})
        self.kubectl("-n", self.namespace, "patch", kind, name, "--subresource=status", "--type=merge", f"-p={patch}")

    def ready(self, kind: str, name: str, status: str = "True", message: str = "", **more: Any) -> None:
        """Set the condition Ready, for the generation there is now."""
        generation = self.get(kind, name)["metadata"]["generation"]
        condition = {
            "type": "Ready",
            "status": status,
            "reason": "Succeeded" if status == "True" else "BuildFailed",
            "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        self.status(kind, name, conditions=[condition], observedGeneration=generation, **more)

    def get(self, kind: str, name: str) -> Any:
        return json.loads(self.kubectl("-n", self.namespace, "get", kind, name, "-o", "json"))

    def _create(self, api_version: str, kind: str, name: str, spec: dict[str, Any]) -> None:
        metadata = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
        self.kubectl("create", "-f", "-", stdin=json.dumps(body))
