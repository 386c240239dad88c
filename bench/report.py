"""From figures to tables: ratios to the floor, to Flux's published figures, to the budgets and to a stored run."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.floor import Floor
from bench.measure import Drift, Phase
from bench.rows import Row, markdown, read

NOISE = 1.2
"""Runs on the same machine differ by about a fifth: only what is worse than that is worth a look."""

STEADY = 1.5
"""How much the two floors of a run may differ before its ratios are not worth much."""


@dataclass(frozen=True, slots=True)
class Run:
    """All figures for one number of apps: the floor before the phases and after them, and the phases.

    `processes` share the apps; their memory is told as one sum.
    """

    n: int
    before: Floor
    after: Floor
    phases: tuple[Phase | Drift, ...]
    processes: int = 1

    def floor(self, phase: str) -> float | None:
        """The floor of a phase in seconds: the lower of the two, since what else ran can only have raised it."""
        both = {"first": (self.before.first, self.after.first), "push": (self.before.push, self.after.push)}.get(phase)
        return min(both) if both else None

    @property
    def steady(self) -> bool:
        """Whether the machine was the same before and after. If not, the ratios say little."""
        pairs = ((self.before.first, self.after.first), (self.before.push, self.after.push))
        return all(max(pair) <= min(pair) * STEADY for pair in pairs)


class Reference(NamedTuple):
    """What Flux needed for the same phase."""

    seconds: float
    cpu_s: float
    requests_per_app: float | None


# Flux 2.9, source-controller with 10 workers and kustomize-controller with 20, the same phases on a machine with two
# shared cores, Kubernetes 1.36.3, etcd without fsync, controller-manager unbraked. Not measured by this benchmark.
FLUX: Mapping[tuple[int, str], Reference] = {
    (100, "first"): Reference(16.1, 14, 36),
    (100, "push"): Reference(27.1, 23, 30),
    (100, "one"): Reference(3.7, 6, None),
    (100, "noop"): Reference(26.3, 31, 29),
    (300, "first"): Reference(105.2, 130, 43),
    (300, "push"): Reference(124.8, 173, 30),
    (300, "one"): Reference(121.5, 175, None),
    (300, "noop"): Reference(122.7, 168, 25),
}

FLOOR_BUDGET = 2.0  # times the floor, first and push
ONE_BUDGET_S = 0.5
NOOP_BUDGET_REQUESTS = 1.1
DRIFT_BUDGET_S = 0.2  # p95
MEMORY_BUDGET_MIB = 150
_BUDGETED_N = 1000  # the largest number of apps these hold for
CPU_BUDGETS_S: Mapping[tuple[int, str], float] = {(300, "first"): 4.3, (300, "push"): 2.9, (300, "noop"): 0.56}
"""1/30, 1/60 and 1/300 of what Flux takes."""

_HEADER = (
    "n",
    "phase",
    "done",
    "seconds",
    "× floor",
    "of Flux",
    "req/app",
    "CPU s",
    "CPU of Flux",
    "RSS MiB",
    "budget",
)


def floor_ratio(run: Run, phase: Phase) -> float | None:
    """How many times the floor of the same run the phase took; None for phases without one."""
    floor = run.floor(phase.phase)
    return phase.seconds / floor if floor else None


def rows_of(run: Run) -> Iterator[Row]:
    """The figures in the form that all benchmarks share."""
    for phase in run.phases:
        name, n = phase.phase, run.n
        if isinstance(phase, Drift):
            yield Row(name, n, "p95", phase.p95_s, "s", DRIFT_BUDGET_S)
            continue
        flux, floor = FLUX.get((n, name)), run.floor(name)
        goal = FLOOR_BUDGET if floor else ONE_BUDGET_S if name == "one" else None
        yield Row(name, n, "seconds", phase.seconds, "s", goal, floor, flux.seconds if flux else None)
        yield Row(name, n, "CPU", phase.cpu_s, "s", CPU_BUDGETS_S.get((n, name)), None, flux.cpu_s if flux else None)
        goal = NOOP_BUDGET_REQUESTS if name == "noop" else None
        yield Row(
            name, n, "requests per app", phase.requests_per_app, "", goal, None, flux.requests_per_app if flux else None
        )
        yield Row(name, n, "peak memory", phase.rss_peak_mib, "MiB", MEMORY_BUDGET_MIB * run.processes)
    if not run.steady:
        yield Row("floor", run.n, "after / before, THE MACHINE WAS BUSY", run.after.first / run.before.first, "")


def table(runs: Sequence[Run]) -> str:
    """All phases of all runs."""
    rows = [row for run in runs for row in _rows(run)]
    notes = "\n".join(map(_note, runs))
    flux = "of Flux: our figure divided by the one published for Flux 2.9 on a similar machine, not measured here"
    return f"{_aligned([_HEADER, *rows])}\n\n{notes}\n{flux}"


def _note(run: Run) -> str:
    (before, after), busy = (run.before, run.after), "" if run.steady else "; THE MACHINE WAS BUSY, run it again"
    return (
        f"floor at {run.n}, before and after: first {before.first:.2f} and {after.first:.2f} s, "
        f"push {before.push:.2f} and {after.push:.2f} s{busy}"
    )


def missed(runs: Sequence[Run]) -> list[str]:
    """The budgets that were not kept, each as a sentence."""
    return [verdict for run in runs for phase in run.phases if (verdict := _verdict(run, phase)) not in ("", "kept")]


def result(runs: Sequence[Run], *, machine: Mapping[str, Any], moment: datetime) -> dict[str, Any]:
    """Everything, for the file."""
    return {
        "format": 1,
        "moment": moment.isoformat(timespec="seconds"),
        "machine": dict(machine),
        "runs": [
            {
                "n": run.n,
                "floor": {"before": asdict(run.before), "after": asdict(run.after), "steady": run.steady},
                "phases": [
                    asdict(phase) | ({"floor_ratio": floor_ratio(run, phase)} if isinstance(phase, Phase) else {})
                    for phase in run.phases
                ],
            }
            for run in runs
        ],
    }


def comparison(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """What became better or worse since the baseline, by figures that survive a change of machine."""
    old = {(run["n"], phase["phase"]): phase for run in before["runs"] for phase in run["phases"]}
    rows: list[Sequence[str]] = [("n", "phase", "figure", "before", "now", "")]
    for run in now["runs"]:
        for phase in run["phases"]:
            baseline = old.get((run["n"], phase["phase"]), {})
            for figure in ("floor_ratio", "requests_per_app", "cpu_s", "rss_peak_mib", "p95_s"):
                was, is_ = baseline.get(figure), phase.get(figure)
                if was is None or is_ is None:
                    continue
                mark = "worse" if is_ > was * NOISE else "better" if is_ * NOISE < was else ""
                rows.append((str(run["n"]), phase["phase"], figure, f"{was:.2f}", f"{is_:.2f}", mark))
    return f"against the baseline of {before['moment']}:\n{_aligned(rows)}"


def _rows(run: Run) -> Iterator[Sequence[str]]:
    for phase in run.phases:
        verdict = _verdict(run, phase)
        budget = "missed" if verdict not in ("", "kept") else verdict
        if isinstance(phase, Drift):
            yield (str(run.n), "drift p95", f"{phase.trials}", f"{phase.p95_s:.3f}", *[""] * 6, budget)
            continue
        ratio = floor_ratio(run, phase)
        flux = FLUX.get((run.n, phase.phase))
        yield (
            str(run.n),
            phase.phase,
            f"{phase.done}/{phase.n}",
            f"{phase.seconds:.2f}",
            f"{ratio:.2f}" if ratio else "",
            f"{phase.seconds / flux.seconds:.3f}" if flux else "",
            f"{phase.requests_per_app:.2f}",
            f"{phase.cpu_s:.1f}",
            f"{phase.cpu_s / flux.cpu_s:.3f}" if flux else "",
            str(phase.rss_peak_mib),
            budget,
        )


def _verdict(run: Run, phase: Phase | Drift) -> str:
    """`kept`, what was missed, or nothing where there is no budget."""
    if isinstance(phase, Drift):
        return _kept(phase.p95_s, DRIFT_BUDGET_S, "s (p95)", f"drift at {run.n}")
    what = f"{phase.phase} at {run.n}"
    if phase.done < phase.n:
        return f"{what}: only {phase.done} of {phase.n} in time"
    memory = MEMORY_BUDGET_MIB * run.processes
    if run.n <= _BUDGETED_N and phase.rss_peak_mib > memory:
        return f"{what}: {phase.rss_peak_mib} MiB, budget {memory}"
    ratio = floor_ratio(run, phase)
    if ratio is not None:
        return _kept(ratio, FLOOR_BUDGET, "× the floor", what)
    if phase.phase == "one" and run.n <= _BUDGETED_N:
        return _kept(phase.seconds, ONE_BUDGET_S, "s", what)
    if phase.phase == "noop":
        return _kept(phase.requests_per_app, NOOP_BUDGET_REQUESTS, "requests per app", what)
    return ""


def _kept(value: float, limit: float, unit: str, what: str) -> str:
    return "kept" if value <= limit else f"{what}: {value:.2f} {unit}, budget {limit:g}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


if __name__ == "__main__":
    # Markdown of the files that are named: what docs/performance.md shows.
    print(markdown([row for name in sys.argv[1:] for row in read(Path(name))]))
