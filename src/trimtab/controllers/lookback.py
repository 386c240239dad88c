"""The past of what was published: looked at when those that wait for the new revision have had their turn."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from trimtab.base.clock import Clock
from trimtab.manifests.refs import Key
from trimtab.runtime.controller import Controller, Done, Result

AFTER_S: Final = 2.0
Step: TypeAlias = Callable[[], Awaitable[None]]


class Lookback:
    """One look after the other. What was not looked at when the process ends is not told."""

    def __init__(self, clock: Clock) -> None:
        self.controller: Controller[Key] = Controller("history", self._look, clock=clock, concurrency=1)
        self._steps: dict[Key, list[Step]] = {}

    def add(self, source: Key, step: Step) -> None:
        """Make `step` soon: every one of them, in order, for a step back may be followed by one forward."""
        self._steps.setdefault(source, []).append(step)
        self.controller.queue.add(source, after=AFTER_S)

    async def _look(self, source: Key) -> Result:
        for step in self._steps.pop(source, []):
            await step()
        return Done()
