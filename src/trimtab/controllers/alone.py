"""One at a time: two runs for the same app never write side by side, held apart by a Lease."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from trimtab.api import names
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient, Waiting
from trimtab.base.tasks import Tasks
from trimtab.kube.client import Client
from trimtab.manifests.refs import Key
from trimtab.runtime.lease import Elector

T = TypeVar("T")

_DURATION_S: Final = 8.0
"""So long the next run waits for one that was killed."""
_RENEW_S: Final = 2.0
_GIVE_UP_S: Final = 5.0
_LOOK_S: Final = 0.5
_HOPE_S: Final = 6.0
"""What keeps us from the Lease for so long, and is nobody who holds it, is no hiccup."""


class Alone:
    """The Lease of the app `key`. `told` hears who holds it while it is somebody else."""

    def __init__(self, client: Client, key: Key, identity: str, clock: Clock, told: Callable[[str], None]) -> None:
        self._key = key
        self._told = told
        self._elector = Elector(
            *(client, key.namespace, f"{key.name}.apply.trimtab.dev", identity, clock, _DURATION_S, _RENEW_S),
            renew_deadline_s=_GIVE_UP_S,
        )

    def remaining(self) -> float:
        """For how many seconds nobody else can have begun to write."""
        return self._elector.remaining()

    async def run(self, work: Callable[[], Awaitable[T]], patience_s: float, *, again: bool = False) -> T:
        """What `work` answers, done while the Lease is ours. Where it was lost meanwhile, `again` begins anew.

        Raises Waiting where somebody else holds it for longer than `patience_s`, Transient where it was lost, or
        cannot be had at all.
        """
        begun, answers = asyncio.Event(), list[T | BaseException]()

        async def lead() -> None:
            if begun.is_set() and not again:
                lost = f"the Lease of app {self._key} was lost meanwhile: apply it again"
                answers.append(Transient("LeadershipLost", lost))
                return
            begun.set()
            answers.extend(await asyncio.gather(work(), return_exceptions=True))

        tasks = Tasks(f"apply {self._key}")
        leader = tasks.spawn(self._elector.run(lead), name="lead")
        waiter = tasks.spawn(self._tell(begun, _HOPE_S if patience_s < float("inf") else patience_s), name="wait")
        try:
            await asyncio.wait({leader, waiter}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            if not begun.is_set() and self._elector.problem:
                words = f"the Lease of app {self._key} cannot be had: {self._elector.problem}"
                raise Transient(names.Reason.RECONCILIATION_FAILED, words)
            if not begun.is_set():
                holder = self._elector.holder or "somebody else"
                words = f"app {self._key} is being applied by {holder}: {patience_s:g} s were not enough (--timeout)"
                raise Waiting(names.Reason.PROGRESSING, words)
            await leader
        finally:
            await tasks.close()
        answer = answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def _tell(self, begun: asyncio.Event, hope_s: float) -> None:
        """Say who is waited for, once for each, until it is our turn, or was a problem for so many seconds."""
        said, troubled_s = "", 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await begun.wait()
                return
            troubled_s = troubled_s + _LOOK_S if self._elector.problem else 0.0
            if troubled_s >= hope_s:
                return
            holder = self._elector.holder
            if holder not in ("", said, self._elector.identity):
                said = holder
                self._told(holder)
