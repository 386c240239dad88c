"""Clients of the real control plane."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.kube.faults import Faults
from trimtab.base.tasks import Tasks
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body, Gvk

CONFIG_MAPS = Resource(Gvk("", "v1", "ConfigMap"), "configmaps", True)
NAMESPACES = Resource(Gvk("", "v1", "Namespace"), "namespaces", False)


@pytest.fixture
async def faults() -> AsyncIterator[Faults]:
    faults = Faults()
    yield faults
    faults.faults.clear()
    await faults.real.close()


@pytest.fixture
async def client(kubeconfig: Path, faults: Faults) -> Client:
    return Client(config.load(kubeconfig), faults, seed=1)


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks("test")
    yield tasks
    await tasks.close()


@pytest.fixture
async def home(client: Client, namespace) -> str:
    """A namespace of the test's own."""
    name = namespace()
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Body:
    metadata: dict[str, Any] = {"name": name} | ({"labels": labels} if labels else {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
