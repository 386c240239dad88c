"""The benchmark of many apps at rest: `python -m bench.steady`. Everything it needs it starts, and ends.

The parts, in this order, on one control plane with N apps of three objects each:

empty    resident memory with nothing to do
memory   the same with N apps, all Ready
idle     CPU share of one core, requests a second beside the Leases, and objects whose version moved, over an interval
drift    how long until a Deployment that was scaled by hand is scaled back
growth   memory while every app is reconciled again and again
start    the controllers end and start anew: seconds until they are ready and quiet, and what they wrote meanwhile

What the other parts of the control plane ask for by themselves is measured before, and left out.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench import drift, measure, rows
from bench.run import Ground, ground, machine, say
from bench.server import Server, connect

T = TypeVar("T")

PARTS = ("empty", "memory", "idle", "drift", "growth", "start")
_SETTLE_S = 15.0
_QUIET_SHARE = 0.05
_QUIET_S = 3.0
_LOOK_S = 0.25
_START_PATIENCE_S = 120.0
_TRIALS = 100
# The port is another one after each start: artifacts are to have the same address all the same.
_ADDRESS = ("--storage-adv-addr", "127.0.0.1:9790")
_KINDS = (
    "apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{}/kustomizations",
    "apis/source.toolkit.fluxcd.io/v1/namespaces/{}/gitrepositories",
    "apis/apps/v1/namespaces/{}/deployments",
    "api/v1/namespaces/{}/services",
    "api/v1/namespaces/{}/serviceaccounts",
)


@dataclass(slots=True)
class Steady:
    """One run over one control plane. `noise` is what is asked for each second without us, by kind of request."""

    below: Ground
    server: Server
    n: int
    arguments: argparse.Namespace
    noise: tuple[float, float] = (0.0, 0.0)
    figures: list[rows.Row] = field(default_factory=list)

    def say(self, part: str, figure: str, value: float, unit: str, goal: float | None = None) -> None:
        """Take a figure down."""
        row = rows.Row(part, self.n, figure, round(value, 3), unit, goal)
        say(str(row))
        self.figures.append(row)

    async def run(self, parts: frozenset[str]) -> None:
        """Those of the parts."""
        self.noise = await self._rates(20.0)
        async with self.below.controllers(*_ADDRESS) as running:
            pid = running.pid
            if "empty" in parts:
                await asyncio.sleep(_SETTLE_S)
                self.say("empty", "memory", measure.resident_mib(pid), "MiB", 80)
            if parts == {"empty"}:
                return
            run = measure.Measure(
                self.server,
                self.below.repository,
                self.below.url,
                self.n,
                pids=[pid],
                timeout_s=3600,
                interval=self.arguments.interval,
            )
            async for phase in run.run(["first"]):
                assert isinstance(phase, measure.Phase)
                self.say("first", "seconds", phase.seconds, "s")
                self.say("first", "CPU", phase.cpu_s, "s")
                if phase.done < self.n:
                    raise SystemExit(f"only {phase.done} of {self.n} apps are Ready")
            await asyncio.sleep(_SETTLE_S)
            if "memory" in parts:
                self.say("memory", "memory", measure.resident_mib(pid), "MiB", 150 if self.n <= 1000 else 500)
                self.say("memory", "peak", measure.consumption([pid])[1], "MiB")
            if "idle" in parts:
                await self._idle(pid, run.namespace)
            if "drift" in parts:
                await self._drift(run.namespace)
            if "growth" in parts:
                await self._growth(pid, run)
        if "start" in parts:
            await self._start(run.namespace)

    async def _idle(self, pid: int, namespace: str) -> None:
        """What is used and asked for over a whole interval: the looks of all apps lie close together in it."""
        versions = await self._versions(namespace)
        share, (requests, leases) = await _share(pid, self._rates(self.arguments.idle))
        self.say("idle", "share of a core", share * 100, "%", 2)
        self.say("idle", "requests beside Leases", max(requests - self.noise[0], 0.0), "/s", 1)
        self.say("idle", "requests of Leases", max(leases - self.noise[1], 0.0), "/s")
        moved = _moved(versions, await self._versions(namespace))
        self.say("idle", "objects written", len(moved), "", 0)

    async def _drift(self, namespace: str) -> None:
        times = sorted([await drift.undone(self.server, namespace, trial % self.n) for trial in range(_TRIALS)])
        self.say("drift", "p50", times[len(times) // 2], "s")
        self.say("drift", "p95", times[int(len(times) * 0.95) - 1], "s", 0.2)

    async def _growth(self, pid: int, run: measure.Measure) -> None:
        """Memory after the first thousands, when all that is kept for each app is there, and after the last."""
        rounds = max(self.arguments.reconciles // self.n, 2)
        early, cpu = 0.0, measure.consumption([pid])[0]
        for number in range(rounds):
            await run.asked()
            if number == max(rounds // 5 - 1, 0):
                early = measure.resident_mib(pid)
        await asyncio.sleep(_SETTLE_S)
        done = rounds * self.n
        self.say("growth", f"memory over {done} reconciles", measure.resident_mib(pid) - early, "MiB", 5)
        self.say("growth", "CPU for each reconcile", (measure.consumption([pid])[0] - cpu) / done * 1000, "ms")

    async def _start(self, namespace: str) -> None:
        versions, began = await self._versions(namespace), time.monotonic()
        async with self.below.controllers(*_ADDRESS) as running:
            self.say("start", "ready", time.monotonic() - began, "s")
            quiet = await _quiet(running.pid, began)
            self.say("start", "ready and quiet", quiet, "s", 10)
            self.say("start", "CPU", measure.consumption([running.pid])[0], "s")
            await asyncio.sleep(_SETTLE_S)
            moved = _moved(versions, await self._versions(namespace))
            say(f"written: {moved[:5]}")
            self.say("start", "objects written", len(moved), "", 0)
            self.say("start", "memory", measure.resident_mib(running.pid), "MiB")

    async def _rates(self, seconds: float) -> tuple[float, float]:
        """Requests a second that the server saw and we did not send: beside Leases, and of Leases."""
        self.server.sent.clear()
        before = await self.server.counters(), await self.server.counters(leases=True)
        await asyncio.sleep(seconds)
        after = await self.server.counters(), await self.server.counters(leases=True)
        others = (after[0] - before[0] - self.server.sent).total()
        return others / seconds, (after[1] - before[1]).total() / seconds

    async def _versions(self, namespace: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for kind in _KINDS:
            path = "/" + kind.format(namespace)
            for item in (await self.server.call("GET", path))["items"]:
                found[f"{path}/{item['metadata']['name']}"] = item["metadata"]["resourceVersion"]
        return found


def _moved(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]


async def _share(pid: int, meanwhile: Awaitable[T]) -> tuple[float, T]:
    """What the process takes of a core, and what was done meanwhile."""
    (cpu, _), began = measure.consumption([pid]), time.monotonic()
    done = await meanwhile
    return (measure.consumption([pid])[0] - cpu) / (time.monotonic() - began), done


async def _quiet(pid: int, began: float) -> float:
    """Seconds since `began` after which the process had nothing to do for a while."""
    since, (cpu, _) = time.monotonic(), measure.consumption([pid])
    while time.monotonic() - began < _START_PATIENCE_S:
        await asyncio.sleep(_LOOK_S)
        now, (used, _) = time.monotonic(), measure.consumption([pid])
        if (used - cpu) / max(now - since, _LOOK_S) > _QUIET_SHARE:
            since, cpu = now, used
        elif now - since >= _QUIET_S:
            return since - began
    return time.monotonic() - began


async def measured(arguments: argparse.Namespace) -> rows.Table:
    """All rows of one run."""
    if "drift" in arguments.parts.split(",") and arguments.n < _TRIALS:
        raise SystemExit(f"--parts drift needs --n {_TRIALS}: who changes one field again and again is yielded to")
    async with ground(arguments.n) as below, connect(below.kubeconfig) as server:
        run = Steady(below, server, arguments.n, arguments)
        await run.run(frozenset(arguments.parts.split(",")))
    return rows.Table("steady", machine(), run.figures)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bench.steady", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1000, help="apps of three objects (1000)")
    parser.add_argument("--parts", default=",".join(PARTS), help=",".join(PARTS))
    parser.add_argument("--idle", type=float, default=310.0, help="seconds to look on, more than an interval (310)")
    parser.add_argument("--interval", default="5m", help="of every app (5m)")
    parser.add_argument("--reconciles", type=int, default=10_000, help="for growth (10000)")
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(rows.finish(asyncio.run(measured(parser().parse_args())), parser().parse_args().json))
