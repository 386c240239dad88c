"""A double of registries and token servers, for what no honest one does; and a wire that leads to it.

It is real HTTP on loopback. Hosts elsewhere are addresses that `Rewired` leads back here: no packet leaves the machine.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from aiohttp import web

from trimtab.base.http import AiohttpTransport, Request, Response

ELSEWHERE = "9.9.9.9"
"""A public address: the double answers for it over https."""


class Seen(NamedTuple):
    """One request as it arrived: `host` is what the caller believes to speak to."""

    method: str
    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: str


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Double:
    """Answers by `routes`: `METHOD host path`, where host is `own` or an address; 404 to everything else."""

    port: int = 0
    routes: dict[str, Handler | web.Response] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, route: str, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Answer `route` always so. Underscores in names of headers are hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        async def handler(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=body, headers=named)

        self.routes[route] = handler

    def asked(self, host: str) -> list[Seen]:
        return [one for one in self.seen if one.host == host]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        # To a proxy the whole address is sent; then aiohttp takes the host from there, without the port.
        host = "own" if request.headers["Host"] == self.host else request.headers["Host"]
        body = await request.text()
        self.seen.append(Seen(request.method, host, request.path, dict(request.query), dict(request.headers), body))
        found = self.routes.get(f"{request.method} {host} {request.path}")
        if found is None:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no\x1b[2J"}]}, status=404)
        assert callable(found)
        return await found(request)


class Rewired:
    """The real transport, except that `ELSEWHERE` is the double. Any other place that is not loopback is an error."""

    def __init__(self, double: Double) -> None:
        self._double = double
        self._inner = AiohttpTransport()

    async def send(self, request: Request) -> Response:
        place = request.proxy or request.url
        if place.host == ELSEWHERE:
            assert place.scheme == "https", place
            url = request.url.with_scheme("http").with_host("127.0.0.1").with_port(self._double.port)
            request = replace(request, url=url, tls=None, tls_server_name=None)
        else:
            assert place.host == "127.0.0.1", place
        return await self._inner.send(request)

    async def close(self) -> None:
        await self._inner.close()


@asynccontextmanager
async def running(double: Double) -> Any:
    """The double, answering."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", double.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server: Any = site._server
    double.port = server.sockets[0].getsockname()[1]
    try:
        yield double
    finally:
        await runner.cleanup()
