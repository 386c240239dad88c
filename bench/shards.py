"""The benchmark of shards: `python -m bench.shards`. Everything it needs it starts, everything it starts it ends.

Two processes share N apps by the label `sharding.fluxcd.io/key`, and the source is one of the first; a third stands by
for the second. The apps converge (`first`, `push`, `noop`, as bench.run has them, CPU and memory of all processes
together). Then the second is killed (SIGKILL) and an object of one of its apps is changed by hand at once: how long
until the standby holds its Lease, and until the change is undone.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench import floor, measure, report
from bench.run import RESULTS, floored, machine, say
from bench.server import JSON, Server, all_of, connect
from trimtab.api import names, shards
from trimtab.base.http import AiohttpTransport
from trimtab.cli import local
from trimtab.cluster.gitserver import GitServer
from trimtab.cluster.plane import ControlPlane
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.toolchain import binaries

GOAL_S = 20.0
_NAMESPACE = "flux-system"
_SHARDS = ("one", "two")
_WARM_UP_N = 30
_PATIENCE_S = 120.0


class Split(measure.Measure):
    """The same apps, every other one of the second shard."""

    def _kustomization(self, i: int) -> dict[str, Any]:
        body = super()._kustomization(i)
        body["metadata"]["labels"] = {names.SHARD_LABEL: _SHARDS[i % 2]}
        return body

    async def _create(self) -> None:
        source = {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": "bench", "namespace": self.namespace, "labels": {names.SHARD_LABEL: _SHARDS[0]}},
            "spec": {"url": self._url, "ref": {"branch": "main"}, "interval": "60m"},
        }
        await self._server.call("POST", self._sources, source, kind=JSON)
        await all_of(
            partial(self._server.call, "POST", self._apps, self._kustomization(i), kind=JSON) for i in range(self._n)
        )


async def main(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    control = await binaries.ensure("controlplane", progress=say)
    await binaries.ensure("render", progress=say)
    n: int = arguments.n
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-bench-")))
        plane = await stack.enter_async_context(ControlPlane(directory / "cluster", kwok=False, binaries=control))
        git = await stack.enter_async_context(GitServer(directory / "served"))
        repository = measure.Repository(directory / "work", await git.create("bench"), n)
        await repository.create()
        transport = AiohttpTransport()
        stack.push_async_callback(transport.close)
        await local.furnish(Client(config.load(plane.kubeconfig), transport), _NAMESPACE)
        pids: list[int] = []
        for name, shard in (*((one, one) for one in _SHARDS), ("standby", _SHARDS[1])):
            chosen = ("--watch-label-selector", shards.selector_of(shard))
            running = local.controllers(plane.kubeconfig, directory / name, transport, arguments=chosen)
            pids.append((await stack.enter_async_context(running)).pid)
        server = await stack.enter_async_context(connect(plane.kubeconfig))
        async for _ in floor.measure(server, _WARM_UP_N):
            pass
        before = await floored(server, n)
        run = Split(server, repository, git.url("bench"), n, pids=pids, timeout_s=arguments.timeout)
        phases: list[measure.Phase | measure.Drift] = []
        async for phase in run.run(("first", "push", "noop")):
            say(json.dumps(asdict(phase)))
            phases.append(phase)
        memory = [round(measure.consumption([pid])[1], 1) for pid in pids]
        taken, corrected = await _take_over(server, run.namespace, pids[1])
        after = await floored(server, n)
    figures = report.Run(n, before, after, tuple(phases), processes=len(pids))
    print("\n" + report.table([figures]) + "\n")
    print(f"peak memory of the two and the standby: {', '.join(f'{mib:.0f}' for mib in memory)} MiB")
    print(f"killed: the Lease was taken over after {taken:.1f} s, the first correction came after {corrected:.1f} s")
    told = report.result([figures], machine=machine(), moment=datetime.now(UTC))
    told |= {"shards": len(_SHARDS), "memory_mib": memory, "taken_over_s": taken, "corrected_s": corrected}
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / f"shards-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(told, indent=2) + "\n")
    print(f"written to {path}")
    return 0 if corrected <= GOAL_S else 2


async def _take_over(server: Server, namespace: str, pid: int) -> tuple[float, float]:
    """Kill the process; seconds until another holds its Lease, and until a change by hand is undone."""
    lease = shards.lease_name(names.KUSTOMIZE_LEASE, shards.selector_of(_SHARDS[1]))
    path = f"/apis/coordination.k8s.io/v1/namespaces/{_NAMESPACE}/leases/{lease}"
    before = (await server.call("GET", path))["spec"]["holderIdentity"]
    os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/app-1"
    await server.call("PATCH", deployment, {"spec": {"replicas": 3}})
    taken = 0.0
    while (waited := time.monotonic() - begin) < _PATIENCE_S:
        if not taken and (await server.call("GET", path))["spec"]["holderIdentity"] != before:
            taken = waited
        if (await server.call("GET", deployment))["spec"]["replicas"] == 0:
            break
        await asyncio.sleep(0.05)
    return round(taken, 2), round(waited, 2)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.shards", description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="number of apps (1000)")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds a phase may take (900)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go (bench/results)")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parser().parse_args())))
