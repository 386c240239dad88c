"""A controller, connected with the objects that it works for and with what watches over it."""

from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from typing import Final, TypeVar

from trimtab.api.names import REQUESTED_AT
from trimtab.api.requests import correction_asked, requester
from trimtab.base.clock import Clock
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Subject, Telemetry
from trimtab.controllers.offering import Named, about
from trimtab.controllers.state import ObjectState
from trimtab.kube.errors import Unreachable
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests.refs import Key
from trimtab.runtime import server
from trimtab.runtime.controller import Controller, Pass
from trimtab.runtime.events import Recorder
from trimtab.runtime.queue import Priority
from trimtab.runtime.watchdog import Watchdog

T = TypeVar("T", bound=Named)
REASON: Final = "ReconcileRequested"


def attach(
    tasks: Tasks,
    controller: Controller[Key],
    informer: Informer[T],
    kind: str,
    state: Callable[[Key], ObjectState | None],
    *,
    telemetry: Telemetry,
    clock: Clock,
    checks: MutableMapping[str, server.Check],
    recorder: Recorder | None = None,
) -> None:
    """Connect a controller with what feeds it and what watches over it; `recorder` tells who asked for something."""

    def measure(done: Pass[Key]) -> None:
        subject = Subject(kind, done.key.namespace, done.key.name)
        now = state(done.key)
        if now is None:
            telemetry.forget(subject)
            return
        telemetry.reconciled(subject, done.seconds)
        telemetry.ready(subject, now.ready)
        telemetry.suspended(subject, now.suspended)
        telemetry.revision(subject, now.revision)
        telemetry.drifting(subject, now.drift_since)
        telemetry.holding(subject, deletions=now.prune_held, revision=now.revision_held)
        if now.unverified:
            telemetry.unverified(now.unverified)
        if not informer.live or isinstance(done.outcome, Unreachable):
            return  # what we know of it is what was once seen: that is no look at it, and no success
        telemetry.observed(subject, clock.now(), now.interval_s)
        if now.ready and not isinstance(done.outcome, Exception):
            telemetry.succeeded(subject, clock.now())

    async def intervals() -> Mapping[Key, float]:
        states = {key: state(key) for key in informer.store}
        return {key: now.interval_s for key, now in states.items() if now is not None and not now.suspended}

    informer.add_handler(feed(controller))
    if recorder is not None:
        informer.add_handler(requests(recorder))
    controller.on_pass(measure)
    queue = controller.queue
    telemetry.watch_queue(
        controller.name,
        depth=queue.__len__,
        # what is left over from a term in office waits for the next one, here or elsewhere
        oldest=lambda: 0.0 if queue.closed else queue.oldest(),
    )
    telemetry.watch_kind(
        kind,
        live=lambda: informer.live,
        there=lambda subject: Key(subject.namespace, subject.name) in informer.store,
    )
    watchdog = Watchdog(controller, intervals, clock, telemetry=telemetry)
    tasks.keep(watchdog.run, name=f"watchdog-{controller.name}")
    checks[f"watchdog {controller.name}"] = watchdog.check
    checks[f"watch {controller.name}"] = partial(getattr, informer, "problem")


def feed(controller: Controller[Key]) -> Callable[[Event[T]], None]:
    """Queue an object when what a person may change of it changed; our own status writes come back unheard.

    What was changed is tried as if it had never failed.
    """

    def hear(event: Event[T]) -> None:
        if not isinstance(event, Applied):
            controller.queue.add(event.old.key)
            return
        old, new = event.old, event.new
        if old is not None and _meaning(old) != _meaning(new):
            controller.queue.forget(new.key)
        if old is not None and old.metadata.requested_at != new.metadata.requested_at:
            controller.queue.add(new.key, priority=Priority.REQUEST)
        elif old is None or _meaning(old) != _meaning(new):
            controller.queue.add(new.key)

    return hear


def requests(recorder: Recorder) -> Callable[[Event[T]], None]:
    """Tell of every request for a reconcile that says who made it.

    Others are not told of: a webhook, or somebody who asks three hundred apps at once, would cost an event for each.
    """

    def hear(event: Event[T]) -> None:
        if not isinstance(event, Applied) or event.old is None:
            return
        annotations = event.new.metadata.annotations
        if annotations.get(REQUESTED_AT) == event.old.metadata.requested_at:
            return
        if who := requester(annotations):
            more = ", and that drift is corrected" if correction_asked(annotations, "") else ""
            words = f"{who} asked for a reconcile{more}"
            recorder.record(about(event.new), "Normal", REASON, words, {})

    return hear


def _meaning(item: Named) -> tuple[object, ...]:
    metadata = item.metadata
    return metadata.uid, metadata.generation, metadata.deleted, metadata.annotations
