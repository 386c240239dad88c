"""A slow look at everything that is applied, for what raises no event: admission policies and schemas that changed.

Each look is a read and an apply that changes nothing (ENGINE.md §8, D11). They are spread evenly over the period, so
that ten thousand objects in six hours are one every two seconds.
"""

from collections.abc import Iterable

from trimtab.base.clock import Clock
from trimtab.controllers.place import Place
from trimtab.targets.kubernetes.tracking import News

SHORTEST_PAUSE_S = 0.05
_IDLE_S = 60.0


class Backstop:
    """Has every object looked at once in `every_s` seconds."""

    def __init__(self, places: Iterable[Place], clock: Clock, every_s: float) -> None:
        self._places = places
        self._clock = clock
        self._every_s = every_s

    async def run(self) -> None:
        """Go round and round, for ever."""
        while True:
            await self._clock.sleep(min(_IDLE_S, self._every_s))
            rounds = [(place.target.tracker, tracked) for place in self._places for tracked in place.target.tracker]
            pause = max(self._every_s / max(1, len(rounds)), SHORTEST_PAUSE_S)
            for tracker, tracked in rounds:
                await self._clock.sleep(pause)
                if tracker.get(tracked.ref) is tracked and tracked.doubt():
                    tracker.report(tracked, News.DISTURBED)
