"""The one contract for everything that can be converged.

A `Plan` is one value: it can be printed, shown, approved by its digest, and `converge` executes exactly it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from trimtab.diff.compare import Difference, Kind
from trimtab.diff.fields import Writer
from trimtab.health.verdict import Verdict
from trimtab.manifests.refs import Origin, Ref

Wished_contra = TypeVar("Wished_contra", contravariant=True)
Observed = TypeVar("Observed")
Content = TypeVar("Content")

_SHOWN = 5
_BACK: Mapping[Kind, Kind] = {"added": "removed", "removed": "added"}


class Action(StrEnum):
    """What a plan wants to do with one object."""

    APPLY = "apply"  # new or changed: judged at the gate first
    CORRECT = "correct"  # as wished before, but disturbed since
    KEEP = "keep"  # as wished, undisturbed: costs nothing
    SKIP = "skip"  # the object itself asks to be left alone
    DELETE = "delete"  # no longer wished


class Change(NamedTuple, Generic[Content]):
    """One step of a plan. `after` is the wish; a deletion has none."""

    ref: Ref
    action: Action
    after: Content | None
    why: str
    origin: Origin | None


class Plan(NamedTuple, Generic[Content]):
    """Ordered stages of changes, then the deletions in their own order."""

    stages: tuple[tuple[Change[Content], ...], ...]
    deletions: tuple[Change[Content], ...]

    @property
    def quiet(self) -> bool:
        """Nothing to do."""
        return not self.deletions and all(
            change.action in (Action.KEEP, Action.SKIP) for stage in self.stages for change in stage
        )


class Effect(StrEnum):
    """What became of one object."""

    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    CORRECTED = "corrected"
    DRIFTED = "drifted"
    DELETED = "deleted"
    RELEASED = "released"
    WAITING = "waiting"
    FAILED = "failed"


class Answer(StrEnum):
    """What was done about drift."""

    CORRECTED = "corrected"
    REPORTED = "reported"
    YIELDED = "yielded"  # a fight: it is left to the other writer
    RETURNED = "returned"  # it was left, and is as it should be again


class Drift(NamedTuple):
    """What one object had become: `differences` lead from there to what is wished.

    `gone`: it had been deleted. `hidden`: the account of the app may not read it, so that it differs is all there is
    to say. `note` is what else has to be known.
    """

    ref: Ref
    differences: tuple[Difference, ...]
    writer: Writer | None
    seen: datetime
    answer: Answer
    gone: bool = False
    hidden: bool = False
    note: str = ""

    def __str__(self) -> str:
        if self.answer is Answer.RETURNED:
            return f"{self.ref} is as declared again"
        fields = "; ".join(str(_happened(one)) for one in self.differences[:_SHOWN])
        what = "deleted" if self.gone else "differs" if self.hidden else fields
        more = f" and {len(self.differences) - _SHOWN} more" if len(self.differences) > _SHOWN else ""
        who = f" by {self.writer.manager} ({self.writer.operation})" if self.writer else ""
        when = f" at {self.writer.time}" if self.writer and self.writer.time else ""
        done = "" if self.answer is Answer.REPORTED else f", {self.answer}"
        return f"{self.ref} {what}{more}{who}{when}{done}" + (f": {self.note}" if self.note else "")


class Mark(NamedTuple):
    """An object at one moment. `digest` is that of the fields we own, with their values: it is not shown as it is."""

    uid: str
    version: str
    digest: str


def _happened(difference: Difference) -> Difference:
    """The way back, from what is wished to what was found: that is what somebody did."""
    kind: Kind = _BACK.get(difference.kind, difference.kind)
    return Difference(difference.path, kind, difference.after, difference.before)


class Outcome(NamedTuple):
    """What converge did to one object; `message` has the server's words of a failure.

    `stuck`: no retry can help, a person has to change the object. `before` is what it was, as far as it had been seen,
    `after` what was made of it.
    """

    ref: Ref
    effect: Effect
    message: str = ""
    origin: Origin | None = None
    transient: bool = True
    drift: Drift | None = None
    stuck: bool = False
    before: Mark | None = None
    after: Mark | None = None

    def __str__(self) -> str:
        place = f" ({self.origin})" if self.origin else ""
        return f"{self.ref}{place}: {self.message}" if self.message else f"{self.ref} {self.effect}"


class Witness(Protocol):
    """Puts on record what is about to be written, and what became of it."""

    async def begin(self, changes: Sequence[Change[Any]], user: str) -> str:
        """In the name of `user`, `changes` are made next; a name for that comes back when it is on record."""
        ...

    def end(self, attempt: str, outcomes: Sequence[Outcome], failure: str) -> None:
        """That became of `attempt`; `failure` is why it ended early. Without a name, it was to be a mere look."""
        ...


class Target(Protocol[Wished_contra, Observed, Content]):
    """A place that can be looked at, compared with a wish, and brought closer to it."""

    async def observe(self, wished: Wished_contra) -> Observed:
        """Look. Reads only."""
        ...

    def plan(self, wished: Wished_contra, observed: Observed) -> Plan[Content]:
        """Compare. Pure."""
        ...

    def converge(self, wished: Wished_contra, plan: Plan[Content]) -> AsyncIterator[Outcome]:
        """Act: the only writer. Idempotent and resumable."""
        ...

    def verdict(self, ref: Ref) -> Verdict:
        """How an object of the target is doing, as last seen."""
        ...
