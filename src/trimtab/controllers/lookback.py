"""The past of what was published: looked at when those that wait for the new revision have had their turn."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from trimtab.base.clock import Clock
from trimtab.manifests.refs import Key
from trimtab.runtime.controller import Controller, Done, Result

AFTER_S: Final = 2.0
Step: TypeAlias = Callable[[], Awaitable[None]]


class Lookback:
    """One look after the other, for the sources of one process."""

    def __init__(self, clock: Clock) -> None:
        self.controller: Controller[Key] = Controller("history", self._look, clock=clock, concurrency=1)
        self._steps: dict[Key, list[Step]] = {}

    def add(self, source: Key, step: Step) -> None:
        """Make `step` soon: every one of them, in order, for a step back may be followed by one forward."""
        self._steps.setdefault(source, []).append(step)
        self.controller.queue.add(source, after=AFTER_S)

    async def stop(self, grace_s: float) -> None:
        """Make what is left at once, as far as `grace_s` seconds allow: a later process knows nothing of it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self.controller.stop(grace_s)
                for source in list(self._steps):
                    await self._look(source)

    async def _look(self, source: Key) -> Result:
        steps = self._steps.get(source, [])
        while steps:
            await steps.pop(0)()  # of one that fails the queue tells, and comes again for the rest
        self._steps.pop(source, None)
        return Done()
