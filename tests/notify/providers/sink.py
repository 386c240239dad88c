"""A double of a service that providers talk to: HTTPS on loopback, which notes requests and answers as it is told."""

import asyncio
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from aiohttp import web

from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.notify.notice import Notice
from trimtab.notify.provider import Composed, Conversing, Delivered, NoAnswer, Outcome, Request, Settings
from trimtab.notify.providers.table import TABLE
from trimtab.notify.wire import ProviderWire
from trimtab.remotes.outbound import Outbound


@dataclass
class Sink:
    """`mode` is how it answers: `ok`, `large`, `slow`, or an address to which it redirects."""

    tls: ssl.SSLContext
    mode: str = "ok"
    requests: list[web.Request] = field(default_factory=list)
    port: int = 0
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
            case "slow":
                await self._ended.wait()
                return web.Response()
            case elsewhere:
                return web.Response(status=307, headers={"Location": elsewhere})


async def delivered(notice: Notice, settings: Settings) -> Outcome:
    """What comes of telling `notice`, over a real connection."""
    transport = AiohttpTransport()
    wire = ProviderWire(Outbound(transport, SystemClock()), settings)
    try:
        match TABLE[settings.type]:
            case Conversing(send):
                return await send(notice, settings, wire)
            case Composed(compose, judge):
                made = compose(notice, settings)
                for request in [made] if isinstance(made, Request) else made:
                    outcome = judge(await wire.ask(request))
                    if not isinstance(outcome, Delivered):
                        return outcome
                return Delivered()
    except NoAnswer as failure:
        return failure.outcome
    finally:
        await transport.close()
