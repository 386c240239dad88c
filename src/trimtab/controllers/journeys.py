"""The way of a revision, told as a trace: which passes belong to it, and what is told of them.

Told is how a source came to a revision, and how each of its apps did, until it is healthy. A pass that finds all as it
was is not told, nor one that a commit did not touch, nor what happens to an app afterwards: a trace ends.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from trimtab.api.gvk import GIT_REPOSITORY
from trimtab.api.names import Reason
from trimtab.base.clock import Clock
from trimtab.base.errors import TrimtabError, Waiting
from trimtab.base.traces import (
    Hide,
    Passage,
    Step,
    Trace,
    Traces,
    Value,
    as_span,
    here,
    new_id,
    nothing,
    passage,
    trace_of,
)
from trimtab.controllers.offering import Named
from trimtab.manifests.refs import Key
from trimtab.targets.contract import Outcome

MOST_FAILURES: Final = 20
"""So many different failures of one object are told of one revision; what repeats is told once."""


class _Failure(NamedTuple):
    """What was told last of a revision that failed, and how often something was."""

    trace: Trace
    said: str
    times: int = 1


class _Failures:
    """What was told of failures, so that it is not told again with every try."""

    def __init__(self) -> None:
        self._told: dict[Key, _Failure] = {}

    def news(self, key: Key, trace: Trace, said: str) -> bool:
        """Whether `said` is something to tell of `key`; from now on it is told."""
        before = self._told.get(key)
        if before is None or before.trace != trace:
            self._told[key] = _Failure(trace, said)
            return True
        if before.said == said or before.times >= MOST_FAILURES:
            return False
        self._told[key] = _Failure(trace, said, before.times + 1)
        return True

    def forget(self, key: Key) -> None:
        """It went well, or it is gone."""
        self._told.pop(key, None)


class Writings:
    """The commits that our own automations make: each is in the trace of the revision that it becomes.

    Whoever fetches it has the same source and finds the same commit, so the trace is known before it begins.
    """

    def __init__(self, traces: Traces, clock: Clock) -> None:
        self._traces = traces
        self._clock = clock

    @contextmanager
    def watching(self, item: Named) -> Iterator[None]:
        """One pass over `item`, told if something was pushed in it, also if it failed afterwards."""
        if not self._traces.on:
            yield
            return
        with passage(self._clock) as begun:
            failed: BaseException | None = None
            try:
                yield
            except BaseException as failure:
                failed = failure
                raise
            finally:
                if (trace := begun.trace) is not None:
                    step = Step(name=name_of(item), parent=trace.root, began=begun.began, id=begun.head)
                    step.failure, step.attributes = failed, attributes_of(item, "", "")
                    spans = begun.told(trace, nothing)
                    self._traces.record([*spans, as_span(step, trace, nothing, begun.now())])

    def pushed(self, source: Named, branch: str, commit: str) -> None:
        """The pass that is under way has pushed `commit` to `branch` of `source`."""
        if (now := here()) is not None:
            now.trace = trace_of(source.metadata.uid, f"{branch}@sha1:{commit}")


class Arrivals:
    """How the sources of one kind came to their revisions: the roots of traces."""

    def __init__(self, traces: Traces, clock: Clock) -> None:
        self._traces = traces
        self._clock = clock
        self._failures = _Failures()

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._failures.forget(key)

    @contextmanager
    def watching(self, item: Named, revision: Callable[[], str]) -> Iterator[None]:
        """One pass over `item`, whose artifact is of `revision`: it is told if that is another one afterwards."""
        if not self._traces.on:
            yield
            return
        before = revision()
        with passage(self._clock) as begun:
            try:
                yield
            except BaseException as failure:
                self._failed(item, begun, before, failure)
                raise
        if begun.failure is not None:
            self._failed(item, begun, before, begun.failure)
        elif (after := revision()) != before and after:
            begun.trace = trace_of(item.metadata.uid, after)
            self._tell(item, begun, begun.trace, begun.trace.root, after, None)
            self._failures.forget(item.key)

    def _failed(self, item: Named, begun: Passage, before: str, failure: BaseException) -> None:
        trace = begun.trace
        if trace is None or trace == trace_of(item.metadata.uid, before) or isinstance(failure, Waiting):
            return  # what was there before is there still, or nobody knows what would have come
        if self._failures.news(item.key, trace, str(failure)):
            self._tell(item, begun, trace, new_id(), "", failure)

    def _tell(
        self, item: Named, begun: Passage, trace: Trace, head: int, revision: str, failure: BaseException | None
    ) -> None:
        """The pass as the span `head`: the root, where it brought the revision; below that, where it did not."""
        begun.head = head
        step = Step(name=name_of(item), parent=0 if head == trace.root else trace.root, began=begun.began, id=head)
        step.failure, step.attributes = failure, attributes_of(item, item.kind, revision)
        span = as_span(step, trace, nothing, begun.now(), begun.follows)
        self._traces.record([*begun.told(trace, nothing), span])


@dataclass(slots=True)
class _Journey:
    """A revision on its way through an app: one span, over as many passes as it takes.

    `fresh`: it may be told. `told`: something was done for it, so it is. `checked_since`: objects are waited for to
    become healthy. `waits_since` and `waits_for` say how long it waits for something else, and for what; `steps` are
    such times, until it is told.
    """

    item: Named
    trace: Trace
    id: int
    began: int
    attributes: Mapping[str, Value]
    fresh: bool
    told: bool = False
    arrived: bool = False
    failure: TrimtabError | None = None
    checked_since: int = 0
    waits_since: int = 0
    waits_for: Waiting | None = None
    steps: list[Step] = field(default_factory=list)


class Journeys:
    """The ways of revisions through the apps of one kind."""

    def __init__(self, traces: Traces, clock: Clock) -> None:
        self._traces = traces
        self._clock = clock
        self._open: dict[Key, _Journey] = {}
        self._failures = _Failures()

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._open.pop(key, None)
        self._failures.forget(key)

    @contextmanager
    def passing(
        self, item: Named, hide: Callable[[], Hide], *, goes_on: tuple[type[Exception], ...] = ()
    ) -> Iterator[None]:
        """One pass over `item`. `hide` gives, at its end, what takes out of its words that which is not to be told.

        With an error of `goes_on`, as with one that waits, the way is not over.
        """
        if not self._traces.on:
            yield
            return
        with passage(self._clock) as begun:
            try:
                yield
            except BaseException as failure:
                self._end(item.key, begun, None if isinstance(failure, goes_on) else failure, hide())
                raise
        self._end(item.key, begun, None, hide())

    def depart(self, item: Named, source: Named | None, revision: str, *, settled: bool) -> None:
        """The pass that is under way is about `revision` of `source`; `settled`: it was healthy at that before."""
        now = here()
        if now is None or source is None:
            return
        trace, key = trace_of(source.metadata.uid, revision), item.key
        journey = self._open.get(key)
        if journey is not None and (journey.trace != trace or journey.item.metadata.uid != item.metadata.uid):
            self._leave(journey, now, superseded=True)
            journey = None
        if journey is None:
            attributes = attributes_of(item, source.kind, revision)
            journey = _Journey(item, trace, now.head, now.began, attributes, not settled)
            self._open[key] = journey
        now.trace, now.head = trace, journey.id

    def renew(self, key: Key) -> None:
        """Something else than the revision is new for `key`: that is told in the trace of the revision as well."""
        if (journey := self._open.get(key)) is not None:
            journey.fresh = True

    def check(self, key: Key) -> None:
        """What `key` has applied is waited for to become healthy."""
        if (journey := self._open.get(key)) is not None and (now := here()) is not None:
            journey.checked_since = journey.checked_since or now.now()

    def arrive(self, key: Key) -> None:
        """`key` is as it should be."""
        if (journey := self._open.get(key)) is not None:
            journey.arrived = True

    def stop(self, key: Key, failure: TrimtabError) -> None:
        """`key` is not tried any more, for what `failure` says."""
        if (journey := self._open.get(key)) is not None:
            journey.failure = failure

    def close(self) -> None:
        """Tell what is under way as it is: somebody else goes on."""
        with passage(self._clock) as now:
            for journey in list(self._open.values()):
                self._leave(journey, now, interrupted=True)
        self._open.clear()

    def _end(self, key: Key, begun: Passage, failure: BaseException | None, hide: Hide) -> None:
        journey = self._open.get(key)
        if journey is None or begun.trace is None:
            return
        failure = failure or journey.failure
        over = journey.arrived or (failure is not None and not isinstance(failure, Waiting))
        if over:
            del self._open[key]
        if not journey.fresh:
            self._open.pop(key, None)
            return
        if over and failure is not None and not self._failures.news(key, journey.trace, hide(str(failure))):
            return
        attributes = {"trimtab.spans.left_out": begun.left_out} if begun.left_out else {}
        spans = begun.told(journey.trace, hide)
        journey.steps += self._waits(journey, begun, failure)
        journey.told = journey.told or bool(spans) or (over and failure is not None)
        if journey.arrived:
            self._failures.forget(key)
        if not journey.told:
            return
        steps, journey.steps = journey.steps, []
        if over:
            steps += self._checks(journey, begun, failure)
            whole = self._whole(journey, attributes)
            whole.failure, whole.ended = failure, begun.now()
            steps.append(whole)
        spans += [as_span(step, journey.trace, hide, step.ended) for step in steps]
        self._traces.record(spans)

    def _waits(self, journey: _Journey, begun: Passage, failure: BaseException | None) -> list[Step]:
        """How long it had to wait for others, once that is over."""
        if isinstance(failure, Waiting):
            journey.waits_since, journey.waits_for = journey.waits_since or begun.began, failure
            return []
        if not journey.waits_since:
            return []
        said: dict[str, Value] = {"trimtab.waited_for": str(journey.waits_for)}
        step = Step(name="wait", parent=journey.id, began=journey.waits_since, ended=begun.began, attributes=said)
        journey.waits_since, journey.waits_for = 0, None
        return [step]

    def _checks(self, journey: _Journey, begun: Passage, failure: BaseException | None) -> list[Step]:
        if not journey.checked_since:
            return []
        step = Step(name="health", parent=journey.id, began=journey.checked_since, ended=begun.now())
        step.failure = failure if getattr(failure, "reason", "") == Reason.HEALTH_CHECK_FAILED else None
        return [step]

    def _whole(self, journey: _Journey, attributes: Mapping[str, Value]) -> Step:
        step = Step(name=name_of(journey.item), parent=journey.trace.root, began=journey.began, id=journey.id)
        step.attributes = {**journey.attributes, **attributes}
        return step

    def _leave(self, journey: _Journey, now: Passage, **why: bool) -> None:
        if journey.told:
            step = self._whole(journey, {f"trimtab.{name}": value for name, value in why.items()})
            self._traces.record([as_span(step, journey.trace, nothing, now.now())])


def effects(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many objects became what."""
    return dict(Counter(outcome.effect.value for outcome in outcomes))


def name_of(item: Named) -> str:
    """What the span of an object is called."""
    return f"{item.kind} {item.key}"


def attributes_of(item: Named, source: str, revision: str) -> dict[str, Value]:
    """The words of OpenTelemetry for an object at a revision of a `source` of that kind."""
    told: dict[str, Value] = {
        "k8s.namespace.name": item.metadata.namespace,
        "k8s.object.kind": item.kind,
        "k8s.object.name": item.metadata.name,
        "k8s.object.uid": item.metadata.uid,
        "trimtab.revision": revision,
    }
    if source == GIT_REPOSITORY.kind:
        name, _, commit = revision.rpartition("@")
        told |= {"vcs.ref.head.name": name, "vcs.ref.head.revision": commit.rpartition(":")[2]}
    return told
