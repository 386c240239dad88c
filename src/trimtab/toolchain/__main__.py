"""`python -m trimtab.toolchain [FAMILY…]`: what `make setup` calls. Builds what is missing and says where it is."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from trimtab.base.errors import TrimtabError
from trimtab.toolchain import binaries
from trimtab.toolchain.families import FAMILIES, FamilyName


def main(arguments: list[str]) -> int:
    """Make the families in `arguments` (without any, all that are not for tests) available; 1 if that failed."""
    unknown = [name for name in arguments if name not in FAMILIES]
    if unknown:
        _say(f"no such family: {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
        return 1
    wanted = [name for name in FAMILIES if name in arguments or not (arguments or FAMILIES[name].for_tests)]
    for name in wanted:
        try:
            found = binaries.find(name) or asyncio.run(_ensure(name))
        except TrimtabError as failure:
            _say(str(failure))
            return 1
        except KeyboardInterrupt:
            _say("stopped; what is finished is kept, the next run goes on from there")
            return 1
        places = sorted({str(path.parent) for path in found.values()})
        _say(f"{name}: {', '.join(found)} in {', '.join(places)}")
    return 0


async def _ensure(name: FamilyName) -> Mapping[str, Path]:
    if not sys.stderr.isatty():
        return await binaries.ensure(name, progress=_say)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(f"{name}: looking", total=None)

        def show(step: binaries.Step) -> None:
            finished = step.number if step.done else step.number - 1
            progress.update(bar, description=f"{name}: {step.tool}", completed=finished, total=step.of)

        return await binaries.ensure(name, watch=show)


def _say(line: str) -> None:
    sys.stderr.write(f"toolchain: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
