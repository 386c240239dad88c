"""Status that may follow later: apps that a commit did not touch, at most fifty a second, coalesced over commits."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from trimtab.api.kustomizestatus import KustomizationStatus
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.kube.errors import ApiError, Unreachable
from trimtab.manifests.refs import Key

log = logging.getLogger(__name__)

RATE_PER_S = 50.0
AGAIN_S = 1.0
"""The pause after a failure."""


class Laggards:
    """`write` is called for one app after another while nothing more urgent concerns it."""

    def __init__(self, write: Callable[[Key, KustomizationStatus], Awaitable[None]], clock: Clock) -> None:
        self._write = write
        self._clock = clock
        self._behind: dict[Key, KustomizationStatus] = {}
        self._writing: Key | None = None
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._behind)

    def add(self, key: Key, status: KustomizationStatus) -> None:
        """The status of `key` should become `status`; a newer one replaces it."""
        self._behind[key] = status
        self._some.set()

    def forget(self, key: Key) -> None:
        """A more urgent write has taken its place."""
        self._behind.pop(key, None)
        if key == self._writing:
            self._writing = None  # where it fails, it is not tried again

    async def run(self) -> None:
        """Write for ever, at the pace."""
        while True:
            await self._some.wait()
            while self._behind:
                key = next(iter(self._behind))
                status = self._behind.pop(key)
                self._writing = key
                try:
                    await self._write(key, status)
                except (ApiError, Unreachable, Transient) as failure:
                    log.info("the status of %s was not written: %s", key, failure)
                    if isinstance(failure, ApiError) and failure.status == 422:
                        continue  # it will not be taken the next time either
                    # at the end of the line, and not in the place of a newer one
                    if key == self._writing:
                        self._behind.setdefault(key, status)
                    await self._clock.sleep(AGAIN_S)
                await self._clock.sleep(1 / RATE_PER_S)
            self._some.clear()
