"""The floor: what no controller can beat on this API server.

The bare server-side applies for N apps of three objects, 32 in flight: first as dry-run, then for real, then *settled*:
until the deployment controller has observed every Deployment, before which nobody can call one healthy. The floor of a
phase is dry-run plus settled.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.server import APPLY, JSON, Server, all_of, connect

_SETTLE_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Row:
    """One part of the floor. `settled` counts from the start of the part; None for a dry-run."""

    floor: str
    n: int
    requests: int
    seconds: float
    cpu_s: float
    settled: float | None = None


@dataclass(frozen=True, slots=True)
class Floor:
    """Seconds below which no phase can go."""

    first: float
    push: float
    rows: tuple[Row, ...]


def objects(namespace: str, i: int, tag: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The three objects of app `i` and the paths they are applied to."""
    name = f"app-{i}"
    metadata = {"name": name}
    yield (
        f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}",
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
    )
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    yield (
        f"/api/v1/namespaces/{namespace}/services/{name}",
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": {"app": name}, "ports": ports},
        },
    )
    container = {"name": "app", "image": f"registry.example/app:{tag}", "resources": {"requests": {"cpu": "100m"}}}
    yield (
        f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}",
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
            },
        },
    )


async def measure(server: Server, n: int) -> AsyncIterator[Row]:
    """Each part of the floor as it is known, in a fresh namespace that is deleted at the end."""
    # A namespace of a reused name costs the server a live look-up per write for half a minute.
    namespace = f"floor-{time.time_ns() // 1_000_000 % 10_000_000}"
    await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}, kind=JSON)
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"

    async def part(name: str, tag: str, *, dry: bool, only_deployments: bool = False) -> Row:
        query = "?fieldManager=floor&force=true" + ("&dryRun=All" if dry else "")
        jobs = [
            partial(server.call, "PATCH", path + query, json.dumps(body).encode(), kind=APPLY)
            for i in range(n)
            for path, body in objects(namespace, i, tag)
            if not only_deployments or path.startswith(deployments)
        ]
        cpu, start = _cpu_s(), time.monotonic()
        await all_of(jobs)
        seconds, cpu = time.monotonic() - start, _cpu_s() - cpu
        while not dry and not await _settled(server, deployments):
            await asyncio.sleep(_SETTLE_POLL_S)
        settled = None if dry else round(time.monotonic() - start, 2)
        return Row(name, n, len(jobs), round(seconds, 2), round(cpu, 2), settled)

    yield await part("first dry", "1", dry=True)
    yield await part("first apply", "1", dry=False)
    yield await part("push dry", "2", dry=True, only_deployments=True)
    yield await part("push apply", "2", dry=False, only_deployments=True)
    yield await part("noop apply", "2", dry=False)
    await server.call("DELETE", f"/api/v1/namespaces/{namespace}")
    # Its removal keeps the server busy for seconds: whatever is measured next must not pay for it.
    while await server.call("GET", f"/api/v1/namespaces/{namespace}") is not None:
        await asyncio.sleep(_SETTLE_POLL_S)


def summary(rows: list[Row]) -> Floor:
    """The floor of each phase that has one."""
    by_name = {row.floor: row for row in rows}
    return Floor(
        first=round(by_name["first dry"].seconds + (by_name["first apply"].settled or 0), 2),
        push=round(by_name["push dry"].seconds + (by_name["push apply"].settled or 0), 2),
        rows=tuple(rows),
    )


async def _settled(server: Server, deployments: str) -> bool:
    items = (await server.call("GET", deployments))["items"]
    return all(item.get("status", {}).get("observedGeneration") == item["metadata"]["generation"] for item in items)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _main(n: int, kubeconfig: Path) -> None:
    async with connect(kubeconfig) as server:
        async for row in measure(server, n):
            print(json.dumps({name: value for name, value in asdict(row).items() if value is not None}), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2])))
