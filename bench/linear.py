"""The benchmark of many runs: `python -m bench.linear`. Everything it needs it starts, everything it starts it ends.

A single run of `bench.run` says little of a machine that is slower by two fifths for some seconds. Here each number of
apps has some, in turns and each time in another order, every one on a fresh control plane with the floor before and
after. What counts are the medians: of *first* and *push* by the floor of their run, and of what an app takes at
*first*, which is to be the same for each number of apps.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, median

from bench import report, rows
from bench.measure import Phase
from bench.run import machine, measured, say

_PHASES = ("first", "push")
_GOAL_PERCENT = 10.0


def figures(runs: Mapping[int, Sequence[report.Run]]) -> Iterator[rows.Row]:
    """The medians for each number of apps, and by how much each is off the mean of all."""
    an_app = {n: median(phase.seconds / n * 1000 for _, phase in _phases(of_n, "first")) for n, of_n in runs.items()}
    for n, of_n in runs.items():
        for name in _PHASES:
            ratios = sorted(report.floor_ratio(run, phase) or 0.0 for run, phase in _phases(of_n, name))
            say(f"{name} at {n}, times the floor: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
            yield rows.Row(name, n, "times the floor, median", round(median(ratios), 3), "", report.FLOOR_BUDGET)
        yield rows.Row("first", n, "an app, median", round(an_app[n], 2), "ms")
        off = an_app[n] / mean(an_app.values()) - 1
        yield rows.Row("first", n, "an app, off the mean of all numbers", round(abs(off) * 100, 2), "%", _GOAL_PERCENT)
        cpu = median(phase.cpu_s / n * 1000 for _, phase in _phases(of_n, "first"))
        yield rows.Row("first", n, "CPU for an app, median", round(cpu, 2), "ms")


def _phases(runs: Sequence[report.Run], *names: str) -> Iterator[tuple[report.Run, Phase]]:
    for run in runs:
        for phase in run.phases:
            if isinstance(phase, Phase) and phase.phase in (names or _PHASES):
                yield run, phase


async def main(arguments: argparse.Namespace) -> rows.Table:
    """All rows of one run."""
    sizes = [int(size) for size in arguments.n.split(",")]
    runs: dict[int, list[report.Run]] = {n: [] for n in sizes}
    for turn in range(arguments.turns):
        start = turn % len(sizes)
        for n in sizes[start:] + sizes[:start]:
            say(f"--- turn {turn + 1} of {arguments.turns}")
            run = await measured(n, arguments)
            if unfinished := [phase for _, phase in _phases([run]) if phase.done < n]:
                raise SystemExit(f"only {unfinished[0].done} of {n} apps came to the end of {unfinished[0].phase}")
            runs[n].append(run)
    print(report.table([run for of_n in runs.values() for run in of_n]) + "\n", file=sys.stderr)
    return rows.Table("linear", machine(), list(figures(runs)))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bench.linear", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", default="100,300,1000", help="numbers of apps, separated by commas (100,300,1000)")
    parser.add_argument("--turns", type=int, default=5, help="runs for each number of apps (5)")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds a phase may take (900)")
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    parser.set_defaults(phases=",".join(_PHASES), concurrent=None)
    return parser


if __name__ == "__main__":
    told = parser().parse_args()
    sys.exit(rows.finish(asyncio.run(main(told)), told.json))
