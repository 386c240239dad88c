"""The benchmark of fairness: `python -m bench.fairness`. Everything it needs it starts, everything it starts it ends.

Small apps of three objects each, and one large app of thousands of ConfigMaps, all in one repository. The phases:

alone     a commit changes one Deployment in each small app, while the large one stands still
together  the same commit changes every object of the large app as well; `large_s` is until that is Ready, too
limited   as together, with fewer apps and objects, through a gateway that lets `--rate` requests a second through and
          answers all others with 429 and Retry-After, as a server's priority and fairness does

For each small app the time from the request to look until it is Ready on the commit is taken; the ratio is that of the
two p95. The gateway stands between the controllers and the API server only; Leases pass it free, as in a server.
"""

import argparse
import asyncio
import contextlib
import json
import math
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from bench import measure
from bench.large import files as large_files
from bench.process import cpu, watched, write
from bench.run import HERE, machine, say, started
from bench.server import JSON, Server, connect
from trimtab.base.http import AiohttpTransport
from trimtab.cli import local
from trimtab.cluster.gitserver import GitServer
from trimtab.cluster.plane import ControlPlane
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.toolchain import binaries

MOST_RATIO = 2.0
_LARGE = "large"
_NAMESPACE = "flux-system"
_LEASES = "/apis/coordination.k8s.io/"
_OWN = ("connection", "transfer-encoding", "content-length", "host", "keep-alive", "content-encoding")


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds from the request to look until the small apps were Ready, and until the large one was."""

    small: int
    objects: int
    p50_s: float
    p95_s: float
    last_s: float
    large_s: float | None
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Limited:
    """What came through the gateway. `before_large`: how many small apps were Ready before the large one was."""

    times: Times
    rate: float
    seconds: float
    passed: int
    turned_away: int
    before_large: int
    errors: int


class Gateway:
    """A bucket of tokens before an API server, which refuses what it has no token for."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.rate = math.inf
        self.passed = self.turned_away = 0
        self._session = session
        self._tokens = 0.0
        self._filled = time.monotonic()

    def limit(self, rate: float) -> None:
        """From now on so many requests a second."""
        self.rate, self._tokens, self._filled = rate, rate, time.monotonic()
        self.passed = self.turned_away = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if not request.path.startswith(_LEASES) and "watch" not in request.query and not self._take():
            self.turned_away += 1
            body = {"kind": "Status", "code": 429, "reason": "TooManyRequests", "message": "too many requests"}
            return web.json_response(body, status=429, headers={"Retry-After": "1"})
        self.passed += 1
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}
        async with self._session.request(
            request.method,
            request.rel_url,
            headers=headers,
            data=await request.read() or None,
            skip_auto_headers=("Content-Type", "Accept"),
        ) as answer:
            told = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN}
            response = web.StreamResponse(status=answer.status, headers=told)
            with contextlib.suppress(ConnectionResetError):  # who watched has gone
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
        return response

    def _take(self) -> bool:
        if math.isinf(self.rate):
            return True
        now = time.monotonic()
        self._tokens = min(self.rate, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@asynccontextmanager
async def gateway(kubeconfig: Path, directory: Path) -> AsyncIterator[tuple[Gateway, Path]]:
    """A gateway on loopback before the API server of `kubeconfig`, and the kubeconfig that leads through it."""
    async with connect(kubeconfig) as server, AsyncExitStack() as stack:
        # The connector of the measure is for 40 requests; watches stay open.
        connector = aiohttp.TCPConnector(ssl=_tls(kubeconfig), limit=0)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                config.load(kubeconfig).server,
                connector=connector,
                headers=server.session.headers,
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
            )
        )
        passing = Gateway(session)
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", passing.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        through = directory / "through-gateway"
        through.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
                    "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                    "users": [{"name": "c", "user": {}}],
                }
            )
        )
        yield passing, through


def _tls(kubeconfig: Path) -> Any:
    tls = config.load(kubeconfig).tls
    return tls if tls is not None else True


class Fairness(measure.Measure):
    """Small apps beside a large one."""

    def __init__(
        self,
        server: Server,
        repository: measure.Repository,
        url: str,
        *,
        pid: int,
        small: int,
        objects: int,
        timeout_s: float,
    ) -> None:
        super().__init__(server, repository, url, small, pids=[pid], timeout_s=timeout_s)
        self._pid = pid
        self._objects = objects

    async def prepare(self) -> None:
        """Everything is there and Ready."""
        await self._server.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}}, kind=JSON)
        await self._repository.write(large_files(self._objects, "0"), _LARGE)
        commit = await self._repository.push("0")
        large = self._kustomization(0)
        large["metadata"]["name"] = _LARGE
        large["spec"] |= {"path": "./app", "timeout": "60m"}
        await self._create()
        await self._server.call("POST", self._apps, large, kind=JSON)
        await self._until_all(commit, time.monotonic(), poke=False)

    async def push_and_time(self, tag: str, *, large: bool) -> Times:
        """A commit that changes the small apps, and the large one, too, if that is wanted."""
        if large:
            await self._repository.write(large_files(self._objects, tag), f"large {tag}")
        commit = await self._repository.push(tag)
        before = sum(cpu(self._pid))
        done = await self._until_all(commit, time.monotonic(), poke=True)
        used = round(sum(cpu(self._pid)) - before, 1)
        large_s = round(done.pop(_LARGE), 2)
        times = sorted(done.values())
        found = Times(
            len(times),
            self._objects,
            round(times[len(times) // 2], 2),
            round(times[max(math.ceil(len(times) * 0.95) - 1, 0)], 2),
            round(times[-1], 2),
            large_s if large else None,
            used,
        )
        say(f"{tag}: {found}")
        return found

    async def _until_all(self, commit: str, began: float, *, poke: bool) -> dict[str, float]:
        """Seconds until each app was Ready on `commit`."""
        listing = await self._server.call("GET", self._apps)
        state = {app["metadata"]["name"]: False for app in listing["items"]}
        done: dict[str, float] = {}

        def good(app: dict[str, Any]) -> bool:
            name = app["metadata"]["name"]
            if name not in done and measure.ready(commit, app):
                done[name] = time.monotonic() - began
            return name in done

        for app in listing["items"]:
            state[app["metadata"]["name"]] = good(app)
        everyone = asyncio.Event()
        if all(state.values()):
            return done
        self._n, small = len(state), self._n
        follower = asyncio.ensure_future(self._follow(listing["metadata"]["resourceVersion"], state, good, everyone))
        try:
            if poke:
                await self._poke()
            async with asyncio.timeout(self._timeout_s):
                await everyone.wait()
        finally:
            self._n = small
            follower.cancel()
            await asyncio.wait({follower})
        return done


async def unlimited(arguments: argparse.Namespace) -> dict[str, Any]:
    """Alone and together, again and again; the best of each counts, since what else ran can only have slowed it."""
    small, objects = arguments.small, arguments.objects
    alone, together = list[Times](), list[Times]()
    async with started(small, None) as bench, connect(bench.kubeconfig) as server, watched(bench.pid) as peak:
        run = Fairness(
            *(server, bench.repository, bench.url),
            pid=bench.pid,
            small=small,
            objects=objects,
            timeout_s=arguments.timeout,
        )
        await run.prepare()
        for number in range(arguments.rounds):
            alone.append(await run.push_and_time(f"alone-{number}", large=False))
            together.append(await run.push_and_time(f"together-{number}", large=True))
    ratio = min(one.p95_s for one in together) / min(one.p95_s for one in alone)
    return {
        "alone": [asdict(one) for one in alone],
        "together": [asdict(one) for one in together],
        "p95_of_alone": round(ratio, 2),
        "memory_mib": asdict(peak),
    }


async def limited(arguments: argparse.Namespace) -> Limited:
    """Through the gateway."""
    small, objects = arguments.limited_small, arguments.limited_objects
    control = await binaries.ensure("controlplane", progress=say)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-bench-")))
        say("starting a control plane, a git server, the gateway and the controllers")
        plane = await stack.enter_async_context(ControlPlane(directory / "cluster", kwok=False, binaries=control))
        git = await stack.enter_async_context(GitServer(directory / "served"))
        bare = await git.create("bench")
        repository = measure.Repository(directory / "work", bare, small)
        await repository.create()
        transport = AiohttpTransport()
        stack.push_async_callback(transport.close)
        await local.furnish(Client(config.load(plane.kubeconfig), transport), _NAMESPACE)
        passing, through = await stack.enter_async_context(gateway(plane.kubeconfig, directory))
        controllers = await stack.enter_async_context(local.controllers(through, directory / "trimtab", transport))
        server = await stack.enter_async_context(connect(plane.kubeconfig))
        run = Fairness(
            server,
            repository,
            git.url("bench"),
            pid=controllers.pid,
            small=small,
            objects=objects,
            timeout_s=arguments.timeout,
        )
        await run.prepare()
        passing.limit(arguments.rate)
        began = time.monotonic()
        times = await run.push_and_time("limited", large=True)
        seconds = time.monotonic() - began
        words = controllers.log.read_text(errors="replace")
        failures = sum('"level":"error"' in line or '"level": "error"' in line for line in words.splitlines())
        first = small if times.large_s is not None and times.last_s < times.large_s else -1
        return Limited(times, arguments.rate, round(seconds, 1), passing.passed, passing.turned_away, first, failures)


def missed(ratio: float | None, through: Limited | None) -> list[str]:
    """The budgets that were not kept, each as a sentence."""
    found = []
    if ratio is not None and ratio > MOST_RATIO:
        found.append(f"small apps beside a large one: p95 is {ratio:.2f} × that alone, budget {MOST_RATIO:g}")
    if through is not None and through.before_large < through.times.small:
        found.append("limited: the large app was Ready before the last of the small ones")
    return found


async def main(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    result: dict[str, Any] = {"bench": "fairness", "moment": datetime.now(UTC).isoformat(timespec="seconds")}
    phases: Sequence[str] = arguments.phases.split(",")
    free = await unlimited(arguments) if "together" in phases else None
    through = await limited(arguments) if "limited" in phases else None
    lost = missed(free["p95_of_alone"] if free else None, through)
    result |= {"unlimited": free, "limited": asdict(through) if through else None}
    result |= {"missed": lost, "machine": machine()}
    print(json.dumps(result, indent=2))
    print(f"written to {write(result, arguments.results, 'fairness')}")
    for line in lost:
        print(f"missed: {line}")
    return 2 if lost and arguments.strict else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.fairness", description=__doc__)
    parser.add_argument("--small", type=int, default=100, help="small apps (100)")
    parser.add_argument("--objects", type=int, default=10_000, help="objects of the large app (10000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often alone and together are taken (3)")
    parser.add_argument("--phases", default="together,limited", help="together,limited")
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second, when limited (10)")
    parser.add_argument("--limited-small", type=int, default=20, help="small apps, when limited (20)")
    parser.add_argument("--limited-objects", type=int, default=500, help="objects of the large one, when limited (500)")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds a phase may take (1800)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where the figures go (bench/results)")
    parser.add_argument("--strict", action="store_true", help="exit with 2 when a budget is missed")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parser().parse_args())))
