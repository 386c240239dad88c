"""The one way to start a task that outlives its caller.

asyncio keeps only weak references to tasks and reports a failure when it is too late. `Tasks` keeps them, names them,
restarts those that are meant to run for ever, and ends them all.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from trimtab.base.flows import NOBODY, flow

log = logging.getLogger(__name__)

_RESTART_DELAYS_S = (0.1, 0.5, 1.0, 5.0, 15.0, 30.0)


class Tasks:
    """A nursery with the lifetime of a process or of a component."""

    def __init__(self, name: str = "trimtab") -> None:
        self.name = name
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run `work` once. Its failure is logged; it does not take others with it."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def keep(self, work: Callable[[], Awaitable[None]], *, name: str) -> asyncio.Task[Any]:
        """Run `work` for ever: a failure is logged and it is started again after a growing delay."""
        return self.spawn(self._forever(work, name), name=name)

    async def close(self) -> None:
        """Cancel everything and wait until it is gone."""
        self._closed = True
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._tasks.difference_update(tasks)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.error("task %s failed: %s", task.get_name(), failure, exc_info=failure)

    async def _forever(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while not self._closed:
            started = loop.time()
            try:
                with flow(NOBODY):  # it outlives the pass that may have begun it, and is there for all
                    await work()
                return
            except asyncio.CancelledError:
                raise
            except Exception as failure:
                log.exception("task %s/%s failed, it is started again", self.name, name, exc_info=failure)
            failures = 1 if loop.time() - started > 60 else failures + 1
            await asyncio.sleep(_RESTART_DELAYS_S[min(failures, len(_RESTART_DELAYS_S)) - 1])
