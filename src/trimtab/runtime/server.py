"""What a cluster asks a process: is it alive, is it ready, how is it doing.

`/healthz` is about this process alone, for a restart helps nothing else: the event loop turns and the supervisors run.
`/readyz` lists every check, so that a person who looks sees which one fails. `/metrics` is Prometheus' text.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeAlias

from aiohttp import web
from yarl import URL

from trimtab.base.clock import Clock, SystemClock
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import CONTENT_TYPE, Telemetry

log = logging.getLogger(__name__)

Check: TypeAlias = Callable[[], str | None]
"""Says what is wrong, None when all is well. Quick, and without I/O: it reports what is known already."""

BLOCKED_S = 5.0
_TICK_S = 1.0
_REMEMBERED_S = 30.0
"""How long a block is held against the process: long enough for a probe to see it."""


class Pulse:
    """Notices when the event loop stood still."""

    def __init__(self, clock: Clock, *, blocked_s: float = BLOCKED_S) -> None:
        self._clock = clock
        self._blocked_s = blocked_s
        self._beat_at = clock.monotonic()
        self._blocked: tuple[float, float] | None = None

    async def run(self) -> None:
        """Beat for ever; to be kept by a supervisor."""
        self._beat_at = self._clock.monotonic()
        while True:
            await self._clock.sleep(_TICK_S)
            self.beat()

    def beat(self) -> None:
        """The loop turned."""
        now = self._clock.monotonic()
        late = now - self._beat_at - _TICK_S
        self._beat_at = now
        if late > self._blocked_s:
            self._blocked = (now, late)
            log.error("the event loop stood still for %.1f s", late)

    def check(self) -> str | None:
        """What is wrong with the loop, if anything."""
        now = self._clock.monotonic()
        if self._blocked is not None and now - self._blocked[0] < _REMEMBERED_S:
            return f"the event loop stood still for {self._blocked[1]:.1f} s"
        silence = now - self._beat_at - _TICK_S
        if silence > self._blocked_s:
            return f"the event loop has not turned for {silence:.1f} s"
        return None


def running(task: asyncio.Task[object]) -> Check:
    """A check that `task`, which is meant to run for ever, does."""

    def check() -> str | None:
        if not task.done():
            return None
        if task.cancelled():
            return f"{task.get_name()} was cancelled"
        return f"{task.get_name()} ended: {task.exception() or 'it had nothing more to do'}"

    return check


def app(
    checks: Mapping[str, Check],
    *,
    alive: Mapping[str, Check] | None = None,
    telemetry: Telemetry | None = None,
    clock: Clock | None = None,
) -> web.Application:
    """Serves /healthz (the loop and `alive`), /readyz (`checks`) and /metrics. Mappings may grow later."""
    pulse = Pulse(clock or SystemClock())
    vital = alive if alive is not None else {}

    async def healthz(_: web.Request) -> web.Response:
        return _report({"loop": pulse.check, **vital})

    async def readyz(_: web.Request) -> web.Response:
        return _report(checks)

    async def metrics(_: web.Request) -> web.Response:
        body = await telemetry.render() if telemetry is not None else b""
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def beating(_: web.Application) -> AsyncIterator[None]:
        tasks = Tasks("probes")
        tasks.keep(pulse.run, name="pulse")
        yield
        await tasks.close()

    server = web.Application(client_max_size=1024)
    server.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    server.cleanup_ctx.append(beating)
    return server


def _report(checks: Mapping[str, Check]) -> web.Response:
    """Every check on a line, `[+]` or `[-]`, as the API server's own probes write it."""
    findings = {name: _ask(name, check) for name, check in checks.items()}
    lines = [f"[-]{name} {finding}" if finding else f"[+]{name} ok" for name, finding in findings.items()]
    failed = any(findings.values())
    verdict = "failed" if failed else "ok"
    return web.Response(text="\n".join([*lines, verdict, ""]), status=503 if failed else 200)


def _ask(name: str, check: Check) -> str | None:
    try:
        return check()
    except Exception as failure:
        log.exception("check %s failed", name)
        return f"could not be checked: {failure!r}"


async def listen(app: web.Application, address: str) -> web.AppRunner:
    """Serve `app` at `address` (`HOST:PORT`, or `:PORT` for all interfaces). Raises OSError."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    url = URL(f"http://{address}")
    await web.TCPSite(runner, url.host or "0.0.0.0", url.port).start()  # noqa: S104 - asked for by `:PORT`
    return runner
