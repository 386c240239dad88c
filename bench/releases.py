"""The benchmark of releases: `python -m bench.releases`. Everything it needs it starts, everything it starts it ends.

N HelmReleases of one chart from a git repository. The phases, in order:

first   all are created, until all are Ready; `applied_s` is when the last of their objects was there
noop    a reconcile of every release is asked for, until all have echoed the request
idle    nothing happens for ten seconds

The floor is what no controller can do without, by bare requests on the same server, before the phases and after them:
the objects as dry-run and for real, the record of each release created and settled, two writes of its status; then
until all Deployments are available, which is the work of the control plane. Programs of helm are not in it.
"""

import argparse
import asyncio
import base64
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.measure import Measure, Phase, consumption
from bench.run import HERE, Bench, machine, say, started
from bench.server import APPLY, JSON, MERGE, Refused, Server, all_of, connect
from trimtab.base import process
from trimtab.manifests.yaml import load
from trimtab.toolchain import binaries

CHART = HERE.parents[1] / "shared" / "realworld" / "podinfo" / "charts" / "podinfo"
FIRST_S, NOOP_S, MEMORY_MIB = 60.0, 2.5, 200
_IDLE_S = 10.0
_POLL_S = 0.2
_RECORD_BYTES = 32_000
"""About what podinfo's takes in a Secret, before it is base64 once more."""
_COUNTED = re.compile(r"^trimtab_(?:helm_runs|api_requests)_total(\{.*\})? (\S+)$", re.MULTILINE)
_VERB = re.compile(r'verb="(\w+)"')
_PLURALS = {"Deployment": "deployments", "Service": "services"}
_STATUS = {
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Floor",
            "message": "as good as it gets",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ]
}


@dataclass(frozen=True, slots=True)
class Floor:
    """Seconds until everything is written, and until all Deployments are available."""

    written_s: float
    settled_s: float


@dataclass(frozen=True, slots=True)
class Cost:
    """One phase. `cpu_s` is ours, `children_cpu_s` that of the programs we ran, `helm` the number of those of helm.

    `ours` are the requests of our process by verb, Events and opened watches among them; what the phase counts are
    those of everybody, as the server sees them.
    """

    phase: Phase
    helm: int
    cpu_s: float
    children_cpu_s: float
    ours: dict[str, int]
    applied_s: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Everything; `first_of_floor` is the ratio to the lower of the two floors."""

    n: int
    before: Floor
    after: Floor
    costs: tuple[Cost, ...]
    first_of_floor: float
    peak_mib: float
    missed: tuple[str, ...]
    machine: dict[str, Any]


class Releases(Measure):
    """The phases. Peak memory is our process's own: what it starts is not in it."""

    def __init__(self, server: Server, bench: Bench, n: int, *, timeout_s: float, one_chart: bool) -> None:
        super().__init__(server, bench.repository, bench.url, n, pids=[bench.pid], timeout_s=timeout_s)
        self._apps = f"/apis/helm.toolkit.fluxcd.io/v2/namespaces/{self.namespace}/helmreleases"
        self._charts = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{self.namespace}/helmcharts"
        self._one_chart = one_chart
        self._bench = bench

    async def measure(self) -> list[Cost]:
        """All phases."""
        await self._server.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}}, kind=JSON)
        token = str(time.time_ns())
        watching = asyncio.ensure_future(self._applied())
        first = await self._cost(self._phase("first", self._create, _as_wished))
        return [
            replace(first, applied_s=round(await watching, 2)),
            await self._cost(self._phase("noop", partial(self._ask_all, token), partial(_echoed, token))),
            await self._cost(self._idle()),
        ]

    async def _idle(self) -> Phase:
        (cpu, _), counters = consumption(self._pids), await self._server.counters()
        self._server.sent.clear()
        await asyncio.sleep(_IDLE_S)
        cpu_after, rss = consumption(self._pids)
        requests = await self._server.counters() - counters - self._server.sent
        per_app = round(requests.total() / self._n, 2)
        return Phase(
            "idle", self._n, self._n, _IDLE_S, 0.0, round(cpu_after - cpu, 1), round(rss), per_app, dict(requests)
        )

    async def _cost(self, phase: Coroutine[Any, Any, Phase]) -> Cost:
        """A phase, and what it cost besides."""
        before, (own, children) = await self._counted(), _cpu(self._bench.pid)
        done = await phase
        own_after, children_after = _cpu(self._bench.pid)
        ours = await self._counted() - before
        runs = ours.pop("helm", 0)
        cost = Cost(done, runs, round(own_after - own, 1), round(children_after - children, 1), dict(ours))
        say(json.dumps(asdict(cost)))
        return cost

    async def _counted(self) -> Counter[str]:
        """What our process tells of itself: its requests by verb, and the programs of helm that it began."""
        counts: Counter[str] = Counter()
        async with self._server.session.get(self._bench.metrics / "metrics") as response:
            text = await response.text()
        for labels, number in _COUNTED.findall(text):
            verb = _VERB.search(labels)
            counts[verb[1] if verb else "helm"] += int(float(number))
        return counts

    async def _applied(self) -> float:
        """Seconds until the objects of all releases are there."""
        began = time.monotonic()

        async def all_there(group: str, plural: str) -> None:
            names: set[str] = set()
            async for event in self._server.watch(f"{group}/namespaces/{self.namespace}/{plural}", ""):
                if event["type"] == "ADDED":
                    names.add(event["object"]["metadata"]["name"])
                if len(names) >= self._n:
                    return

        async with asyncio.timeout(self._timeout_s):
            await asyncio.gather(all_there("/apis/apps/v1", "deployments"), all_there("/api/v1", "services"))
        return time.monotonic() - began

    async def _create(self) -> None:
        source = {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": "bench"},
            "spec": {"url": self._url, "ref": {"branch": "main"}, "interval": "60m"},
        }
        await self._server.call("POST", self._sources, source, kind=JSON)
        chart = {"chart": "chart", "sourceRef": {"kind": "GitRepository", "name": "bench"}}
        wish: dict[str, Any] = {"chart": {"spec": chart}}
        if self._one_chart:
            meta = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmChart", "metadata": {"name": "bench"}}
            await self._server.call("POST", self._charts, {**meta, "spec": {**chart, "interval": "60m"}}, kind=JSON)
            wish = {"chartRef": {"kind": "HelmChart", "name": "bench"}}
        await all_of(
            partial(self._server.call, "POST", self._apps, _release(f"app-{i}", wish), kind=JSON)
            for i in range(self._n)
        )


async def _until_served(server: Server) -> None:
    """A kind is listed a moment before it is served."""
    while True:
        try:
            await server.call("GET", "/apis/helm.toolkit.fluxcd.io/v2/helmreleases")
            return
        except Refused:
            await asyncio.sleep(_POLL_S)


async def floored(server: Server, n: int, manifest: str) -> Floor:
    """The floor as it is now, in a namespace of its own that is deleted at the end."""
    namespace = f"floor-{time.time_ns() // 1_000_000 % 10_000_000}"
    await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}, kind=JSON)
    bodies = [
        body
        for document in load(manifest.encode(), "chart", dialect="kubernetes")
        if (body := document.value) and "helm.sh/hook" not in (body["metadata"].get("annotations") or {})
    ]
    began = time.monotonic()
    await all_of(partial(_floor_of, server, namespace, f"app-{i}", json.dumps(bodies)) for i in range(n))
    written = time.monotonic() - began
    while not await _available(server, namespace):
        await asyncio.sleep(_POLL_S)
    floor = Floor(round(written, 2), round(time.monotonic() - began, 2))
    await server.call("DELETE", f"/api/v1/namespaces/{namespace}")
    while await server.call("GET", f"/api/v1/namespaces/{namespace}") is not None:
        await asyncio.sleep(_POLL_S)
    say(f"floor: {floor}")
    return floor


async def _floor_of(server: Server, namespace: str, name: str, bodies: str) -> None:
    """What has to be written of one release. It is suspended, so that nobody else writes."""
    releases = f"/apis/helm.toolkit.fluxcd.io/v2/namespaces/{namespace}/helmreleases"
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    chart = {"spec": {"chart": "chart", "sourceRef": {"kind": "GitRepository", "name": "bench"}}}
    await server.call("POST", releases, _release(name, {"chart": chart, "suspend": True}), kind=JSON)
    await server.call("PATCH", f"{releases}/{name}/status", {"status": {"observedGeneration": 1}})
    data = {"release": base64.b64encode(base64.b64encode(os.urandom(_RECORD_BYTES * 3 // 4))).decode()}
    record = {"metadata": {"name": f"record.{name}"}, "type": "helm.sh/release.v1", "data": data}
    for number, rehearsal in enumerate(("&dryRun=All", "")):
        if number:
            await server.call("POST", secrets, record, kind=JSON)
        for body in json.loads(bodies.replace("bench-release", name)):
            body["metadata"].pop("namespace", None)
            group = "/api/v1" if body["apiVersion"] == "v1" else f"/apis/{body['apiVersion']}"
            path = f"{group}/namespaces/{namespace}/{_PLURALS[body['kind']]}/{body['metadata']['name']}"
            await server.call("PATCH", f"{path}?fieldManager=floor&force=true{rehearsal}", body, kind=APPLY)
    await server.call("PATCH", f"{secrets}/record.{name}", {"data": data}, kind=MERGE)
    await server.call("PATCH", f"{releases}/{name}/status", {"status": _STATUS})


async def _available(server: Server, namespace: str) -> bool:
    items = (await server.call("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments"))["items"]
    return all((item.get("status") or {}).get("availableReplicas") for item in items)


def _release(name: str, wish: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": name},
        "spec": {"interval": "60m", "timeout": "10m", **wish},
    }


def _as_wished(item: dict[str, Any]) -> bool:
    status = item.get("status") or {}
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    return conditions.get("Ready") == "True" and status.get("observedGeneration") == item["metadata"]["generation"]


def _echoed(token: str, item: dict[str, Any]) -> bool:
    return (item.get("status") or {}).get("lastHandledReconcileAt") == token and _as_wished(item)


def _cpu(pid: int) -> tuple[float, float]:
    """CPU seconds of a process, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    own, tick = sum(map(int, fields[11:13])), os.sysconf("SC_CLK_TCK")
    return own / tick, sum(map(int, fields[13:15])) / tick


async def rendered(chart: Path) -> str:
    """What the chart is with its own values, by the real helm."""
    helm = (await binaries.ensure("render", progress=say))["helm"]
    argv: list[str | Path] = [helm, "template", "bench-release", chart]
    done = await process.run(argv, env={"HOME": "/nonexistent", "PATH": os.environ["PATH"]})
    if done.code:
        raise RuntimeError(done.stderr.decode(errors="replace"))
    return done.stdout.decode()


def missed(costs: list[Cost], peak_mib: float) -> tuple[str, ...]:
    """The budgets that were missed, in words."""
    found = [f"{one.phase.phase}: {one.phase.done} of {one.phase.n}" for one in costs if one.phase.done < one.phase.n]
    first, noop, idle = costs
    if first.phase.seconds > FIRST_S:
        found.append(f"first: {first.phase.seconds:g} s, budget {FIRST_S:g} s")
    if noop.phase.seconds > NOOP_S:
        found.append(f"noop: {noop.phase.seconds:g} s, budget {NOOP_S:g} s")
    found += [f"{one.phase.phase}: {one.helm} runs of helm, budget 0" for one in (noop, idle) if one.helm]
    if peak_mib > MEMORY_MIB:
        found.append(f"memory: {peak_mib:.0f} MiB, budget {MEMORY_MIB} MiB")
    return tuple(found)


async def main(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    n, chart = arguments.n, arguments.chart
    manifest = await rendered(chart)
    files = {f"chart/{path.relative_to(chart)}": path.read_text() for path in chart.rglob("*") if path.is_file()}
    async with started(0, None, kwok=True) as bench, connect(bench.kubeconfig) as server:
        await bench.repository.write(files, "chart")
        await _until_served(server)
        await floored(server, 30, manifest)  # the first writes of a fresh server are slow, whoever makes them
        before = await floored(server, n, manifest)
        run = Releases(server, bench, n, timeout_s=arguments.timeout, one_chart=arguments.one_chart)
        costs = await run.measure()
        _, peak = consumption([bench.pid])
        after = await floored(server, n, manifest)
    ratio = costs[0].phase.seconds / min(before.settled_s, after.settled_s)
    lost = missed(costs, peak)
    result = Result(n, before, after, tuple(costs), round(ratio, 2), round(peak, 1), lost, machine())
    print(json.dumps(asdict(result), indent=2))
    for line in lost:
        print(f"missed: {line}")
    return 2 if lost and arguments.strict else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.releases", description=__doc__)
    parser.add_argument("--n", type=int, default=300, help="HelmReleases (300)")
    parser.add_argument("--chart", type=Path, default=CHART, help="a chart of Deployments and Services (podinfo's)")
    parser.add_argument("--one-chart", action="store_true", help="all refer to one HelmChart, instead of each its own")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds a phase may take (900)")
    parser.add_argument("--strict", action="store_true", help="exit with 2 when a budget is missed")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parser().parse_args())))
