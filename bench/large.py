"""The benchmark of one large app: `python -m bench.large`. Everything it needs it starts, everything it starts it ends.

One Kustomization declares thousands of ConfigMaps. The time until it is Ready is compared with the floor, the bare
dry-runs and applies of as many on the same server; then a reconcile is asked for that has nothing to do, and a commit
changes a single object. All the while `/healthz` is asked: what it takes to answer is how long the event loop stood
still. And so are `/metrics`, and the command line: `get`, `why` and `tree` of the app, again and again. A command is a
process: `alone` is what it takes with nothing else going on, of which the start of Python is the greater part; what it
takes more, while the app is being applied, is the wait for answers.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from bench.measure import consumption
from bench.process import watched, write
from bench.run import HERE, Bench, machine, say, started
from bench.server import APPLY, JSON, Server, all_of, connect
from trimtab.base import process
from trimtab.targets.kubernetes.inventory import SUFFIX

MOST_RATIO, NOOP_S, ANSWER_S = 2.0, 1.0, 0.3
PART_KIB = 1024

_FILE_OBJECTS = 500
_LOOK_S = 0.2
_PULSE_S = 0.05
_ALONE_S = 15.0
_NAMESPACE = "large"


@dataclass(frozen=True, slots=True)
class Phase:
    """Seconds of one phase, and how long the event loop stood still in it at worst."""

    seconds: float
    cpu_s: float
    stall_p99_s: float
    stall_worst_s: float


@dataclass(frozen=True, slots=True)
class Answers:
    """Seconds that one command, or one scrape, took."""

    number: int
    p50_s: float
    worst_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """`floor_s` is the bare dry-run and apply of as many objects; `first`, `noop` and `one` are ours.

    `meanwhile` are the answers while the app is applied for the first time, `alone` those when all is done.
    """

    bench: str
    moment: str
    objects: int
    floor_s: float
    first: Phase
    first_of_floor: float
    noop: Phase
    one: Phase
    alone: dict[str, Answers]
    meanwhile: dict[str, Answers]
    most_more_s: float
    parts: int
    largest_part_kib: float
    status_kib: float
    memory_mib: dict[str, float]
    missed: list[str]
    machine: dict[str, Any]


async def main(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    count = arguments.objects
    async with (
        started(0, None) as bench,
        connect(bench.kubeconfig) as server,
        watched(bench.pid) as peak,
    ):
        for namespace in (_NAMESPACE, "floor"):
            await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}, kind=JSON)
        floor_s = await _floor(server, count)
        say(f"floor: {floor_s:.1f} s")
        await bench.repository.write(files(count), "large")
        meanwhile: dict[str, list[float]] = {}
        async with _asking(bench, meanwhile, arguments.commands):
            first = await _phase(bench, partial(_first, server, bench, arguments.timeout))
        say(f"first: {first}")
        noop = await _phase(bench, partial(_noop, server, arguments.timeout))
        say(f"noop: {noop}")
        changed = files(count) | {
            "app/part-000.yaml": files(count)["app/part-000.yaml"].replace('tag: "1"', "tag: '2'", 1)
        }
        commit = await bench.repository.write(changed, "one")
        one = await _phase(bench, partial(_one, server, commit, arguments.timeout))
        say(f"one: {one}")
        alone: dict[str, list[float]] = {}
        async with _asking(bench, alone, arguments.commands):
            await asyncio.sleep(_ALONE_S)
        parts, largest, status = await _record(server)
    answers = [{name: _answers(times) for name, times in found.items()} for found in (alone, meanwhile)]
    more = max(
        (answers[1][name].p50_s - found.p50_s for name, found in answers[0].items() if name in answers[1]), default=0.0
    )
    ratio = round(first.seconds / floor_s, 2)
    lost = missed(ratio, noop.seconds, more, largest)
    result = Result(
        bench="large",
        moment=datetime.now(UTC).isoformat(timespec="seconds"),
        objects=count,
        floor_s=round(floor_s, 1),
        first=first,
        first_of_floor=ratio,
        noop=noop,
        one=one,
        alone=answers[0],
        meanwhile=answers[1],
        most_more_s=round(more, 3),
        parts=parts,
        largest_part_kib=largest,
        status_kib=status,
        memory_mib=asdict(peak),
        missed=lost,
        machine=machine(),
    )
    print(json.dumps(asdict(result), indent=2))
    print(f"written to {write(asdict(result), arguments.results, 'large')}")
    for line in lost:
        print(f"missed: {line}")
    return 2 if lost and arguments.strict else 0


def missed(ratio: float, noop_s: float, more_s: float, largest_part_kib: float) -> list[str]:
    """The budgets that were not kept, each as a sentence."""
    found = [
        (ratio, MOST_RATIO, "first: {:.2f} × the floor, budget {:g}"),
        (noop_s, NOOP_S, "noop: {:.2f} s, budget {:g} s"),
        (more_s, ANSWER_S, "an answer takes {:.2f} s more while the app is applied, budget {:g} s"),
        (largest_part_kib, PART_KIB, "a part of the inventory has {:.0f} KiB, budget {:g} KiB"),
    ]
    return [words.format(value, budget) for value, budget, words in found if value > budget]


@asynccontextmanager
async def _asking(bench: Bench, times: dict[str, list[float]], commands: str) -> AsyncIterator[None]:
    """Ask one question after the other while the block runs."""
    asking = asyncio.ensure_future(_ask(bench, times, [one for one in commands.split(",") if one]))
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.wait({asking})


async def _ask(bench: Bench, times: dict[str, list[float]], commands: Sequence[str]) -> None:
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    common = ("-n", _NAMESPACE, "--kubeconfig", bench.kubeconfig)
    arguments = {"get": ("get", "ks", "large"), "why": ("why", "large"), "tree": ("tree", "large", "--compact")}
    async with aiohttp.ClientSession() as session:
        while True:
            for name in commands:
                argv = [sys.executable, "-m", "trimtab.cli.main", *arguments[name], *common]
                began = time.monotonic()
                done = await process.run(argv, env=env)
                if done.code == 1:
                    continue  # the app is not there yet
                times.setdefault(name, []).append(time.monotonic() - began)
            began = time.monotonic()
            async with session.get(bench.metrics / "metrics") as response:
                await response.read()
            times.setdefault("metrics", []).append(time.monotonic() - began)
            await asyncio.sleep(_PULSE_S)


def _answers(times: list[float]) -> Answers:
    times = sorted(times)
    return Answers(len(times), round(times[len(times) // 2], 3), round(times[-1], 3))


async def _record(server: Server) -> tuple[int, float, float]:
    """How many Secrets hold the inventory, and the KiB of the largest of them and of the app."""
    secrets = await server.call("GET", f"/api/v1/namespaces/{_NAMESPACE}/secrets")
    parts = [len(json.dumps(one)) for one in secrets["items"] if one["metadata"]["name"].endswith(SUFFIX)]
    body = await server.call("GET", f"{_path('kustomize', 'kustomizations')}/large")
    return len(parts), round(max(parts, default=0) / 1024, 1), round(len(json.dumps(body)) / 1024, 1)


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


async def _one(server: Server, commit: str, timeout_s: float) -> None:
    change = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": str(time.time_ns())}}}
    await server.call("PATCH", f"{_path('source', 'gitrepositories')}/large", change)
    await _until(
        server, timeout_s, lambda body: commit in body["status"].get("lastAppliedRevision", "") and _ready(body)
    )


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
    parser.add_argument("--commands", default="get,why,tree", help="what is asked meanwhile: get,why,tree, or nothing")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where the figures go (bench/results)")
    parser.add_argument("--strict", action="store_true", help="exit with 2 when a budget is missed")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parser().parse_args())))
