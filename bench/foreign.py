"""The benchmark of objects that nobody manages: `python -m bench.foreign`. Everything it needs it starts, and ends.

Ten thousand of them, of the kinds that we apply, come and go beside N apps of three objects each: what does that change
for the controllers? The same passes cost up to half as much again from one minute to the next, whatever is in the
cluster, where cores have neighbours. So there is a twin: the same apps and controllers on a control plane of their own,
at the same time. The objects are beside ours, then beside the twin, in turns, and what ours takes is measured by what
the twin takes in the same stretch of time:

memory       resident at the end of the first stretch beside them, and of the one before, without them on either side
at rest      CPU over a stretch of some intervals; they are short, so that it has thousands of passes
a reconcile  CPU while a reconcile of every app is asked for, on both sides at once
drift        how long until a Deployment that was scaled by hand is scaled back, beside them
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import mean, variance
from typing import NamedTuple

from bench import drift, measure, rows
from bench.run import ground, machine, say
from bench.server import Server, connect

_FOREIGN = 10_000
_GOAL_PERCENT = 5.0
_DRIFT_GOAL_S = 0.2
_TRIALS = 100
_SETTLE_S = 15.0


class Side(NamedTuple):
    """A control plane with N apps, and the process that keeps them."""

    server: Server
    run: measure.Measure
    pid: int

    def cpu_s(self) -> float:
        """CPU seconds so far."""
        return measure.consumption([self.pid])[0]


class Pair(NamedTuple):
    """What ours and the twin took of the same in the same stretch of time."""

    ours: float
    twin: float

    @property
    def ratio(self) -> float:
        """How many times what the twin took."""
        return self.ours / self.twin


class Stretch(NamedTuple):
    """Resident MiB at the end, CPU at rest in % of a core, and ms of CPU for each reconcile."""

    memory: Pair
    rest: Pair
    reconcile: Pair


def change(beside_ours: Sequence[Pair], beside_twin: Sequence[Pair]) -> tuple[float, float]:
    """How much more the objects make a side take, in percent; and the standard error of that.

    They raise the ratio of ours to the twin in the one half of the stretches and lower it in the other: what is between
    the two means is their effect twice. There have to be two of each.
    """
    high, low = [pair.ratio for pair in beside_ours], [pair.ratio for pair in beside_twin]
    once = (mean(high) / mean(low)) ** 0.5
    spread = sum(variance(ratios) / len(ratios) / mean(ratios) ** 2 for ratios in (high, low))
    return (once - 1) * 100, once * spread**0.5 / 2 * 100


async def measured(arguments: argparse.Namespace) -> rows.Table:
    """All rows of one run."""
    n: int = arguments.n
    figures: list[rows.Row] = []

    def note(figure: str, value: float, unit: str, goal: float | None = None) -> None:
        figures.append(rows.Row("foreign", n, figure, round(value, 3), unit, goal))
        say(str(figures[-1]))

    async with AsyncExitStack() as stack:
        ours, twin = await _side(stack, arguments), await _side(stack, arguments)
        without = await _stretch(ours, twin, arguments)
        say(f"without them: {without}")
        beside_ours, beside_twin = list[Stretch](), list[Stretch]()
        ahead_s = ours.cpu_s() - twin.cpu_s()
        await drift.crowd(ours.server, _FOREIGN)
        note("more CPU than the twin while they come", ours.cpu_s() - twin.cpu_s() - ahead_s, "s")
        for turn in range(1, arguments.turns + 1):
            beside_ours.append(await _stretch(ours, twin, arguments))
            say(f"{turn} of {arguments.turns}, beside ours: {beside_ours[-1]}")
            await asyncio.gather(drift.leave(ours.server), drift.crowd(twin.server, _FOREIGN))
            beside_twin.append(await _stretch(ours, twin, arguments))
            say(f"{turn} of {arguments.turns}, beside the twin: {beside_twin[-1]}")
            await asyncio.gather(drift.leave(twin.server), drift.crowd(ours.server, _FOREIGN))
        p50, p95 = await _drift(ours, n)
    note("drift p50", p50, "s")
    note("drift p95", p95, "s", _DRIFT_GOAL_S)
    note("memory", beside_ours[0].memory.ours, "MiB")
    note("change of memory", (beside_ours[0].memory.ratio / without.memory.ratio - 1) * 100, "%", _GOAL_PERCENT)
    for name, unit, high, low in (
        ("CPU at rest", "%", [one.rest for one in beside_ours], [one.rest for one in beside_twin]),
        ("CPU for a reconcile", "ms", [one.reconcile for one in beside_ours], [one.reconcile for one in beside_twin]),
    ):
        by, error = change(high, low)
        note(f"{name}, beside them", mean([pair.ours for pair in high] + [pair.twin for pair in low]), unit)
        note(f"change of {name}", by, "%", _GOAL_PERCENT)
        note(f"change of {name}, standard error", error, "%")
    return rows.Table("foreign", machine(), figures)


async def _side(stack: AsyncExitStack, arguments: argparse.Namespace) -> Side:
    """A control plane, controllers, and all apps Ready."""
    below = await stack.enter_async_context(ground(arguments.n))
    server = await stack.enter_async_context(connect(below.kubeconfig))
    running = await stack.enter_async_context(below.controllers())
    run = measure.Measure(
        server, below.repository, below.url, arguments.n, pids=[running.pid], interval=arguments.interval
    )
    async for phase in run.run(["first"]):
        assert isinstance(phase, measure.Phase)
        if phase.done < arguments.n:
            raise SystemExit(f"only {phase.done} of {arguments.n} apps are Ready")
        say(f"{phase.done} apps Ready after {phase.seconds} s")
    return Side(server, run, running.pid)


async def _stretch(ours: Side, twin: Side, arguments: argparse.Namespace) -> Stretch:
    """What both take, a while after something happened."""
    await asyncio.sleep(_SETTLE_S)
    sides = (ours, twin)
    before = [side.cpu_s() for side in sides]
    await asyncio.sleep(arguments.rest)
    rest = [(side.cpu_s() - cpu_s) / arguments.rest * 100 for side, cpu_s in zip(sides, before, strict=True)]
    asked = await asyncio.gather(*(side.run.asked() for side in sides))
    return Stretch(
        Pair(*(measure.resident_mib(side.pid) for side in sides)),
        Pair(*rest),
        Pair(*(phase.cpu_s / arguments.n * 1000 for phase in asked)),
    )


async def _drift(side: Side, n: int) -> tuple[float, float]:
    times = sorted([await drift.undone(side.server, side.run.namespace, trial % n) for trial in range(_TRIALS)])
    return times[len(times) // 2], times[int(len(times) * 0.95) - 1]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bench.foreign", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1000, help="apps of three objects on each side, at least 100 (1000)")
    parser.add_argument("--interval", default="10s", help="of every app (10s)")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds of a stretch, some intervals (60)")
    parser.add_argument("--turns", type=int, default=5, help="how often they come and go, at least twice (5)")
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    return parser


if __name__ == "__main__":
    told = parser().parse_args()
    if told.n < _TRIALS or told.turns < 2:
        raise SystemExit(
            f"--n is at least {_TRIALS} (who changes one field again and again is yielded to), and --turns 2"
        )
    sys.exit(rows.finish(asyncio.run(measured(told)), told.json))
