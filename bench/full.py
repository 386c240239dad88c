"""The whole table: `python -m bench.full`. Each part is a program of its own, whose figures are kept in a file.

A run that was broken off goes on where it was with `--resume`; `--parts` does some of them alone. At the end the table
is printed as Markdown, and what is worse than the baseline by more than a fifth is named: a report, not a failure.

A part is one line in _PARTS. A benchmark that writes JSON into the directory of its `--results` may be added as it is.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench import rows

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "full"
BASELINE = HERE / "baseline-full"


class Part(NamedTuple):
    """A module of this package with its arguments, and about how many minutes it takes on two quiet cores."""

    module: str
    arguments: tuple[str, ...]
    minutes: float


_OWN = frozenset({"run", "linear", "steady", "foreign"})
"""They write rows to the file of `--json`; the others what they like to a directory."""
_PARTS = {
    "apps-100": Part("run", ("--n", "100"), 1.0),
    "apps-300": Part("run", ("--n", "300"), 2.0),
    "apps-1000": Part("run", ("--n", "1000"), 6.0),
    "linear": Part("linear", (), 22.0),
    "steady": Part("steady", ("--n", "1000"), 11.0),
    "foreign": Part("foreign", ("--n", "1000"), 23.0),
    "many": Part("steady", ("--n", "10000", "--parts", "memory"), 12.0),
    "large": Part("large", (), 5.0),
    "overlays": Part("overlays", (), 3.0),
    "fairness": Part("fairness", (), 8.0),
    "shards": Part("shards", (), 4.0),
}
PARTS = {name: part for name, part in _PARTS.items() if (HERE / f"{part.module}.py").exists()}


async def main(arguments: argparse.Namespace) -> int:
    """Run what is wanted, and print what is known."""
    names = arguments.parts.split(",") if arguments.parts else list(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        raise SystemExit(f"no part is called {', '.join(unknown)}; there is {', '.join(PARTS)}")
    began, failed = time.monotonic(), []
    todo = [name for name in names if not (arguments.resume and (arguments.results / f"{name}.json").exists())]
    print(f"{len(todo)} parts, about {sum(PARTS[name].minutes for name in todo):.0f} minutes", file=sys.stderr)
    for number, name in enumerate(todo, 1):
        minutes = (time.monotonic() - began) / 60
        print(f"--- {number}/{len(todo)} {name}, after {minutes:.1f} minutes", file=sys.stderr, flush=True)
        if not await _run(PARTS[name], arguments.results / f"{name}.json"):
            failed.append(name)
    print(f"--- done after {(time.monotonic() - began) / 60:.1f} minutes", file=sys.stderr)
    found = [row for name in names for row in _read(arguments.results / f"{name}.json")]
    print(rows.markdown(found) + "\n")
    before = [row for name in names for row in _read(arguments.baseline / f"{name}.json")]
    worse = rows.comparison(found, before)
    print("\n".join(["worse than the baseline:", *worse]) if worse else "nothing is worse than the baseline")
    if failed:
        print(f"broke off: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


async def _run(part: Part, path: Path) -> bool:
    """Whether the part came to its end. What it says goes to our standard error, its figures to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = part.module in _OWN
    with tempfile.TemporaryDirectory(prefix="trimtab-figures-") as directory:
        told = ("--json", str(path)) if own else ("--results", directory)
        argv = [sys.executable, "-m", f"bench.{part.module}", *part.arguments, *told]
        child = await asyncio.create_subprocess_exec(*argv, cwd=HERE.parent, stdout=sys.stderr)
        try:
            code = await child.wait()
        finally:
            if child.returncode is None:
                child.terminate()
                await child.wait()
        for written in [] if own or code else Path(directory).glob("*.json"):
            shutil.copyfile(written, path)
    return not code and path.exists()


def _read(path: Path) -> list[rows.Row]:
    if not path.exists():
        return []
    try:
        return rows.read(path)
    except ValueError as failure:
        print(f"{path} has no figures: {failure}", file=sys.stderr)
        return []


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bench.full", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parts", default="", help=f"some of {','.join(PARTS)} (all)")
    parser.add_argument("--resume", action="store_true", help="leave out what has figures already")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go (bench/results/full)")
    parser.add_argument("--baseline", type=Path, default=BASELINE, help="figures to compare with (bench/baseline-full)")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parser().parse_args())))
