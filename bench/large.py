"""The benchmark of one large app: `python -m bench.large`. Everything it needs it starts, everything it starts it ends.

One Kustomization declares thousands of ConfigMaps. The time until it is Ready is compared with the floor, the bare
dry-runs and applies of as many on the same server; then a reconcile is asked for that has nothing to do. All the while
`/healthz` is asked: what it takes to answer is how long the event loop stood still.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import aiohttp

from bench.measure import consumption
from bench.run import Bench, machine, say, started
from bench.server import APPLY, JSON, Server, all_of, connect

_FILE_OBJECTS = 500
_LOOK_S = 0.2
_PULSE_S = 0.05
_NAMESPACE = "large"


@dataclass(frozen=True, slots=True)
class Phase:
    """Seconds of one phase, and how long the event loop stood still in it at worst."""

    seconds: float
    cpu_s: float
    stall_p99_s: float
    stall_worst_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """`floor_s` is the bare dry-run and apply of as many objects; `first` and `noop` are ours."""

    objects: int
    floor_s: float
    first: Phase
    first_of_floor: float
    noop: Phase
    peak_mib: float
    machine: dict[str, Any]


async def main(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    count = arguments.objects
    async with started(0, None) as bench, connect(bench.kubeconfig) as server:
        for namespace in (_NAMESPACE, "floor"):
            await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}, kind=JSON)
        floor_s = await _floor(server, count)
        say(f"floor: {floor_s:.1f} s")
        await bench.repository.write(files(count), "large")
        first = await _phase(bench, partial(_first, server, bench, arguments.timeout))
        say(f"first: {first}")
        noop = await _phase(bench, partial(_noop, server, arguments.timeout))
        say(f"noop: {noop}")
        _, peak = consumption([bench.pid])
    result = Result(count, round(floor_s, 1), first, round(first.seconds / floor_s, 2), noop, round(peak, 1), machine())
    print(json.dumps(asdict(result), indent=2))
    return 0


def _name(number: int) -> str:
    return f"config-{number:05}"


def files(count: int, tag: str = "1") -> dict[str, str]:
    """Plain manifests, some hundred in each file: no renderer is measured. Another `tag` changes every object."""
    texts = [
        f'apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {_name(i)}}}\ndata: {{number: "{i}", tag: "{tag}"}}\n'
        for i in range(count)
    ]
    chunks = [texts[i : i + _FILE_OBJECTS] for i in range(0, count, _FILE_OBJECTS)]
    return {f"app/part-{number:03}.yaml": "---\n".join(chunk) for number, chunk in enumerate(chunks)}


async def _floor(server: Server, count: int) -> float:
    began = time.monotonic()
    for rehearsal in ("&dryRun=All", ""):
        await all_of(partial(_apply, server, number, rehearsal) for number in range(count))
    return time.monotonic() - began


async def _apply(server: Server, number: int, rehearsal: str) -> None:
    name = _name(number)
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"number": str(number), "tag": "1"},
    }
    path = f"/api/v1/namespaces/floor/configmaps/{name}?fieldManager=floor&force=true{rehearsal}"
    await server.call("PATCH", path, body, kind=APPLY)


async def _phase(bench: Bench, work: Callable[[], Awaitable[None]]) -> Phase:
    before, _ = consumption([bench.pid])
    stalls: list[float] = []
    pulse = asyncio.ensure_future(_pulse(bench, stalls))
    began = time.monotonic()
    try:
        await work()
    finally:
        seconds = time.monotonic() - began
        pulse.cancel()
        await asyncio.wait({pulse})
    after, _ = consumption([bench.pid])
    stalls = sorted(stalls) or [0.0]
    p99 = stalls[int((len(stalls) - 1) * 0.99)]
    return Phase(round(seconds, 2), round(after - before, 1), round(p99, 3), round(stalls[-1], 3))


async def _pulse(bench: Bench, stalls: list[float]) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            asked = time.monotonic()
            async with session.get(bench.metrics / "healthz") as response:
                await response.read()
            stalls.append(time.monotonic() - asked)
            await asyncio.sleep(_PULSE_S)


async def _first(server: Server, bench: Bench, timeout_s: float) -> None:
    source = {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": "large"},
        "spec": {"url": bench.url, "ref": {"branch": "main"}, "interval": "60m"},
    }
    app = {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": "large"},
        "spec": {
            "interval": "60m",
            "path": "./app",
            "prune": True,
            "wait": True,
            "timeout": "30m",
            "targetNamespace": _NAMESPACE,
            "sourceRef": {"kind": "GitRepository", "name": "large"},
        },
    }
    await server.call("POST", _path("source", "gitrepositories"), source, kind=JSON)
    await server.call("POST", _path("kustomize", "kustomizations"), app, kind=JSON)
    await _until(server, timeout_s, lambda body: _ready(body) and bool(body["status"].get("lastAppliedRevision")))


async def _noop(server: Server, timeout_s: float) -> None:
    token = str(time.time_ns())
    change = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": token}}}
    await server.call("PATCH", f"{_path('kustomize', 'kustomizations')}/large", change)
    await _until(server, timeout_s, lambda body: body["status"].get("lastHandledReconcileAt") == token)


async def _until(server: Server, timeout_s: float, good: Callable[[dict[str, Any]], bool]) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            body = await server.call("GET", f"{_path('kustomize', 'kustomizations')}/large")
            if good(body):
                return
            await asyncio.sleep(_LOOK_S)


def _ready(body: dict[str, Any]) -> bool:
    conditions = body.get("status", {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _path(group: str, plural: str) -> str:
    return f"/apis/{group}.toolkit.fluxcd.io/v1/namespaces/{_NAMESPACE}/{plural}"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.large", description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000, help="ConfigMaps in the one app (10000)")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds a phase may take (1800)")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parser().parse_args())))
