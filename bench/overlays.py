"""The benchmark of overlays: `python -m bench.overlays`. Everything it needs it starts, everything it starts it ends.

One repository holds one base of three objects and N overlays of it, each with a patch of its own. The phases, in order:

first    N Kustomizations and their source are created, until all are Ready
base     a commit changes the base, until all are Ready on it
overlay  a commit changes one overlay, until that app is Ready on it
beside   a commit changes a file that no overlay reads, until all are at that revision
noop     a reconcile of every app is asked for, until all have echoed the request

Builds are the processes of kustomize, counted by the controllers. The floor is that of bench/floor.py for as many apps
of plain manifests: kustomize is not in it, so `build_s` says what one build takes by itself.
"""

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Coroutine, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench import floor, measure
from bench.process import cpu, watched, write
from bench.report import Run
from bench.run import HERE, Bench, floored, machine, say, started
from bench.server import JSON, Server, connect
from trimtab.base import process
from trimtab.toolchain import binaries

FIRST_S = 25.0
_WARM_UP_N = 30
_ALONE_BUILDS = 10
_COUNTED = re.compile(r"^trimtab_kustomize_runs_total (\S+)$", re.MULTILINE)
_CHOSEN = 0
_BASE = "overlays/base/app.yaml"
_OVERLAY = """apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namePrefix: {name}-
resources: [../base]
patches:
- target: {{kind: Deployment}}
  path: patch.yaml
"""
_PATCH = """- op: add
  path: /spec/template/metadata/annotations
  value: {{tag: "{tag}"}}
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """One phase, how many builds it took, and the CPU seconds of the controllers and of the builds they ran."""

    phase: measure.Phase
    builds: int
    cpu_s: float
    builds_cpu_s: float


class Overlays(measure.Measure):
    """The phases."""

    def __init__(self, server: Server, bench: Bench, n: int, *, timeout_s: float) -> None:
        super().__init__(server, bench.repository, bench.url, n, pids=[bench.pid], timeout_s=timeout_s)
        self._bench = bench

    async def measure(self) -> list[Cost]:
        """All phases."""
        await self._server.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}}, kind=JSON)
        commit = await self._repository.write(files(self._n), "overlays")
        costs = [await self._cost("first", self._create, partial(measure.ready, commit))]
        commit = await self._repository.write({_BASE: base("2")}, "the base")
        costs.append(await self._cost("base", self._poke, partial(measure.ready, commit)))
        commit = await self._repository.write(overlay(_CHOSEN, "2"), "one overlay")
        name = f"app-{_CHOSEN}"
        one = partial(_ready_if_named, name, commit)
        costs.append(await self._cost("overlay", self._poke, one))
        commit = await self._repository.write({"README.md": "Nobody reads this.\n"}, "none of them")
        costs.append(await self._cost("beside", self._poke, partial(measure.ready, commit)))
        token = str(time.time_ns())
        costs.append(await self._cost("noop", partial(self._ask_all, token), partial(measure.echoed, token, commit)))
        return costs

    def _kustomization(self, i: int) -> dict[str, Any]:
        body = super()._kustomization(i)
        body["spec"]["path"] = f"./overlays/app-{i}"
        return body

    async def _cost(self, name: str, start: Any, good: Any) -> Cost:
        phase: Coroutine[Any, Any, measure.Phase] = self._phase(name, start, good)
        before, (own, children) = await self._builds(), cpu(self._bench.pid)
        done = await phase
        own_after, children_after = cpu(self._bench.pid)
        builds = await self._builds() - before
        cost = Cost(done, builds, round(own_after - own, 1), round(children_after - children, 1))
        say(json.dumps(asdict(cost)))
        return cost

    async def _builds(self) -> int:
        async with self._server.session.get(self._bench.metrics / "metrics") as response:
            found = _COUNTED.search(await response.text())
        return int(float(found[1])) if found else 0


def _ready_if_named(name: str, commit: str, app: dict[str, Any]) -> bool:
    return bool(app["metadata"]["name"] != name or measure.ready(commit, app))


def files(n: int) -> dict[str, str]:
    """The base and all overlays, by path."""
    found = {_BASE: base("1"), "overlays/base/kustomization.yaml": "resources: [app.yaml]\n"}
    for i in range(n):
        found |= overlay(i, "1")
    return found


def base(tag: str) -> str:
    """What all overlays have in common."""
    return measure.APP.format(name="app", tag=tag)


def overlay(i: int, tag: str) -> dict[str, str]:
    """One of the overlays."""
    place = f"overlays/app-{i}"
    return {
        f"{place}/kustomization.yaml": _OVERLAY.format(name=f"app-{i}"),
        f"{place}/patch.yaml": _PATCH.format(tag=tag),
    }


def missed(costs: list[Cost], n: int) -> list[str]:
    """The budgets that were not kept, each as a sentence."""
    found = [f"{one.phase.phase}: {one.phase.done} of {n}" for one in costs if one.phase.done < n]
    builds = {"first": n, "base": n, "overlay": 1, "beside": 0, "noop": 0}
    for one in costs:
        wanted = builds[one.phase.phase]
        if one.builds != wanted:
            found.append(f"{one.phase.phase}: {one.builds} builds, {wanted} are needed")
    if n <= 300 and costs[0].phase.seconds > FIRST_S:
        found.append(f"first: {costs[0].phase.seconds:g} s, budget {FIRST_S:g} s")
    return found


async def build_alone() -> float:
    """Seconds that one build of an overlay takes, with nothing around it."""
    kustomize = (await binaries.ensure("render", progress=say))["kustomize"]
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as directory:
        for name, text in files(1).items():
            path = Path(directory) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        began = time.monotonic()
        for _ in range(_ALONE_BUILDS):
            argv: list[str | Path] = [kustomize, "build", f"{directory}/overlays/app-0"]
            done = await process.run(argv, env={"HOME": "/nonexistent", "PATH": os.environ["PATH"]})
            if done.code:
                raise RuntimeError(done.stderr.decode(errors="replace"))
        return (time.monotonic() - began) / _ALONE_BUILDS


async def main(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    n = arguments.n
    async with started(0, arguments.concurrent) as bench, connect(bench.kubeconfig) as server:
        async for _ in floor.measure(server, _WARM_UP_N):
            pass  # the first writes of a fresh server are slow, whoever makes them
        before = await floored(server, n)
        async with watched(bench.pid) as peak:
            costs = await Overlays(server, bench, n, timeout_s=arguments.timeout).measure()
        build_s = await build_alone()
        after = await floored(server, n)
    run = Run(n, before, after, ())
    lost = missed(costs, n)
    result: Mapping[str, Any] = {
        "bench": "overlays",
        "moment": datetime.now(UTC).isoformat(timespec="seconds"),
        "n": n,
        "floor": {"before": asdict(before), "after": asdict(after), "steady": run.steady},
        "first_of_floor": round(costs[0].phase.seconds / (run.floor("first") or 1), 2),
        "base_of_floor": round(costs[1].phase.seconds / (run.floor("push") or 1), 2),
        "build_s": round(build_s, 3),
        "memory_mib": asdict(peak),
        "costs": [asdict(cost) for cost in costs],
        "missed": lost,
        "machine": machine(),
    }
    print(json.dumps(result, indent=2))
    print(f"written to {write(result, arguments.results, 'overlays')}")
    for line in lost:
        print(f"missed: {line}")
    return 2 if lost and arguments.strict else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.overlays", description=__doc__)
    parser.add_argument("--n", type=int, default=300, help="overlays (300)")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds a phase may take (900)")
    parser.add_argument("--concurrent", type=int, help="workers of the controllers (their own default)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where the figures go (bench/results)")
    parser.add_argument("--strict", action="store_true", help="exit with 2 when a budget is missed")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parser().parse_args())))
