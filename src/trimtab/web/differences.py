"""A comparison that is made again and again, and what it found: a page, JSON and metrics (`trimtab diff --serve`).

Whoever can connect can read it, so it shows no more than the command would, and listens on loopback unless told
otherwise. There, names of other hosts are refused: a page of somebody else in a browser must not read this one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from yarl import URL

from trimtab.base.clock import Clock
from trimtab.base.comparisons import Comparisons
from trimtab.base.errors import TrimtabError
from trimtab.base.logs import redact
from trimtab.base.telemetry import CONTENT_TYPE
from trimtab.diff.page import POLICY, page
from trimtab.diff.report import Report, State, structured
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, UnknownKind, Unreachable
from trimtab.manifests import codec

log = logging.getLogger(__name__)

LEAST_EVERY_S: Final = 5.0
MOST_CONNECTIONS: Final = 64
_LATE: Final = 3
"""After so many intervals without a new result, and the time one may take, what was found no longer holds."""
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_FAILURES: Final = (TrimtabError, ApiError, Unreachable, UnknownKind, StaleGroup, OSError, ValueError)
_HEADERS: Final = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "trimtab",
}

Look = Callable[[], Awaitable[Report]]


@dataclass(slots=True)
class Watch:
    """Compares every so many seconds, from start to start and never twice at a time, and remembers the last result.

    `longest_s` bounds one comparison. `problem` is why there is nothing newer than `report`.
    """

    look: Look
    about: str
    clock: Clock
    metrics: Comparisons
    every_s: float = 60.0
    longest_s: float = 600.0
    report: Report | None = None
    problem: str = ""
    _ended: float | None = None

    async def run(self) -> None:
        """For ever."""
        while True:
            began = self.clock.monotonic()
            await self.once()
            await self.clock.sleep(max(0.0, self.every_s - (self.clock.monotonic() - began)))

    async def once(self) -> None:
        """Compare, and take down what was found. A failure leaves nothing that looks as if all were well."""
        began = self.clock.monotonic()
        try:
            async with asyncio.timeout(self.longest_s):
                report = await self.look()
        except TimeoutError:
            self._failed(f"it was not done after {self.longest_s:g} s", began)
        except _FAILURES as failure:
            self._failed(redact(str(failure)), began)
        except Exception as failure:
            self._failed(f"an internal error, {type(failure).__name__}: the log has more", began)
            raise
        else:
            self._ended = self.clock.monotonic()
            counts = {state.value: count for state, count in report.counts.items()}
            self.metrics.compared(report.verdict.value, counts, self._ended - began)
            if self.problem or self.report is None or self.report.verdict is not report.verdict:
                log.info("%s: %s: %s", self.about, report.verdict.value, report.words())
            self.report, self.problem = report, ""

    def trouble(self) -> str:
        """Why what was found last does not hold, if so."""
        if self.problem or self._ended is None:
            return self.problem
        age = self.clock.monotonic() - self._ended
        late = age > _LATE * self.every_s + self.longest_s
        return f"nothing has been compared for {age:.0f} s" if late else ""

    def check(self) -> str | None:
        """What is wrong, for a probe: nothing was compared, or not lately. What differs is no trouble of this one."""
        return self.trouble() or (None if self._ended is not None else "nothing has been compared yet")

    def _failed(self, why: str, began: float) -> None:
        self._ended = self.clock.monotonic()
        self.metrics.failed(self._ended - began)
        if why != self.problem:
            log.error("%s: cannot be compared: %s", self.about, why)
        self.problem = why


def app(watch: Watch, address: str) -> web.Application:
    """Serves what `watch` has found at / and /report.json, /metrics, /healthz (this process) and /readyz (`check`)."""
    local = (URL(f"http://{address}").host or "") in _LOCAL

    async def shown(_: web.Request) -> web.Response:
        refresh = max(int(watch.every_s), 1)
        text = await asyncio.to_thread(
            page, watch.report, about=watch.about, problem=watch.trouble(), refresh_s=refresh
        )
        return web.Response(text=text, content_type="text/html")

    async def told(_: web.Request) -> web.Response:
        report, problem = watch.report, watch.trouble()
        document = {**(structured(report) if report else {"about": watch.about}), "problem": problem}
        if problem or report is None:
            document["verdict"] = State.UNKNOWN.value
        return web.Response(body=codec.encode(document), content_type="application/json")

    async def measured(_: web.Request) -> web.Response:
        if watch.trouble():
            watch.metrics.forget()
        return web.Response(body=watch.metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        wrong = watch.check()
        return web.Response(text=f"{wrong or 'ok'}\n", status=503 if wrong else 200)

    @web.middleware
    async def guarded(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if local and not _is_local(request.host):
            return web.Response(status=403, text="this is served for this machine alone\n")
        return await handler(request)

    async def headed(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_HEADERS)

    application = web.Application(client_max_size=1024, middlewares=[guarded])
    application.on_response_prepare.append(headed)
    routes = {"/": shown, "/report.json": told, "/metrics": measured, "/healthz": alive, "/readyz": ready}
    application.add_routes([web.get(path, handler) for path, handler in routes.items()])
    return application


def _is_local(host: str) -> bool:
    try:
        return (URL(f"http://{host}").host or "") in _LOCAL
    except ValueError:
        return False
