"""The benchmark of drift: `python -m bench.drift`. Everything it needs it starts, everything it starts it ends.

A thousand objects are applied and watched. Then, a hundred times, one field of another one is changed by hand, and the
time until it is back is taken. Last, ten thousand objects of the same kinds that nobody manages are created: the memory
of the controllers must not grow with them.
"""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from bench import measure
from bench.run import machine, say, started
from bench.server import JSON, Server, all_of, connect

GOAL_S = 0.3
_PER_APP = 3
_PATIENCE_S = 30.0
_SETTLE_S = 10.0
_NAMESPACE = "unmanaged"
_DEPLOYMENTS = 0.1  # of the unmanaged objects; the rest are ServiceAccounts, which are cheap to make


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds from a change by hand until it was undone, and resident MiB without and with unmanaged objects."""

    objects: int
    trials: int
    p50_s: float
    p95_s: float
    p99_s: float
    worst_s: float
    unmanaged: int
    memory_before_mib: float
    memory_after_mib: float
    memory_after_undoing_more_mib: float
    machine: dict[str, Any]


async def main(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    apps = -(-arguments.objects // _PER_APP)
    async with started(apps, None) as bench, connect(bench.kubeconfig) as server:
        run = measure.Measure(server, bench.repository, bench.url, apps, pids=[bench.pid], timeout_s=900)
        async for phase in run.run(["first"]):
            say(f"{phase}")
        await asyncio.sleep(_SETTLE_S)
        times = sorted([await undone(server, run.namespace, trial % apps) for trial in range(arguments.trials)])
        await asyncio.sleep(_SETTLE_S)
        before = round(measure.resident_mib(bench.pid), 1)
        say(f"{before:.1f} MiB; creating {arguments.unmanaged} objects that nobody manages")
        await crowd(server, arguments.unmanaged)
        await asyncio.sleep(_SETTLE_S)
        after = round(measure.resident_mib(bench.pid), 1)
        for trial in range(10):
            await undone(server, run.namespace, (arguments.trials + trial) % apps)
        result = Result(
            objects=apps * _PER_APP,
            trials=len(times),
            p50_s=_percentile(times, 0.5),
            p95_s=_percentile(times, 0.95),
            p99_s=_percentile(times, 0.99),
            worst_s=round(times[-1], 3),
            unmanaged=arguments.unmanaged,
            memory_before_mib=before,
            memory_after_mib=after,
            memory_after_undoing_more_mib=round(measure.resident_mib(bench.pid), 1),
            machine=machine(),
        )
    print(json.dumps(asdict(result), indent=2))
    return 0 if result.p95_s <= GOAL_S else 2


async def undone(server: Server, namespace: str, number: int) -> float:
    """Seconds until app `number`, scaled by hand, is scaled back."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/app-{number}"
    await server.call("PATCH", path, {"spec": {"replicas": 3}})
    begin = time.monotonic()
    while time.monotonic() - begin < _PATIENCE_S:
        if (await server.call("GET", path))["spec"]["replicas"] == 0:
            break
        await asyncio.sleep(0.005)
    seconds = time.monotonic() - begin
    await asyncio.sleep(0.2)
    return seconds


async def crowd(server: Server, count: int) -> None:
    """Create `count` objects that nobody manages."""
    await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": _NAMESPACE}}, kind=JSON)
    deployments = int(count * _DEPLOYMENTS)
    await all_of(partial(_create, server, number, deployment=number < deployments) for number in range(count))


async def leave(server: Server) -> None:
    """Delete what `crowd` created."""
    for kinds in ("apis/apps/v1/namespaces/{}/deployments", "api/v1/namespaces/{}/serviceaccounts"):
        await server.call("DELETE", "/" + kinds.format(_NAMESPACE))


async def _create(server: Server, number: int, *, deployment: bool) -> None:
    metadata = {"name": f"other-{number}", "labels": {"app": "other", "made-by": "nobody"}}
    if not deployment:
        await server.call("POST", f"/api/v1/namespaces/{_NAMESPACE}/serviceaccounts", {"metadata": metadata}, kind=JSON)
        return
    pod = {"containers": [{"name": "app", "image": "registry.example/other:1"}]}
    spec = {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "other"}},
        "template": {"metadata": {"labels": {"app": "other"}}, "spec": pod},
    }
    path = f"/apis/apps/v1/namespaces/{_NAMESPACE}/deployments"
    await server.call("POST", path, {"metadata": metadata, "spec": spec}, kind=JSON)


def _percentile(times: list[float], share: float) -> float:
    return round(times[max(0, int(len(times) * share) - 1)], 3)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.drift", description=__doc__)
    parser.add_argument("--objects", type=int, default=1000, help="objects that are applied and watched (1000)")
    parser.add_argument("--trials", type=int, default=100, help="changes by hand (100)")
    parser.add_argument("--unmanaged", type=int, default=10_000, help="objects that nobody manages (10000)")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parser().parse_args())))
