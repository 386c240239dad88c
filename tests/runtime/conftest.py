import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport, Request, Response, TransportError
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Gvk

from .clocks import ManualClock

NAMESPACES = Resource(Gvk("", "v1", "Namespace"), "namespaces", False)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Wire:
    """The real transport, with a hand on it.

    `cut` drops requests, `lose_answers` lets so many of them happen unheard, a cleared `open` holds them up. `after` is
    told of each answer before it is handed on.
    """

    def __init__(self) -> None:
        self.real = AiohttpTransport()
        self.requests: list[Request] = []
        self.cut = False
        self.lose_answers = 0
        self.open = asyncio.Event()
        self.open.set()
        self.after: Callable[[Request], Awaitable[None]] | None = None

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        if self.cut:
            raise TransportError("the wire is cut")
        await self.open.wait()
        response = await self.real.send(request)
        if self.lose_answers:
            self.lose_answers -= 1
            await response.read()
            raise TransportError("the answer got lost")
        if self.after is not None:
            await self.after(request)
        return response

    def writes(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.requests if request.method != "GET"]


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    yield wire
    await wire.real.close()


@pytest.fixture
def client(kubeconfig: Path, wire: Wire) -> Client:
    return Client(config.load(kubeconfig), wire, clock=SystemClock())


@pytest.fixture
async def home(client: Client, namespace: Callable[[], str]) -> str:
    """A namespace of the test's own."""
    name = namespace()
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name
