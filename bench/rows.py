"""Figures of every benchmark in one form: what was measured, of how many, against which floor and which goal.

A benchmark of its own makes a `Table` of `Row`s and ends with `finish`. One that prints JSON of another form is read
all the same: each number in it becomes a row without a goal.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

WORSE = 1.2
"""Runs differ by about a fifth: what is worse by more is named."""
_TRIFLE = 0.05
"""A figure below this is noise, whatever its ratio to another one is."""
_LEFT_OUT = frozenset({"machine", "moment", "format", "rows", "floor", "trials", "n"})


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `floor` is what the bare requests took in the same run, `flux` what was published for Flux."""

    part: str
    n: int
    figure: str
    value: float
    unit: str = "s"
    goal: float | None = None
    floor: float | None = None
    flux: float | None = None

    @property
    def key(self) -> tuple[str, int, str]:
        """What makes two figures the same one."""
        return self.part, self.n, self.figure

    @property
    def judged(self) -> float:
        """What a goal and a baseline are about: times the floor where there is one."""
        return self.value / self.floor if self.floor else self.value

    @property
    def kept(self) -> bool | None:
        """Whether the goal was reached; None without one."""
        return None if self.goal is None else round(self.judged, 3) <= self.goal

    def __str__(self) -> str:
        floor = f", {self.judged:.2f} × the floor of {self.floor:.2f}" if self.floor else ""
        goal = "" if self.goal is None else f" (goal {self.goal:g}{'' if self.kept else ', MISSED'})"
        figure = f"{self.value:.2f} {self.unit}".strip()
        return f"{self.part} at {self.n}, {self.figure}: {figure}{floor}{goal}"


@dataclass(frozen=True, slots=True)
class Table:
    """The figures of one benchmark."""

    name: str
    machine: Mapping[str, Any]
    rows: Sequence[Row]

    def document(self) -> dict[str, Any]:
        """For the file."""
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [asdict(row) for row in self.rows]
        return {"format": 2, "name": self.name, "moment": moment, "machine": dict(self.machine), "rows": rows}


def finish(table: Table, path: Path | None) -> int:
    """Print the figures, and write them to `path` if there is one; the exit code."""
    text = json.dumps(table.document(), indent=2)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
        print("\n".join(map(str, table.rows)))
    else:
        print(text)
    return 0


def read(path: Path) -> list[Row]:
    """The figures in a file, whichever benchmark wrote it. Raises ValueError for what is no JSON."""
    document = json.loads(path.read_text())
    if "rows" in document:
        return [Row(**row) for row in document["rows"]]
    return [Row(path.stem, 0, name, value, "") for name, value in _numbers(document)]


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in _LEFT_OUT:
                yield from _numbers(inner, f"{name} {key}".strip())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def markdown(rows: Iterable[Row]) -> str:
    """The figures as a table for the documentation."""
    lines = ["| work | n | figure | ours | floor | × floor | Flux | goal | |", "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        flux = (
            "" if row.flux is None else f"{row.flux:g} (1/{row.flux / row.value:.0f})" if row.value else f"{row.flux:g}"
        )
        cells = (
            row.part,
            f"{row.n:,}" if row.n else "",
            row.figure,
            f"{row.value:.2f} {row.unit}".strip(),
            f"{row.floor:.2f} {row.unit}" if row.floor else "",
            f"{row.judged:.2f}" if row.floor else "",
            flux,
            "" if row.goal is None else f"≤ {row.goal:g}{' × floor' if row.floor else ''}",
            "" if row.kept is None else "reached" if row.kept else "**missed**",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def comparison(now: Iterable[Row], before: Iterable[Row]) -> list[str]:
    """Figures that are worse than those of `before` by more than a fifth, each as a sentence."""
    old = {row.key: row for row in before}
    worse = []
    for row in now:
        was = old.get(row.key)
        if was is None or row.judged <= max(was.judged, _TRIFLE) * WORSE:
            continue
        what = "× the floor" if row.floor else row.unit
        worse.append(f"{row.part} at {row.n}, {row.figure}: {row.judged:.2f} {what}, was {was.judged:.2f}")
    return worse
