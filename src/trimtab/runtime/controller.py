"""The loop: keys in, passes over them, and what becomes of each outcome.

A controller is level-based: a pass gets a key and nothing else, looks at the world as it is, and may be run at any time
and any number of times. What went wrong decides only when the next pass is.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeAlias, TypeVar

from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient, TrimtabError, Waiting
from trimtab.base.flows import flow
from trimtab.base.logs import about
from trimtab.base.tasks import Tasks
from trimtab.runtime.queue import Closed, Priority, Queue

K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)

LEAST_INTERVAL_S = 1.0
"""An interval of `0s` passes admission, as in Flux; it must not become a busy loop."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing to do until something moves."""


@dataclass(frozen=True, slots=True)
class Again:
    """All is well; look again in `after` seconds."""

    after: float


Result: TypeAlias = Done | Again


@dataclass(frozen=True, slots=True)
class Pass(Generic[K]):
    """One pass over a key: its outcome, how long it took, and in how many seconds the next is planned, if one is."""

    controller: str
    key: K
    outcome: Result | Exception
    seconds: float
    next_s: float | None

    @property
    def failed(self) -> bool:
        """Whether it ended in an error; waiting for something else is none."""
        return isinstance(self.outcome, Exception) and not isinstance(self.outcome, Waiting)


class Controller(Generic[K]):
    """Workers that call `reconcile` for the keys of `queue`; they come as they are needed, up to `concurrency`.

    `reconcile` returns a Result or raises: Waiting is tried again after its time, Transient and everything unforeseen
    with backoff, Terminal not before something moves. `backoff_cap` is in seconds, for all keys or per key.
    `deadline_s` ends a pass that hangs, for all keys or per key: no key may hold a worker for ever.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Awaitable[Result]],
        *,
        clock: Clock,
        concurrency: int = 20,
        backoff_cap: float | Callable[[K], float] = 300.0,
        deadline_s: float | Callable[[K], float] = 1800.0,
    ) -> None:
        self.name = name
        self.queue: Queue[K] = Queue(clock, name=name)
        self.concurrency = concurrency
        self._reconcile = reconcile
        self._clock = clock
        self._backoff_cap = backoff_cap
        self._deadline_s = deadline_s
        self._listeners: list[Callable[[Pass[K]], None]] = []
        self._workers: list[asyncio.Task[None]] = []
        self._idle = 0

    def on_pass(self, listener: Callable[[Pass[K]], None]) -> None:
        """Call `listener` after every pass; it has to be quick and must not raise."""
        self._listeners.append(listener)

    def start(self, tasks: Tasks) -> None:
        """Begin to work, within the lifetime of `tasks`. A controller that was stopped may be started again."""
        if self._workers:
            raise RuntimeError(f"controller {self.name} is running already")
        self.queue.open()
        self._idle = 0
        self._enlist(tasks)

    async def stop(self, grace_s: float = 30.0) -> frozenset[K]:
        """Take no new key, give the passes in flight `grace_s` seconds, then cancel them; the keys that were cut off.

        They and everything that was queued stay queued: a later start, or another process, takes them up.
        """
        self.queue.close()
        workers, self._workers = self._workers, []
        if not workers:
            return frozenset()
        try:
            await asyncio.wait(workers, timeout=grace_s)
        finally:
            cut = self.queue.in_flight
            for worker in workers:
                worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        if cut:
            log.warning("controller %s: %d passes were cut off after %.0f s", self.name, len(cut), grace_s)
        return cut

    def _enlist(self, tasks: Tasks) -> None:
        self._idle += 1
        name = f"{self.name}-{len(self._workers) + 1}"
        self._workers.append(tasks.keep(partial(self._work, tasks), name=name))

    async def _work(self, tasks: Tasks) -> None:
        while True:
            try:
                key = await self.queue.get()
            except Closed:
                return
            finally:
                self._idle -= 1
            if not self._idle and len(self._workers) < self.concurrency:
                self._enlist(tasks)
            try:
                with about(f"{self.name} {key}"), flow(f"{self.name} {key}"):
                    await self._run(key)
            except BaseException:
                self.queue.retry(key)  # cut off: whoever starts next takes it up
                raise
            finally:
                self._idle += 1
                self.queue.done(key)

    async def _run(self, key: K) -> None:
        started = self._clock.monotonic()
        outcome = await self._attempt(key)
        next_s = self._settle(key, outcome)
        done = Pass(self.name, key, outcome, self._clock.monotonic() - started, next_s)
        for listener in self._listeners:
            listener(done)

    async def _attempt(self, key: K) -> Result | Exception:
        """What came of one pass, errors included: a key must survive whatever its pass does."""
        limit_s = self._deadline_s(key) if callable(self._deadline_s) else self._deadline_s
        deadline = asyncio.timeout(limit_s)
        try:
            async with deadline:
                return await self._reconcile(key)
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this worker: the pass awaited something that was cancelled under it.
            failure = Transient("Interrupted", f"{self.name} {key}: something this pass waited for was cancelled")
            failure.__cause__ = cancelled
            return failure
        except Exception as failure:
            # The queue worker is where every failure ends.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                # The pass failed at what it did on being ended: a worker that went on would never end.
                raise asyncio.CancelledError from failure
            if not deadline.expired():
                return failure
            overdue = Transient("Timeout", f"{self.name} {key}: the pass was cut off after {limit_s:.0f} s")
            overdue.__cause__ = failure
            return overdue

    def _settle(self, key: K, outcome: Result | Exception) -> float | None:
        """Plan the next pass. Returns in how many seconds it is, None for not before something moves."""
        match outcome:
            case Done():
                self.queue.forget(key)
                return None
            case Again(after):
                self.queue.forget(key)
                self.queue.add(key, priority=Priority.RESYNC, after=after)
                return after
            case Waiting(after=after):
                log.info("is waiting: %s", outcome)
                self.queue.add(key, priority=Priority.RETRY, after=after)
                return after
            case Terminal():
                log.warning("failed until something changes: %s", outcome)
                self.queue.forget(key)
                return None
            case Transient(retry_after=retry_after):
                delay = self._retry(key, retry_after)
                log.warning("failed, again in %.1f s: %s", delay, outcome)
                return delay
            case _:
                delay = self._retry(key, getattr(outcome, "retry_after", None))
                # An error with a reason was foreseen; for all others the traceback is the message.
                trace = None if isinstance(outcome, TrimtabError) or getattr(outcome, "transient", False) else outcome
                log.error("failed, again in %.1f s: %s", delay, outcome or repr(outcome), exc_info=trace)
                return delay

    def _retry(self, key: K, asked: float | None) -> float:
        cap = self._backoff_cap(key) if callable(self._backoff_cap) else self._backoff_cap
        return self.queue.retry(key, cap=cap, floor=asked or 0.0)
