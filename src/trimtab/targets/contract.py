"""The one contract for everything that can be converged.

A `Plan` is one value: it can be printed, shown, approved by its digest, and `converge` executes exactly it.
"""

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

from trimtab.health.verdict import Verdict
from trimtab.manifests.refs import Origin, Ref

Wished_contra = TypeVar("Wished_contra", contravariant=True)
Observed = TypeVar("Observed")
Content = TypeVar("Content")


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


class Outcome(NamedTuple):
    """What converge did to one object; `message` has the server's words of a failure."""

    ref: Ref
    effect: Effect
    message: str = ""
    origin: Origin | None = None
    transient: bool = True

    def __str__(self) -> str:
        place = f" ({self.origin})" if self.origin else ""
        return f"{self.ref}{place}: {self.message}" if self.message else f"{self.ref} {self.effect}"


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
