"""A double of a service that providers talk to: HTTPS on loopback, which notes requests and answers as it is told."""

import asyncio
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from aiohttp import web

from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.notify.apprising import Apprising
from trimtab.notify.notice import Notice
from trimtab.notify.outbox import _told, tell
from trimtab.notify.provider import Answer, NoAnswer, Outcome, Request, Settings
from trimtab.notify.providers.table import TABLE
from trimtab.notify.wire import ProviderWire
from trimtab.remotes.outbound import Outbound

MOST_SENT = 256 << 20
"""What is taken of an endless answer before the double gives up: more than anybody should."""


@dataclass
class Sink:
    """`mode` is how it answers: `ok`, `large`, `endless`, `drip`, or an address to which it redirects."""

    tls: ssl.SSLContext
    mode: str = "ok"
    requests: list[web.Request] = field(default_factory=list)
    port: int = 0
    sent: int = 0
    _runner: web.AppRunner | None = None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> "Sink":
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner
        self._ended.set()
        await self._runner.cleanup()

    def here(self, address: str) -> str:
        """`address`, on this double."""
        parts = urlsplit(address)
        user = f"{parts.username}@" if parts.username else ""
        return urlunsplit(("https", f"{user}127.0.0.1:{self.port}", parts.path, parts.query, ""))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.requests.append(request)
        match self.mode:
            case "ok":
                return web.json_response({"ok": True})
            case "large":
                return web.Response(body=b"x" * (3 << 20))
            case "endless":
                return await self._endless(request)
            case "drip":
                # Always something, and never an answer.
                for char in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 500:
                    if request.transport is None or self._ended.is_set():
                        break
                    request.transport.write(bytes([char]))
                    await asyncio.sleep(0.02)
                raise ConnectionResetError
            case elsewhere:
                return web.Response(status=307, headers={"Location": elsewhere})

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while request.transport is not None and not request.transport.is_closing() and self.sent < MOST_SENT:
            await response.write(b"x" * (64 << 10))
            self.sent += 64 << 10
            await asyncio.sleep(0)
        return response


@dataclass(frozen=True, slots=True)
class Noting(ProviderWire):
    """The way out, which notes how much of an answer a provider gets to see."""

    seen: list[int] = field(default_factory=list)

    async def ask(self, request: Request) -> Answer:
        # No super() without arguments: a class with slots is made twice.
        answer = await ProviderWire.ask(self, request)
        self.seen.append(len(answer.body))
        return answer


async def delivered(notice: Notice, settings: Settings) -> Outcome:
    """What comes of telling `notice`, over a real connection. Raises Misconfigured."""
    transport = AiohttpTransport()
    try:
        return await _told(
            TABLE[settings.type], notice, settings, ProviderWire(Outbound(transport, SystemClock()), settings)
        )
    except NoAnswer as failure:
        return failure.outcome
    finally:
        await transport.close()


async def told(notice: Notice, settings: Settings, seen: list[int] | None = None) -> Outcome:
    """What comes of telling `notice` as the outbox does it, with no time but that of the Provider."""
    transport = AiohttpTransport()
    try:
        with tempfile.TemporaryDirectory() as work:
            out, apprising = Outbound(transport, SystemClock()), Apprising(Path(work))
            wire = Noting(out, settings, apprising, [] if seen is None else seen)
            return await tell(TABLE[settings.type], notice, settings, wire, least_s=0.0)
    finally:
        await transport.close()
