"""Services reached through the API server, which is a double here: no real one passes anything on to loopback."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from yarl import URL

from trimtab.base.http import AiohttpTransport, Request, TransportError
from trimtab.kube.auth import Anonymous
from trimtab.kube.client import Client
from trimtab.kube.config import ClusterConfig
from trimtab.kube.services import Service, ServiceTransport

ADDRESS = "http://source-controller.flux-system.svc.cluster.local.:9090/git/shop/a%20b.tar.gz?x=1"


class ApiServer:
    """Remembers what it was asked, and answers what it was told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = web.Response(body=b"archive")

    async def serve(self, request: web.Request) -> web.Response:
        self.asked.append(request.raw_path)
        return self.answer


@pytest.fixture
async def server() -> AsyncIterator[tuple[ApiServer, ServiceTransport]]:
    double = ApiServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", double.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    transport = AiohttpTransport()
    config = ClusterConfig(URL(f"http://127.0.0.1:{runner.addresses[0][1]}"), Anonymous())
    yield double, ServiceTransport(Client(config, transport))
    await transport.close()
    await runner.cleanup()


@pytest.mark.parametrize(
    ("address", "service"),
    [
        (ADDRESS, Service("flux-system", "source-controller", "http", 9090)),
        ("https://a.b.svc/x", Service("b", "a", "https", 443)),
        ("http://a.b.svc.other.domain/x", Service("b", "a", "http", 80)),
        ("http://a.b.example.org/x", None),
        ("http://127.0.0.1:9090/x", None),
        ("http://svc/x", None),
        ("ftp://a.b.svc/x", None),
    ],
)
def test_a_service_is_known_by_its_address_in_the_cluster(address: str, service: Service | None) -> None:
    assert Service.at(URL(address)) == service


async def test_the_api_server_is_asked_for_the_path_of_the_service(server: tuple[ApiServer, ServiceTransport]) -> None:
    double, transport = server
    response = await transport.send(Request("GET", URL(ADDRESS)))
    assert (response.status, await response.read()) == (200, b"archive")
    way = "/api/v1/namespaces/flux-system/services/http:source-controller:9090/proxy/git/shop/a%20b.tar.gz?x=1"
    assert double.asked == [way]


async def test_what_the_api_server_refuses_is_told_in_its_words(server: tuple[ApiServer, ServiceTransport]) -> None:
    double, transport = server
    double.answer = web.json_response({"message": "services is forbidden", "code": 403}, status=403)
    with pytest.raises(TransportError, match="through the API server: services is forbidden"):
        await transport.send(Request("GET", URL(ADDRESS)))


@pytest.mark.parametrize(
    "address", ["http://a.b.svc/x/%2e%2e/%2e%2e/secrets", "http://a.b.svc/x/..%2f..%2fsecrets", "http://else/x"]
)
async def test_nothing_else_of_the_api_server_is_reached(
    server: tuple[ApiServer, ServiceTransport], address: str
) -> None:
    double, transport = server
    with pytest.raises(TransportError):
        await transport.send(Request("GET", URL(address, encoded=True)))
    assert double.asked == []
