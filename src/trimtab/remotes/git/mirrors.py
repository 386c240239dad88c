"""All the mirrors of one directory: handed out by name, and removed when nobody has used them for long."""

import asyncio
from pathlib import Path

from trimtab.base.clock import Clock
from trimtab.remotes.git.mirror import Mirror


class Mirrors:
    """Hands out mirrors. One per directory and process."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._known: dict[str, Mirror] = {}

    def of(self, name: str, *, commits_only: bool = False) -> Mirror:
        """The mirror `name`, which is always asked for in the same way."""
        if name not in self._known:
            self._known[name] = Mirror(self._directory / f"{name}.git", self._clock, commits_only=commits_only)
        return self._known[name]

    async def sweep(self, unused_s: float) -> int:
        """Remove mirrors that nobody used for so many seconds; returns how many."""
        deadline = self._clock.now().timestamp() - unused_s
        removed = 0
        for lock in self._directory.glob("*.lock"):
            if lock.stat().st_mtime < deadline:
                mirror = self._known.pop(lock.stem, None) or Mirror(lock.with_suffix(".git"), self._clock)
                async with mirror.locked():
                    await asyncio.to_thread(mirror.drop)
                    lock.unlink(missing_ok=True)
                removed += 1
        return removed
