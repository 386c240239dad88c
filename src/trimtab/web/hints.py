"""Asks objects for a look, by the annotation that every client of ours knows: once for many calls.

A hint is worth nothing by itself: whoever is asked looks at its own source. So hints may be folded into each other. An
object is asked at most once at a time, with one more look waiting, in growing distances (`pace.Spacing`); how many
objects wait is bounded. What cannot be asked because the API server does not answer waits until it does.
"""

import logging
from enum import StrEnum
from typing import Final

from trimtab.api.names import NOTIFICATION_MANAGER, REQUESTED_AT
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound, StaleGroup, UnknownKind
from trimtab.runtime.controller import Controller, Done, Result
from trimtab.runtime.queue import Priority
from trimtab.web.pace import Spacing
from trimtab.web.targets import Target

log = logging.getLogger(__name__)

MOST_WAITING: Final = 10_000
_WORKERS: Final = 8
_RETRY_CAP_S: Final = 30.0
_PRIORITY: Final = 4


class Outcome(StrEnum):
    """What became of a hint: a label of a metric."""

    ASKED = "asked"
    FOLDED = "folded"
    MISSING = "missing"
    REFUSED = "refused"
    DROPPED = "dropped"


class Hints:
    """The hints of one process."""

    def __init__(self, client: Client, clock: Clock, telemetry: Telemetry, *, most: int = MOST_WAITING) -> None:
        self._client = client.with_priority(_PRIORITY)
        self._clock = clock
        self._telemetry = telemetry
        self._most = most
        self._spacing: Spacing[Target] = Spacing(most=2 * most)
        self.controller: Controller[Target] = Controller(
            "hint", self._ask, clock=clock, concurrency=_WORKERS, backoff_cap=_RETRY_CAP_S, deadline_s=60.0
        )
        telemetry.watch_queue("hint", depth=self.controller.queue.__len__, oldest=self.controller.queue.oldest)

    def start(self, tasks: Tasks) -> None:
        """Begin to ask."""
        self.controller.start(tasks)

    def give(self, target: Target) -> bool:
        """Have `target` asked for a look; False if too many wait already. Returns at once."""
        queue = self.controller.queue
        if target in queue:
            self._telemetry.hinted(Outcome.FOLDED)
            return True
        if self.waiting >= self._most:
            self._telemetry.hinted(Outcome.DROPPED)
            return False
        queue.add(target, priority=Priority.REQUEST, after=self._spacing.wait(target, self._clock.monotonic()))
        return True

    @property
    def waiting(self) -> int:
        """How many objects wait to be asked, now or later."""
        return len(self.controller.queue) + self.controller.queue.waiting

    async def _ask(self, target: Target) -> Result:
        self._spacing.asked(target, self._clock.monotonic())
        patch = {"metadata": {"annotations": {REQUESTED_AT: self._clock.now().isoformat(timespec="microseconds")}}}
        try:
            resource = await self._client.discovery.find_kind(target.group, target.kind)
            await self._client.merge_patch(
                resource, target.name, target.namespace, patch, field_manager=NOTIFICATION_MANAGER
            )
        except NotFound:
            log.warning("%s is named by a Receiver and does not exist", target)
            self._telemetry.hinted(Outcome.MISSING)
        except (UnknownKind, StaleGroup) as failure:
            log.warning("%s is named by a Receiver: %s", target, failure)
            self._telemetry.hinted(Outcome.MISSING)
        except ApiError as failure:
            if failure.transient:
                raise Transient(failure.reason, f"{target} cannot be asked for a look: {failure}") from failure
            log.warning("%s cannot be asked for a look: %s", target, failure)
            self._telemetry.hinted(Outcome.REFUSED)
        else:
            log.info("%s was asked for a look", target)
            self._telemetry.hinted(Outcome.ASKED)
        return Done()
