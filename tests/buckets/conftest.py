"""A server of buckets, and a source whose requests are counted."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.buckets.store import Moto
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport, Request, Response
from trimtab.remotes.outbound import Outbound
from trimtab.sources.bucket import BucketSource


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    server = Moto()
    yield server
    server.stop()


class Counting:
    """The real transport, and what was sent over it."""

    def __init__(self) -> None:
        self._inner = AiohttpTransport()
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        return await self._inner.send(request)

    async def close(self) -> None:
        await self._inner.close()

    def keys(self) -> list[str]:
        """What was fetched, by the end of its address; a list is the empty string."""
        return ["" if "list-type" in one.url.query else one.url.path.split("/", 2)[2] for one in self.sent]


@pytest.fixture
async def transport() -> AsyncIterator[Counting]:
    transport = Counting()
    yield transport
    await transport.close()


@pytest.fixture
def source(tmp_path: Path, transport: Counting) -> BucketSource:
    return BucketSource(Store(tmp_path / "store"), Outbound(transport, SystemClock()), SystemClock())
