"""The whole sweep: `python -m tests.faults.run`. Prints as it goes, and writes a report.

Every scenario is run once undisturbed to number its requests; then once for each request and each fault, and some times
with each distortion of the view. A run that is not over in time beside the others is made once more, alone. With
`--minutes` the runs are drawn at random (by the seed) until the time is up, and the report says how many of all it was.
"""

import argparse
import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.stage import Stage
from tests.faults.sweep import Reference, Verdict, chance_of, judge, learn, name_of, plan, trial_of, views
from tests.faults.transport import Fault
from tests.faults.views import View
from tests.faults.world import Stuck, World
from trimtab.cluster.plane import ControlPlane
from trimtab.kube.errors import ApiError, Unreachable
from trimtab.toolchain import binaries

REPORT = Path(__file__).with_name("REPORT.md")
SHOWN = 100
PROGRESS_S = 30.0


class Wanted(NamedTuple):
    """Which runs, and for how long: 0 minutes are all of them."""

    minutes: float
    views: int
    only: str
    times: int


@dataclass
class Figures:
    """What is known so far. `planned` counts the runs of each scenario, drawn or not."""

    seed: int
    worlds: int
    references: dict[str, Reference] = field(default_factory=dict)
    planned: Counter[str] = field(default_factory=Counter)
    verdicts: dict[str, list[Verdict]] = field(default_factory=lambda: defaultdict(list))
    late: list[Verdict] = field(default_factory=list)
    seconds: float = 0.0

    def report(self, wanted: Wanted) -> str:
        """The report, in Markdown."""
        everything = [verdict for verdicts in self.verdicts.values() for verdict in verdicts]
        total, runs = sum(self.planned.values()), len(everything)
        failed = [verdict for verdict in everything if not verdict.survived]
        unreached = sum(not verdict.reached for verdict in everything)
        lines = [
            "# The last sweep",
            "",
            "Written by `make sweep`; do not edit.",
            "",
            (
                f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} processors, seed {self.seed}, "
                f"{self.worlds} worlds side by side, "
                f"{f'stopped after {wanted.minutes:g} minutes' if wanted.minutes and runs < total else 'all runs'}."
            ),
            "",
            (
                f"**{runs} of {total} runs were made ({runs / max(total, 1):.0%}), in {self.seconds:.0f} s "
                f"({runs / max(self.seconds, 1):.1f} a second). {runs - len(failed)} survived, "
                f"{len(failed)} did not.** "
                f"In {unreached} runs the request to be harmed did not occur (their order is not always the "
                "same); they count as runs all the same. A violation is a deletion that the monitor had to refuse. "
                f"{len(self.late)} runs were not over in time beside others; they were made once more, alone, and "
                "that counts."
            ),
            "",
            "| scenario | what happens | requests | planned | made | survived | violations | not reached | seconds |",
            "|---|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for scenario in SCENARIOS:
            if scenario.name not in self.references:
                continue
            made = self.verdicts[scenario.name]
            lines.append(
                f"| {scenario.name.upper()} | {scenario.title} | {len(self.references[scenario.name].calls)} | "
                f"{self.planned[scenario.name]} | {len(made)} | {sum(v.survived for v in made)} | "
                f"{sum(v.violations for v in made)} | {sum(not v.reached for v in made)} | "
                f"{sum(v.seconds for v in made):.0f} |"
            )
        lines += ["", "## By fault", "", "| fault | runs | survived |", "|---|---:|---:|"]
        kinds: dict[str, list[Verdict]] = defaultdict(list)
        for verdict in everything:
            kinds[verdict.fault.split(" at ")[0].split(" (seed")[0]].append(verdict)
        lines += [f"| {kind} | {len(v)} | {sum(x.survived for x in v)} |" for kind, v in sorted(kinds.items())]
        lines += ["", "## What did not survive", ""]
        lines += [_lost(verdict, self.seed) for verdict in failed[:SHOWN]]
        lines += [f"- and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
        lines += ["Nothing."] if not failed else []
        if self.late:
            lines += ["", "## What was made once more, alone", ""]
            lines += [
                f"- {verdict.scenario.upper()}, {verdict.fault}: {verdict.problems[0][:200]}" for verdict in self.late
            ]
        return "\n".join(lines) + "\n"


def _lost(verdict: Verdict, seed: int) -> str:
    """One line with what went wrong and how to see it again."""
    again = f"python -m tests.faults.run {verdict.scenario} --seed {seed} --only '{verdict.fault}' --times 5"
    return f"- {verdict.scenario.upper()}, {verdict.fault}: {'; '.join(verdict.problems)[:600]}. Again: `{again}`"


Job = tuple[Scenario, "Fault | View"]


class Sweep:
    """One sweep over `chosen`: learn, draw and judge, `figures.worlds` runs at a time."""

    def __init__(self, stage: Stage, chosen: Sequence[Scenario], figures: Figures, wanted: Wanted) -> None:
        self._stage = stage
        self._chosen = chosen
        self._figures = figures
        self._wanted = wanted
        self._jobs: list[Job] = []
        self._late: list[Job] = []
        self._fresh = 0
        self._said = time.monotonic()

    async def run(self) -> None:
        """Return when all runs are made, or the time is up."""
        figures, wanted = self._figures, self._wanted
        for scenario in self._chosen:
            self._jobs += await self._plan(scenario)
        random.Random(figures.seed).shuffle(self._jobs)
        began = time.monotonic()
        deadline = began + wanted.minutes * 60 if wanted.minutes else float("inf")
        await asyncio.gather(*(self._work(began, deadline) for _ in range(figures.worlds)))
        self._jobs, self._late = self._late, []
        await self._work(began, float("inf"), alone=True)
        figures.seconds = time.monotonic() - began

    async def _plan(self, scenario: Scenario) -> list[Job]:
        figures, wanted = self._figures, self._wanted
        for _ in range(3):
            try:
                reference = await learn(scenario, await self._stage.world(scenario, self._next()))
                break
            except (Stuck, ApiError, Unreachable) as failure:
                print(f"{scenario.name} cannot be learnt: {failure}", flush=True)
        else:
            figures.verdicts[scenario.name].append(Verdict(scenario.name, "undisturbed", True, ("not learnt",), 0.0))
            return []
        figures.references[scenario.name] = reference
        found: list[Job] = [(scenario, fault) for fault in plan(reference)]
        found += [
            (scenario, view) for view in views(figures.seed, wanted.views) if view.distortion not in scenario.not_with
        ]
        found = [(scenario, how) for _, how in found if wanted.only in name_of(how)] * wanted.times
        figures.planned[scenario.name] = len(found)
        print(f"{scenario.name}: {len(reference.calls)} requests, {len(found)} runs", flush=True)
        return found

    async def _work(self, began: float, deadline: float, *, alone: bool = False) -> None:
        worlds: dict[str, World] = {}
        while self._jobs and time.monotonic() < deadline:
            scenario, how = self._jobs.pop()
            world = worlds.get(scenario.name)
            if world is None:
                world = worlds[scenario.name] = await self._stage.world(scenario, self._next())
            trial = trial_of(scenario, world, how, chance_of(self._figures.seed, scenario, how))
            verdict = await judge(trial, self._figures.references[scenario.name])
            if verdict.late and not alone:
                self._late.append((scenario, how))
                self._figures.late.append(verdict)
            else:
                self._figures.verdicts[scenario.name].append(verdict)
            if not verdict.survived:
                # Whatever is left in that world, it must not be held against the next run.
                del worlds[scenario.name]
                print(f"{scenario.name}: {verdict.fault}: {'; '.join(verdict.problems)[:3000]}", flush=True)
                print(*(f"    {line}" for line in world.wire.said), sep="\n", flush=True)
            self._progress(began)

    def _next(self) -> int:
        self._fresh += 1
        return self._fresh

    def _progress(self, began: float) -> None:
        now = time.monotonic()
        if now < self._said + PROGRESS_S:
            return
        self._said = now
        verdicts = [verdict for verdicts in self._figures.verdicts.values() for verdict in verdicts]
        done, left, speed = len(verdicts), len(self._jobs), len(verdicts) / (now - began)
        lost = sum(not verdict.survived for verdict in verdicts)
        print(f"{done} runs, {lost} lost, {speed:.1f} a second, {left / speed / 60:.0f} minutes to go", flush=True)


async def main(arguments: argparse.Namespace) -> int:
    """Set the stage, sweep, report. The exit code: 0 if everything survived."""
    found = binaries.find("controlplane")
    if found is None:
        print("the control plane is not built; run `make setup` first", file=sys.stderr)
        return 1
    names = set(arguments.scenarios or [scenario.name for scenario in SCENARIOS])
    if unknown := names - {scenario.name for scenario in SCENARIOS}:
        print(f"no such scenario: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    chosen = [scenario for scenario in SCENARIOS if scenario.name in names]
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    figures = Figures(seed, arguments.worlds)
    wanted = Wanted(arguments.minutes, arguments.views, arguments.only, arguments.times)
    print(f"seed {seed}", flush=True)
    # Each world may wait for git, and for its disk: none must wait for another's.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(4 * arguments.worlds))
    with tempfile.TemporaryDirectory(prefix="trimtab-sweep-", ignore_cleanup_errors=True) as directory:
        root = Path(directory)
        async with (
            ControlPlane(root / "plane", binaries=found, kwok=False) as plane,
            Stage(plane.kubeconfig, root) as stage,
        ):
            await Sweep(stage, chosen, figures, wanted).run()
    text = figures.report(wanted)
    if arguments.report:
        arguments.report.write_text(text)
    print(text)
    return 0 if all(verdict.survived for verdicts in figures.verdicts.values() for verdict in verdicts) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Harm every request of every scenario in every way.")
    parser.add_argument("scenarios", nargs="*", help="only these (c1, c2, ...)")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many minutes; 0 runs everything")
    parser.add_argument("--seed", type=int, help="repeat the draw of another sweep")
    parser.add_argument("--only", default="", help="only runs with this in their name, as the report shows it")
    parser.add_argument("--times", type=int, default=1, help="how many times each run is made")
    parser.add_argument("--worlds", type=int, default=8, help="runs side by side")
    parser.add_argument("--views", type=int, default=5, help="runs of each scenario with each distortion of the view")
    parser.add_argument("--report", type=Path, help=f"where the report goes (all scenarios: {REPORT.name})")
    parser.add_argument("--verbose", action="store_true", help="show what the controllers log")
    given = parser.parse_args()
    if given.report is None and not (given.scenarios or given.only):
        given.report = REPORT
    logging.basicConfig(level=logging.INFO if given.verbose else logging.CRITICAL)
    sys.exit(asyncio.run(main(given)))
