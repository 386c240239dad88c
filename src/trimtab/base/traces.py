"""What a revision went through, as spans: told to whoever records traces, or to nobody, which costs nothing.

There is one trace per revision of a source, whoever works on it: its id is made of the source's uid and the revision,
as Flux makes the ids of its spans of an object's uid and its revision, so that processes agree on it without a word
between them. The span of the source is the root, and its id is known to all in the same way.

A story puts `passage` around a pass, the stages in it put `span` around themselves. What a pass has to tell lies in its
Passage until it is known which trace it belongs to, whether it is worth telling, and what must be hidden in it.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, NamedTuple, Protocol, TypeAlias

from trimtab.base.clock import Clock
from trimtab.base.errors import TrimtabError
from trimtab.base.logs import escape, redact

Value: TypeAlias = str | int | bool
Hide: TypeAlias = Callable[[str], str]

MOST_SPANS: Final = 128
"""Of one pass. What is beyond is counted, and not told."""
LONGEST_VALUE: Final = 256
LONGEST_ERROR: Final = 1024
TRACEPARENT: Final = "trimtab.dev/traceparent"
"""Annotation of an event: the trace and the span that it belongs to, in the form of W3C."""

_BIRTH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Trace(NamedTuple):
    """The trace of one revision of one source. `root` is the span of the source."""

    id: int
    root: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that took from `began` to `ended` (nanoseconds of Unix); `parent` is 0 for the root of a trace.

    `error` is the reason of a failure, of a handful of words, and `message` what was said of it.
    `follows` are traces that this came from.
    """

    trace: int
    id: int
    parent: int
    name: str
    began: int
    ended: int
    attributes: Mapping[str, Value] = field(default_factory=dict)
    error: str = ""
    message: str = ""
    follows: tuple[Trace, ...] = ()


class Traces(Protocol):
    """Who records spans."""

    @property
    def on(self) -> bool:
        """Whether anybody does."""
        ...

    def record(self, spans: Iterable[Span]) -> None:
        """Keep `spans`. Returns at once and does not fail."""
        ...


class NoTraces:
    """Nobody does."""

    on: bool = False

    def record(self, spans: Iterable[Span]) -> None:
        """Nothing is kept."""


NO_TRACES: Final = NoTraces()


def new_id() -> int:
    """The id of a span, and of no other."""
    return int.from_bytes(secrets.token_bytes(8), "big") or 1


@dataclass(slots=True, kw_only=True)
class Step:
    """A span that is going on, or whose story is not told yet."""

    name: str
    parent: int
    began: int
    ended: int = 0
    id: int = field(default_factory=new_id)
    attributes: dict[str, Value] = field(default_factory=dict)
    failure: BaseException | None = None

    def say(self, **attributes: Value) -> None:
        """Add attributes of our own (`trimtab.<name>`)."""
        self.attributes.update({f"trimtab.{name}": value for name, value in attributes.items()})


class Passage:
    """One pass and the steps in it. `trace` is set once it is known, and `head` with it: the span they are parts of.

    `follows` are the traces of what goes into it. `failure` is what it ended with, where that is not raised.
    """

    def __init__(self, clock: Clock) -> None:
        self.trace: Trace | None = None
        self.head = self._top = new_id()
        self.left_out = 0
        self.failure: BaseException | None = None
        self.follows: tuple[Trace, ...] = ()
        self._steps: list[Step] = []
        self._clock = clock
        self.began = self.now()

    def now(self) -> int:
        """Nanoseconds of Unix."""
        return nanoseconds(self._clock.now())

    def begin(self, name: str, above: Step | None, attributes: Mapping[str, Value]) -> Step:
        """A step that begins now, as a part of the step `above`."""
        parent = above.id if above is not None else self._top
        step = Step(name=name, parent=parent, began=self.now(), attributes=dict(attributes))
        if len(self._steps) < MOST_SPANS:
            self._steps.append(step)
        else:
            self.left_out += 1
        return step

    def told(self, trace: Trace, hide: Hide) -> list[Span]:
        """The steps as spans of `trace`, without what `hide` takes out. They are told once."""
        steps, self._steps = self._steps, []
        for step in steps:
            step.parent = self.head if step.parent == self._top else step.parent
        return [as_span(step, trace, hide, step.ended or self.now()) for step in steps]


class _At:
    """Where in a passage the code is that runs."""

    __slots__ = ("passage", "step")

    def __init__(self, passage: Passage, step: Step | None) -> None:
        self.passage = passage
        self.step = step


_at: ContextVar[_At | None] = ContextVar("trace", default=None)


class _Span:
    """A step, as long as a block lasts."""

    __slots__ = ("_at", "_attributes", "_name", "_outer", "_token")

    def __init__(self, outer: _At, name: str, attributes: Mapping[str, Value]) -> None:
        self._outer, self._name, self._attributes = outer, name, attributes

    def __enter__(self) -> Step:
        passage = self._outer.passage
        step = passage.begin(self._name, self._outer.step, self._attributes)
        self._at = _At(passage, step)
        self._token = _at.set(self._at)
        return step

    def __exit__(self, _kind: object, failure: BaseException | None, _trace: TracebackType | None) -> None:
        _at.reset(self._token)
        if (step := self._at.step) is not None:
            step.ended, step.failure = self._at.passage.now(), failure


class _Nothing:
    """Stands in for a span, and its step, where nobody records one."""

    __slots__ = ()

    def __enter__(self) -> "_Nothing":
        return self

    def say(self, **attributes: Value) -> None:
        """Nobody hears it."""

    def __exit__(self, _kind: object, _failure: BaseException | None, _trace: TracebackType | None) -> None:
        pass


_NOTHING: Final = _Nothing()


def span(name: str, /, **attributes: Value) -> _Span | _Nothing:
    """A stage of the pass that is under way, as long as the block lasts; attributes are ours (`trimtab.<name>`).

    An error that leaves the block marks it.
    """
    at = _at.get()
    if at is None:
        return _NOTHING
    return _Span(at, name, {f"trimtab.{key}": value for key, value in attributes.items()})


def then(name: str, /, **attributes: Value) -> None:
    """The span that the code is in ends here, and one beside it begins; the block that opened the first ends it."""
    at = _at.get()
    if at is None or at.step is None:
        return
    before = at.step
    before.ended = at.passage.now()
    at.step = at.passage.begin(name, None, {f"trimtab.{key}": value for key, value in attributes.items()})
    at.step.parent = before.parent


@contextmanager
def passage(clock: Clock) -> Iterator[Passage]:
    """Gather the spans of a pass, as long as the block lasts."""
    begun = Passage(clock)
    token = _at.set(_At(begun, None))
    try:
        yield begun
    finally:
        _at.reset(token)


def here() -> Passage | None:
    """The passage that is under way; None where nobody records one."""
    at = _at.get()
    return at.passage if at is not None else None


def found(revision: str, uid: str) -> None:
    """The pass that is under way, of the source with `uid`, is about `revision`."""
    if (now := here()) is not None and revision:
        now.trace = trace_of(uid, revision)
        now.head = now.trace.root


def held(failure: BaseException) -> None:
    """The pass that is under way ends with `failure`, though it does not raise it."""
    if (now := here()) is not None:
        now.failure = failure


def after(revision: str, uid: str) -> None:
    """What the pass that is under way makes is made of `revision` of the source with `uid`."""
    if (now := here()) is not None:
        now.follows += (trace_of(uid, revision),)


def traceparent() -> str:
    """Where we are, in the form of W3C; empty where no trace is known."""
    now = here()
    if now is None or now.trace is None:
        return ""
    return f"00-{now.trace.id:032x}-{now.head:016x}-01"


def trace_of(uid: str, revision: str) -> Trace:
    """The trace of `revision` of the source with `uid`."""
    digest = hashlib.sha256(f"{uid}:{revision}".encode()).digest()
    return Trace(int.from_bytes(digest[:16], "big"), int.from_bytes(digest[:8], "big"))


def nanoseconds(moment: datetime) -> int:
    """`moment` in nanoseconds of Unix."""
    return (moment - _BIRTH) // _MICROSECOND * 1000


def as_span(step: Step, trace: Trace, hide: Hide, ended: int, follows: tuple[Trace, ...] = ()) -> Span:
    """`step` as it may be told: what is secret goes before anything is cut, so that no half of it is left."""
    error, message = reason_of(step.failure), ""
    if step.failure is not None:
        message = bounded(words_of(step.failure), hide, LONGEST_ERROR)
    return Span(
        trace=trace.id,
        id=step.id,
        parent=step.parent,
        name=step.name,
        began=step.began,
        ended=max(ended, step.began),
        attributes={
            name: bounded(value, hide, LONGEST_VALUE) if isinstance(value, str) else value
            for name, value in step.attributes.items()
            if value != ""
        },
        error=error,
        message=message,
        follows=follows,
    )


def bounded(text: str, hide: Hide, most: int) -> str:
    """`text` without secrets and on one line, of at most `most` characters."""
    safe = escape(redact(hide(text)))
    return safe if len(safe) <= most else f"{safe[: most - 1]}…"


def reason_of(failure: BaseException | None) -> str:
    """What went wrong, in a word; empty for nothing."""
    if failure is None:
        return ""
    if isinstance(failure, asyncio.CancelledError):
        return "Interrupted"
    return failure.reason if isinstance(failure, TrimtabError) else type(failure).__name__


def words_of(failure: BaseException) -> str:
    """What is said of it. What an error says that nobody has foreseen is not told: nobody knows what is in it."""
    foreseen = isinstance(failure, TrimtabError) or getattr(failure, "transient", None) is not None
    return str(failure) if foreseen else ""


def nothing(text: str) -> str:
    """There is nothing to hide in `text`."""
    return text
