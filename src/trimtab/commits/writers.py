"""The writers of a process: they share what is known of servers, and the mirrors."""

import asyncio
from pathlib import Path
from typing import Final

from trimtab.base.clock import Clock
from trimtab.base.http import Transport
from trimtab.commits.way import Remotely, Repository, Way
from trimtab.commits.writer import LOOKBACK, Writer
from trimtab.remotes.git.git import wipe
from trimtab.remotes.git.mirrors import Mirrors
from trimtab.remotes.git.refs import RefReader

CLEAR_EVERY_S: Final = 3600.0
_AT_ONCE: Final = 8
"""Commits whose files are in memory at a time."""


class Writers:
    """Hands out writers. One per process: it owns the mirrors below `cache_dir`."""

    def __init__(self, cache_dir: Path, transport: Transport, clock: Clock, *, deny_private: bool = False) -> None:
        self._private = cache_dir / "private-commits"
        self._clock = clock
        self._deny_private = deny_private
        self._reader = RefReader(transport, deny_private=deny_private)
        self._mirrors = Mirrors(cache_dir / "commits", clock)
        self._memory = asyncio.Semaphore(_AT_ONCE)
        wipe(self._private)

    def of(self, repository: Repository, branch: str, *, lookback: int = LOOKBACK) -> Writer:
        """The writer of a branch, with the credentials of an object. Raises Terminal for no name of a branch."""
        return self.by(Remotely(repository, self._reader, self._private, self._deny_private), branch, lookback=lookback)

    def by(self, way: Way, branch: str, *, lookback: int = LOOKBACK) -> Writer:
        """The writer of a branch that another way leads to."""
        mirror = self._mirrors.of(way.digest[:32])
        return Writer(way, branch, mirror, self._private, self._clock, lookback=lookback, memory=self._memory)

    async def clear(self) -> None:
        """Remove what nobody uses from time to time, until cancelled."""
        while True:
            await self._clock.sleep(CLEAR_EVERY_S)
            await self.sweep()

    async def sweep(self, unused_s: float = 7 * 86400.0) -> int:
        """Remove mirrors that nobody used for so many seconds; returns how many."""
        return await self._mirrors.sweep(unused_s)
