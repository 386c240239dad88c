"""The socket that webhooks call, and the limits of what may come through it.

Whoever is outside may speak to it, so everything has an end: the line, the headers and their number, how long they may
take, the body, how many are connected. What cannot be read as HTTP is answered and not logged: it may contain a path.
"""

import asyncio
import logging
import traceback
from typing import Final

from aiohttp import web
from yarl import URL

from trimtab.base.clock import Clock
from trimtab.base.telemetry import Telemetry
from trimtab.web.delivery import LONGEST_FIELD, Refused, Why
from trimtab.web.reception import Reception

log = logging.getLogger(__name__)

MOST_BODY: Final = 3 << 20
MOST_HEADERS: Final = 256 << 10
HEADERS_S: Final = 10.0
"""Seconds in which the headers have to be here, also the next ones of a connection that is kept."""
MOST_CONNECTIONS: Final = 512
_MOST_FIELDS: Final = 128
_LONGEST_LINE: Final = 8190
_LINGER_S: Final = 2.0
_SHUTDOWN_S: Final = 5.0

_quiet = logging.getLogger(f"{__name__}.http")
_quiet.disabled = True


def app(reception: Reception, telemetry: Telemetry, clock: Clock) -> web.Application:
    """An application that takes deliveries at any path: which of them are somebody's, `reception` knows."""

    async def handle(request: web.Request) -> web.Response:
        started = clock.monotonic()
        try:
            response = await _answer(reception, request)
        except Refused as refusal:
            telemetry.delivery_refused(refusal.why)
            response = _refuse(refusal)
        except Exception as failure:  # noqa: BLE001 - the web handler is where every failure ends
            # Its words may repeat what was sent: where it happened is told, and not what.
            log.error("a delivery failed: %s at %s", type(failure).__name__, _where(failure))
            response = web.Response(status=500, text="this is our fault\n")
        telemetry.delivered(request.method, response.status, clock.monotonic() - started)
        return response

    async def unnamed(_request: web.Request, response: web.StreamResponse) -> None:
        # Nobody outside needs to know what this is made of, and in which version.
        response.headers["Server"] = "trimtab"

    application = web.Application(client_max_size=MOST_BODY)
    application.on_response_prepare.append(unnamed)
    application.router.add_route("*", "/{path:.*}", handle)
    return application


async def _answer(reception: Reception, request: web.Request) -> web.Response:
    if request.method != "POST":
        raise Refused(405, Why.METHOD, "only POST is taken here")
    headers = tuple((name.lower(), value) for name, value in request.raw_headers)
    if sum(len(name) + len(value) for name, value in headers) > MOST_HEADERS:
        raise Refused(431, Why.HEADERS, f"the headers have more than {MOST_HEADERS} bytes")

    async def read() -> bytes:
        return await _body(request)

    told = await reception.take(request.raw_path, headers, read)
    return web.Response(text=f"{told}\n")


async def _body(request: web.Request) -> bytes:
    too_large = Refused(413, Why.SIZE, f"the body has more than {MOST_BODY} bytes")
    if (request.content_length or 0) > MOST_BODY:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if size > MOST_BODY:
                raise too_large
            parts.append(chunk)
    except (OSError, web.RequestPayloadError) as failure:
        raise Refused(400, Why.BROKEN, "the body broke off") from failure
    return b"".join(parts)


def _where(failure: Exception) -> str:
    frames = traceback.extract_tb(failure.__traceback__)
    return " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-5:]))


def _refuse(refusal: Refused) -> web.Response:
    headers = {"Allow": "POST"} if refusal.status == 405 else {}
    if refusal.status == 429:
        headers["Retry-After"] = "1"
    response = web.Response(status=refusal.status, text=f"{refusal.words}\n", headers=headers)
    if refusal.status in (408, 413, 431):
        # What is still to come of it is not waited for.
        response.force_close()
    return response


class Listener:
    """A socket that is served."""

    def __init__(self, runner: web.AppRunner, sockets: asyncio.Server) -> None:
        self._runner = runner
        self._sockets = sockets

    @property
    def port(self) -> int:
        """The port it is served at."""
        port: int = self._sockets.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Take no more calls, and let those that are here end."""
        self._sockets.close()
        await self._runner.cleanup()


class _Full(asyncio.Protocol):
    """The end of a connection that there is no place for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def listen(application: web.Application, address: str, *, most: int = MOST_CONNECTIONS) -> Listener:
    """Serve at `address` (`HOST:PORT`, or `:PORT` for all interfaces) for `most` at a time. Raises OSError."""
    runner = web.AppRunner(
        application,
        access_log=None,
        logger=_quiet,
        # aiohttp counts this from the moment a connection is there, so it is the time for the first headers as well.
        keepalive_timeout=HEADERS_S,
        max_line_size=_LONGEST_LINE,
        max_field_size=LONGEST_FIELD,
        max_headers=_MOST_FIELDS,
        lingering_time=_LINGER_S,
        # Signatures are over what was sent, and what is small must not become large.
        auto_decompress=False,
        shutdown_timeout=_SHUTDOWN_S,
    )
    await runner.setup()
    server = runner.server
    assert server is not None  # noqa: S101 - there is one after setup

    def connected() -> asyncio.BaseProtocol:
        return server() if len(server.connections) < most else _Full()

    url = URL(f"http://{address}")
    host = url.host or "0.0.0.0"  # noqa: S104 - asked for by `:PORT`
    sockets = await asyncio.get_running_loop().create_server(connected, host, url.port)
    return Listener(runner, sockets)
