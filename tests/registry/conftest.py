"""A registry for everybody, one for `reader` only, and a source that reads them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.registry.server import RegistryServer
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.remotes.outbound import Outbound
from trimtab.sources.oci import OciSource


@pytest.fixture(scope="session")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    yield from _served(RegistryServer(tmp_path_factory.mktemp("public")))


@pytest.fixture(scope="session")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    yield from _served(RegistryServer(tmp_path_factory.mktemp("private"), private=True))


def _served(server: RegistryServer) -> Iterator[RegistryServer]:
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[OciSource]:
    transport = AiohttpTransport()
    yield OciSource(Store(tmp_path / "store"), Outbound(transport, SystemClock()), SystemClock())
    await transport.close()
