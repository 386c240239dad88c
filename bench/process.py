"""What a process and all that it has started take, and where figures are written."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_LOOK_S = 0.05
_MIB = 1 << 20


@dataclass(slots=True)
class Peak:
    """The most that a process and its children had resident at one time, in MiB."""

    own: float = 0.0
    with_children: float = 0.0


@asynccontextmanager
async def watched(pid: int) -> AsyncIterator[Peak]:
    """Look at the memory of `pid` and of all below it, twenty times a second, while the block runs."""
    peak = Peak()

    async def look() -> None:
        while True:
            own = _resident_mib(pid)
            peak.own = max(peak.own, own)
            peak.with_children = max(peak.with_children, own + sum(map(_resident_mib, _below(pid))))
            await asyncio.sleep(_LOOK_S)

    looking = asyncio.ensure_future(look())
    try:
        yield peak
    finally:
        looking.cancel()
        await asyncio.wait({looking})
        peak.own, peak.with_children = round(peak.own, 1), round(peak.with_children, 1)


def cpu(pid: int) -> tuple[float, float]:
    """CPU seconds of a process, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    tick = os.sysconf("SC_CLK_TCK")
    return sum(map(int, fields[11:13])) / tick, sum(map(int, fields[13:15])) / tick


def write(result: Mapping[str, Any], directory: Path, name: str) -> Path:
    """Put `result` into a file of its own; the path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


def _below(pid: int) -> Iterator[int]:
    try:
        children = [
            int(child)
            for thread in Path(f"/proc/{pid}/task").iterdir()
            for child in (thread / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return  # it has ended meanwhile
    for child in children:
        yield child
        yield from _below(child)


def _resident_mib(pid: int) -> float:
    """What of its memory is its own: a child that was forked a moment ago shares all of its parent's."""
    try:
        pages = [int(number) for number in Path(f"/proc/{pid}/statm").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return max(pages[1] - (pages[2] if len(pages) > 2 else 0), 0) * os.sysconf("SC_PAGE_SIZE") / _MIB
