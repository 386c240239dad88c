"""The whole sweep: `python -m tests.faults.run`. Prints as it goes, and writes a report.

Every scenario is run once undisturbed to number its requests; then once for each request and each fault, and some times
with each distortion of the view. With `--minutes` the runs are drawn at random (by the seed) until the time is up, and
the report says how many of all that was.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.stage import Stage
from tests.faults.sweep import Reference, Verdict, judge, learn, plan, trial_of, views
from tests.faults.transport import Fault
from tests.faults.views import View
from trimtab.cluster.plane import ControlPlane
from trimtab.toolchain import binaries

REPORT = Path(__file__).with_name("REPORT.md")
SHOWN = 100


@dataclass
class Figures:
    """What is known so far. `planned` counts the runs of each scenario, drawn or not."""

    seed: int
    worlds: int
    references: dict[str, Reference] = field(default_factory=dict)
    planned: Counter[str] = field(default_factory=Counter)
    verdicts: dict[str, list[Verdict]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0

    def report(self, minutes: float) -> str:
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
                f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, seed {self.seed}, {self.worlds} worlds side by side, "
                f"{'all runs' if not minutes else f'stopped after {minutes:g} minutes'}."
            ),
            "",
            (
                f"**{runs} of {total} runs were made ({runs / max(total, 1):.0%}), in {self.seconds:.0f} s "
                f"({runs / max(self.seconds, 1):.1f} a second). {runs - len(failed)} survived, "
                f"{len(failed)} did not.** "
                f"In {unreached} runs the request to be harmed did not occur (their order is not always the "
                "same); they count as runs all the same."
            ),
            "",
            "| scenario | what happens | requests numbered | runs planned | made | survived | not reached |",
            "|---|---|---:|---:|---:|---:|---:|",
        ]
        for scenario in SCENARIOS:
            if scenario.name not in self.references:
                continue
            made = self.verdicts[scenario.name]
            lines.append(
                f"| {scenario.name.upper()} | {scenario.title} | {len(self.references[scenario.name].calls)} | "
                f"{self.planned[scenario.name]} | {len(made)} | {sum(v.survived for v in made)} | "
                f"{sum(not v.reached for v in made)} |"
            )
        lines += ["", "## By fault", "", "| fault | runs | survived |", "|---|---:|---:|"]
        kinds: dict[str, list[Verdict]] = defaultdict(list)
        for verdict in everything:
            kinds[verdict.fault.split(" at ")[0].split(" (seed")[0]].append(verdict)
        lines += [f"| {kind} | {len(v)} | {sum(x.survived for x in v)} |" for kind, v in sorted(kinds.items())]
        lines += ["", "## What did not survive", ""]
        lines += [f"- {v.scenario.upper()}, {v.fault}: {'; '.join(v.problems)[:600]}" for v in failed[:SHOWN]]
        lines += [f"- and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
        lines += ["Nothing."] if not failed else []
        return "\n".join(lines) + "\n"


Job = tuple[Scenario, "Fault | View"]


async def sweep(stage: Stage, chosen: Sequence[Scenario], figures: Figures, minutes: float, distortions: int) -> None:
    """Learn, draw and judge, `figures.worlds` runs at a time."""
    chance = random.Random(figures.seed)
    jobs: list[Job] = []
    for scenario in chosen:
        reference = figures.references[scenario.name] = await learn(scenario, await stage.world(scenario))
        found: list[Job] = [(scenario, fault) for fault in plan(reference)]
        found += [(scenario, view) for view in views(figures.seed, distortions)]
        figures.planned[scenario.name] = len(found)
        jobs += found
        print(f"{scenario.name}: {len(reference.calls)} requests, {len(found)} runs", flush=True)
    chance.shuffle(jobs)
    began = time.monotonic()
    deadline = began + minutes * 60 if minutes else float("inf")

    async def work(number: int) -> None:
        worlds = {}
        while jobs and time.monotonic() < deadline:
            scenario, how = jobs.pop()
            world = worlds.get(scenario.name)
            if world is None:
                world = worlds[scenario.name] = await stage.world(scenario, number)
            trial = trial_of(scenario, world, how, chance)
            verdict = await judge(trial, figures.references[scenario.name])
            figures.verdicts[scenario.name].append(verdict)
            if not verdict.survived:
                print(f"{scenario.name}: {verdict.fault}: {'; '.join(verdict.problems)[:1000]}", flush=True)
            done = sum(map(len, figures.verdicts.values()))
            if done % 100 == 0:
                print(f"{done} runs, {done / (time.monotonic() - began):.1f} a second", flush=True)

    await asyncio.gather(*(work(number) for number in range(1, figures.worlds + 1)))
    figures.seconds = time.monotonic() - began


async def main(arguments: argparse.Namespace) -> int:
    """Set the stage, sweep, report. The exit code: 0 if everything survived."""
    found = binaries.find("controlplane")
    if found is None:
        print("the control plane is not built; run `make setup` first", file=sys.stderr)
        return 1
    names = set(arguments.scenarios or [scenario.name for scenario in SCENARIOS])
    chosen = [scenario for scenario in SCENARIOS if scenario.name in names]
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    figures = Figures(seed, arguments.worlds)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="trimtab-sweep-") as directory:
        root = Path(directory)
        async with ControlPlane(root / "plane", binaries=found) as plane, Stage(plane.kubeconfig, root) as stage:
            await sweep(stage, chosen, figures, arguments.minutes, arguments.views)
    text = figures.report(arguments.minutes)
    arguments.report.write_text(text)
    print(text)
    return 0 if all(verdict.survived for verdicts in figures.verdicts.values() for verdict in verdicts) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Harm every request of every scenario in every way.")
    parser.add_argument("scenarios", nargs="*", help="only these (c1, c2, ...)")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many minutes; 0 runs everything")
    parser.add_argument("--seed", type=int, help="repeat the draw of another sweep")
    parser.add_argument("--worlds", type=int, default=4, help="runs side by side")
    parser.add_argument("--views", type=int, default=5, help="runs of each scenario with each distortion of the view")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the report goes")
    parser.add_argument("--verbose", action="store_true", help="show what the controllers log")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO if given.verbose else logging.CRITICAL)
    sys.exit(asyncio.run(main(given)))
