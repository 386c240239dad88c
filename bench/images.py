"""The benchmark of images: `python -m bench.images`. Everything it needs it starts, everything it starts it ends.

scans  many ImageRepositories of one registry at a short interval, each with an ImagePolicy, on a real control plane:
       the CPU of the process that looks at them, requests and tokens for each scan, and resident memory, minute by
       minute. Nothing is pushed meanwhile.
many   a repository of many tags: seconds from the request for a look until the newest tag is chosen, again and again,
       and the memory that it takes.

The registry is a double in this process, which hands out tokens for five minutes, as most do. Shares and ratios count:
seconds of different machines, or of a busy and a quiet one, do not compare.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from bench.measure import consumption
from bench.run import machine, say
from bench.server import JSON, Server, all_of, connect
from trimtab.base.http import AiohttpTransport
from trimtab.cli import local
from trimtab.cluster.plane import ControlPlane
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.toolchain import binaries

_GROUP = "/apis/image.toolkit.fluxcd.io/v1"
_NAMESPACE = "bench-images"
_PATIENCE_S = 600.0
_TOKEN_S = 300


@dataclass(frozen=True, slots=True)
class Minute:
    """What was used in one minute."""

    scans: int
    tokens: int
    others: int
    cpu_s: float
    resident_mib: float


@dataclass(frozen=True, slots=True)
class Scans:
    """`core_share` is CPU seconds for each second, less what the process uses with nothing to look at."""

    repositories: int
    interval: str
    tags_each: int
    idle_cpu_s_per_minute: float
    core_share: float
    cpu_ms_per_scan: float
    requests_per_scan: float
    tokens_per_scan: float
    most_requests_in_a_second: int
    minutes: list[Minute]


@dataclass(frozen=True, slots=True)
class Many:
    """One repository of many tags, whose newest changes with each look."""

    tags: int
    seconds: float
    rounds: list[float]
    resident_mib_growth: float


@dataclass
class Registry:
    """A registry with tokens; every repository has the same tags."""

    tags: list[str]
    counts: Counter[str] = field(default_factory=Counter)
    seconds: Counter[int] = field(default_factory=Counter)
    host: str = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.seconds[int(time.monotonic())] += 1
        if request.path == "/token":
            self.counts["tokens"] += 1
            return web.json_response({"token": "t", "expires_in": _TOKEN_S})
        if request.headers.get("Authorization") != "Bearer t":
            self.counts["others"] += 1
            challenge = f'Bearer realm="http://{self.host}/token",service="bench"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        self.counts["scans" if request.path.endswith("/tags/list") else "others"] += 1
        return web.json_response({"name": "x", "tags": self.tags})


@asynccontextmanager
async def served(registry: Registry) -> AsyncIterator[None]:
    """The registry, answering."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry.host = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def looking() -> AsyncIterator[tuple[int, Server]]:
    """A control plane, and the process that looks at images: its id, and a client for the measure."""
    control = await binaries.ensure("controlplane", progress=say)
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as temporary:
        directory = Path(temporary)
        async with ControlPlane(directory / "cluster", kwok=False, binaries=control) as plane:
            transport = AiohttpTransport()
            try:
                await local.furnish(Client(config.load(plane.kubeconfig), transport), "flux-system")
                role = ("--controllers=image-reflector",)
                where = directory / "trimtab"
                async with (
                    local.controllers(plane.kubeconfig, where, transport, arguments=role) as running,
                    connect(plane.kubeconfig) as server,
                ):
                    await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": _NAMESPACE}}, kind=JSON)
                    yield running.pid, server
            finally:
                await transport.close()


async def scans(arguments: argparse.Namespace) -> Scans:
    """Minute by minute."""
    registry = Registry([f"1.0.{number}" for number in range(arguments.tags)])
    async with served(registry), looking() as (pid, server):
        before = consumption([pid])[0]
        await asyncio.sleep(60)
        idle = consumption([pid])[0] - before
        say(f"idle: {idle:.2f} s of CPU in a minute; creating {arguments.repositories} ImageRepositories")
        spec = {"interval": arguments.interval, "insecure": True}
        await all_of(
            partial(_create, server, number, {**spec, "image": f"{registry.host}/team/app-{number}"})
            for number in range(arguments.repositories)
        )
        await _all_chosen(server, arguments.repositories)
        await asyncio.sleep(60)
        registry.seconds.clear()
        minutes = [await _minute(pid, registry) for _ in range(arguments.minutes)]
    looked, tokens = (sum(getattr(minute, name) for minute in minutes) for name in ("scans", "tokens"))
    others = sum(minute.others for minute in minutes)
    cpu_s = sum(minute.cpu_s - idle for minute in minutes)
    return Scans(
        arguments.repositories,
        arguments.interval,
        arguments.tags,
        idle_cpu_s_per_minute=round(idle, 2),
        core_share=round(cpu_s / (60 * len(minutes)), 4),
        cpu_ms_per_scan=round(1000 * cpu_s / max(looked, 1), 2),
        requests_per_scan=round((looked + others) / max(looked, 1), 4),
        tokens_per_scan=round(tokens / max(looked, 1), 4),
        most_requests_in_a_second=max(registry.seconds.values(), default=0),
        minutes=minutes,
    )


async def many(arguments: argparse.Namespace) -> Many:
    """Look by look."""
    registry = Registry([f"1.0.{number}" for number in range(arguments.many)])
    async with served(registry), looking() as (pid, server):
        before = _resident_mib(pid)
        await _create(server, 0, {"interval": "60m", "insecure": True, "image": f"{registry.host}/team/app"})
        await _all_chosen(server, 1)
        rounds = []
        for number in range(arguments.rounds):
            newest = f"1.1.{number}"
            registry.tags.append(newest)
            begun = time.monotonic()
            annotations = {"reconcile.fluxcd.io/requestedAt": str(time.time_ns())}
            await server.call(
                "PATCH", f"{_path('imagerepositories')}/app-0", {"metadata": {"annotations": annotations}}
            )
            while (await server.call("GET", f"{_path('imagepolicies')}/app-0"))["status"]["latestRef"]["tag"] != newest:
                await asyncio.sleep(0.01)
            rounds.append(round(time.monotonic() - begun, 3))
            say(f"{newest} is chosen after {rounds[-1]} s")
        growth = consumption([pid])[1] - before
    return Many(arguments.many, round(statistics.median(rounds), 3), rounds, round(growth, 1))


async def _minute(pid: int, registry: Registry) -> Minute:
    before, counts = consumption([pid])[0], registry.counts.copy()
    await asyncio.sleep(60)
    found = {name: registry.counts[name] - counts[name] for name in ("scans", "tokens", "others")}
    minute = Minute(**found, cpu_s=round(consumption([pid])[0] - before, 2), resident_mib=_resident_mib(pid))
    say(f"{minute}")
    return minute


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(round(int(line.split()[1]) / 1024, 1) for line in status if line.startswith("VmRSS:"))


async def _create(server: Server, number: int, spec: dict[str, Any]) -> None:
    metadata = {"name": f"app-{number}", "namespace": _NAMESPACE}
    policy = {"imageRepositoryRef": {"name": f"app-{number}"}, "policy": {"semver": {"range": "*"}}}
    for kind, plural, wanted in (
        ("ImageRepository", "imagerepositories", spec),
        ("ImagePolicy", "imagepolicies", policy),
    ):
        body = {"apiVersion": "image.toolkit.fluxcd.io/v1", "kind": kind, "metadata": metadata, "spec": wanted}
        await server.call("POST", _path(plural), body, kind=JSON)


async def _all_chosen(server: Server, count: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        items = (await server.call("GET", _path("imagepolicies")))["items"]
        chosen = sum("latestRef" in item.get("status", {}) for item in items)
        if chosen == count:
            return
        say(f"{chosen} have chosen")
        await asyncio.sleep(2)
    raise TimeoutError(f"not all have chosen after {_PATIENCE_S:g} s")


def _path(plural: str) -> str:
    return f"{_GROUP}/namespaces/{_NAMESPACE}/{plural}"


async def main(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    result: dict[str, Any] = {"machine": machine()}
    for name, part in (("scans", scans), ("many", many)):
        if name in arguments.parts.split(","):
            result[name] = asdict(await part(arguments))
    print(json.dumps(result, indent=2))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bench.images", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="scans,many", help="scans,many")
    parser.add_argument("--repositories", type=int, default=500, help="ImageRepositories that are looked at (500)")
    parser.add_argument("--interval", default="1m", help="how often (1m)")
    parser.add_argument("--tags", type=int, default=200, help="tags of each of them (200)")
    parser.add_argument("--minutes", type=int, default=5, help="for how long (5)")
    parser.add_argument("--many", type=int, default=20_000, help="tags of the one repository (20000)")
    parser.add_argument("--rounds", type=int, default=5, help="looks at it (5)")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parser().parse_args())))
