"""A repository of charts on loopback, and a source that reads it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.charts.world import ChartServer
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.remotes.outbound import Outbound
from trimtab.sources.helm import HelmSource


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChartServer]:
    server = ChartServer(tmp_path / "served")
    server.start()
    yield server
    server.close()


@pytest.fixture
def private(tmp_path: Path) -> Iterator[ChartServer]:
    server = ChartServer(tmp_path / "private", password="right")
    server.start()
    yield server
    server.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
async def source(store: Store) -> AsyncIterator[HelmSource]:
    transport = AiohttpTransport()
    yield HelmSource(store, Outbound(transport, SystemClock()))
    await transport.close()
