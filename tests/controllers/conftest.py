"""A client of the real control plane with our kinds installed, and a namespace of the test's own."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from trimtab.base.http import AiohttpTransport
from trimtab.cli import local
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.manifests.refs import Gvk


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.close()


@pytest.fixture
async def client(kubeconfig: Path, transport: AiohttpTransport) -> Client:
    client = Client(config.load(kubeconfig), transport)
    await local.furnish(client, "flux-system")
    return client


@pytest.fixture
async def home(client: Client, namespace: Callable[[], str]) -> str:
    """The name of a fresh namespace."""
    name = namespace()
    await client.create(await client.discovery.find(Gvk("", "v1", "Namespace")), {"metadata": {"name": name}})
    return name
