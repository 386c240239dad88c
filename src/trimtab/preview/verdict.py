"""Whether a change will succeed, object by object: one value, which is printed as text, JSON, Markdown or SARIF."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

from trimtab.diff.report import Finding, State


class Weight(IntEnum):
    """How much a verdict counts for the whole."""

    FINE = 0
    NOTE = 1  # worth knowing, and nothing wrong
    UNKNOWN = 2
    FAILS = 3  # it does not succeed, or not without a person


class Verdict(StrEnum):
    """What will become of an object, or what has to be known about that."""

    FINE = "fine"
    RESTART = "restart"  # Pods are replaced, begun or ended
    WARNING = "warning"  # the server takes it, and warns
    CAPACITY = "capacity"  # it may find no room
    KEPT = "kept"  # it left what is declared, and stays
    PRUNED = "pruned"  # it left what is declared, and is deleted
    UNKNOWN = "unknown"
    HELD = "held"  # nothing happens until a person allows it
    BUILD_FAILED = "build-failed"  # it cannot be rendered, or is refused before any request
    CONFLICT = "conflict"  # two apps declare it
    FORBIDDEN = "forbidden"  # the account of its app may not
    REFUSED_SCHEMA = "refused-schema"
    REFUSED_POLICY = "refused-policy"
    IMMUTABLE = "immutable"
    IMAGE_MISSING = "image-missing"
    REFERENCE_MISSING = "reference-missing"
    QUOTA_EXCEEDED = "quota-exceeded"

    @property
    def weight(self) -> Weight:
        """How much it counts."""
        return _WEIGHTS.get(self, Weight.FAILS)


_WEIGHTS: Final[Mapping[Verdict, Weight]] = {
    Verdict.FINE: Weight.FINE,
    Verdict.RESTART: Weight.NOTE,
    Verdict.WARNING: Weight.NOTE,
    Verdict.CAPACITY: Weight.NOTE,
    Verdict.KEPT: Weight.NOTE,
    Verdict.PRUNED: Weight.NOTE,
    Verdict.UNKNOWN: Weight.UNKNOWN,
}
MEANINGS: Final[Mapping[Verdict, str]] = {
    Verdict.FINE: "Nothing is wrong",
    Verdict.RESTART: "Pods are replaced, begun or ended",
    Verdict.WARNING: "The server takes the object, and warns",
    Verdict.CAPACITY: "There may be no room for it",
    Verdict.KEPT: "It left what is declared, and stays",
    Verdict.PRUNED: "It left what is declared, and is deleted",
    Verdict.UNKNOWN: "It could not be found out",
    Verdict.HELD: "Nothing happens until a person allows it",
    Verdict.BUILD_FAILED: "It cannot be rendered, or is refused before any request",
    Verdict.CONFLICT: "Two apps declare the object, and one of them only can own it",
    Verdict.FORBIDDEN: "The account of its app may not apply the object",
    Verdict.REFUSED_SCHEMA: "The object is not valid",
    Verdict.REFUSED_POLICY: "A policy refuses the object",
    Verdict.IMMUTABLE: "A field that cannot change would",
    Verdict.IMAGE_MISSING: "The image is not in its registry",
    Verdict.REFERENCE_MISSING: "Something that the object needs is not there",
    Verdict.QUOTA_EXCEEDED: "A quota leaves no room for it",
}
"""Each verdict in a sentence."""


class Judgement(NamedTuple):
    """One thing to be said about an object; `path` is the field it is about.

    `policy` and `binding` name what refused or warned, `image` and `digest` what was looked for and found.
    """

    verdict: Verdict
    message: str
    path: str = ""
    policy: str = ""
    binding: str = ""
    image: str = ""
    digest: str = ""


class Declared(StrEnum):
    """How what is declared compares with the base."""

    ADDED = "added"
    CHANGED = "changed"
    SAME = "same"
    REMOVED = "removed"


class Step(NamedTuple):
    """What will become of one object: how it compares with what is live, and what is to be said about it.

    `declared` compares head and base, where there is a base. An object that could not be compared has a judgement that
    says why.
    """

    finding: Finding
    judgements: tuple[Judgement, ...] = ()
    declared: Declared | None = None

    @property
    def verdict(self) -> Verdict:
        """The heaviest of all that is to be said; the first of several."""
        found = [judgement.verdict for judgement in self.judgements]
        if self.finding.state is State.UNKNOWN:
            found.append(Verdict.UNKNOWN)
        return max(found, key=lambda verdict: verdict.weight, default=Verdict.FINE)

    @property
    def notable(self) -> bool:
        """Whether there is something to say."""
        return self.finding.state not in (State.SAME, State.SKIPPED) or self.verdict.weight > Weight.FINE


class Outcome(StrEnum):
    """The answer in a word."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    UNKNOWN = "unknown"


class Preview(NamedTuple):
    """All that was found out. `base` and `head` say what was compared, `unasked` what could not be known at all."""

    about: str
    base: str
    head: str
    at: datetime
    steps: tuple[Step, ...]
    unasked: tuple[str, ...] = ()

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many objects have each verdict, also of those that none has."""
        found = Counter(step.verdict for step in self.steps)
        return {verdict: found[verdict] for verdict in Verdict}

    @property
    def outcome(self) -> Outcome:
        """A certain failure is one whatever else is unknown; what is unknown is never taken for a success."""
        weights = {step.verdict.weight for step in self.steps}
        if Weight.FAILS in weights:
            return Outcome.FAILS
        if Weight.UNKNOWN in weights or (self.unasked and self.changing):
            return Outcome.UNKNOWN
        return Outcome.SUCCEEDS

    @property
    def open(self) -> tuple[str, ...]:
        """What could not be known, where that leaves anything open: where nothing changes, nobody had to be asked."""
        return () if self.outcome is Outcome.SUCCEEDS else self.unasked

    @property
    def changing(self) -> int:
        """How many objects would be created, changed or deleted, as far as that is known."""
        return sum(step.finding.state not in (State.SAME, State.SKIPPED) for step in self.steps)

    @property
    def notable(self) -> tuple[Step, ...]:
        """The steps there is something to say about, the heaviest first."""
        found = [step for step in self.steps if step.notable]
        return tuple(sorted(found, key=lambda step: -step.verdict.weight))

    def words(self) -> str:
        """The answer in a sentence."""
        told = [f"{count} {verdict}" for verdict, count in self.counts.items() if count and verdict is not Verdict.FINE]
        size = f"{len(self.steps)} object{'' if len(self.steps) == 1 else 's'}"
        change = f"{self.changing} of {size} change{'s' if self.changing == 1 else ''}"
        return f"{_ANSWERS[self.outcome]}: {', '.join([change, *told])}"


_ANSWERS: Final = {
    Outcome.SUCCEEDS: "it will succeed",
    Outcome.FAILS: "it will not succeed",
    Outcome.UNKNOWN: "whether it will succeed is not known",
}


def gathered(about: str, base: str, head: str, at: datetime, steps: Iterable[Step], unasked: Iterable[str]) -> Preview:
    """A preview of `steps` in the order of their apps and objects."""
    ordered = sorted(steps, key=lambda step: (str(step.finding.app or ""), step.finding.ref, step.finding.state))
    return Preview(about, base, head, at, tuple(ordered), tuple(dict.fromkeys(unasked)))
