"""Values of Secrets kept out of what is told. Pure.

Substitution puts a value anywhere: into a Deployment that drifts, into a field that the API server refuses with the
value in its words. So whatever is said of an app, in status, events and log, goes through here.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import msgspec

from trimtab.api.helmreleasestatus import HelmReleaseStatus
from trimtab.api.kustomizestatus import KustomizationStatus
from trimtab.diff.compare import Difference
from trimtab.diff.mask import MASK
from trimtab.manifests.disguises import disguises
from trimtab.manifests.pointers import Keys, Member, Part, format_path, parse_path
from trimtab.render.variables import Variables
from trimtab.targets.contract import Outcome

S = TypeVar("S", KustomizationStatus, HelmReleaseStatus)

LEAST: Final = 6
"""Shorter values are not looked for: they are in every other word."""
LEAST_PART: Final = 3
"""Shorter parts are no words, and tell little."""
_HEAD: Final = 32
"""So much of a long value gives it away, where the rest was cut off."""


@dataclass(frozen=True, slots=True)
class Hiding:
    """The values that are not to be told, in every form in which they come; `before` are those until a while ago.

    `whole` are texts that were made of such values, of which a part may be enough: no name that is one is told.
    `parts` are those that an expression has become, such as `${PASSWORD:0:4}`: no failure has one as a word of its own.
    """

    digest: str = ""
    now: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    whole: frozenset[str] = frozenset()
    parts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Hiding {len(self.now)} and {len(self.before)} forms>"

    def follow(self, variables: Variables) -> "Hiding":
        """What is to be hidden once `variables` hold."""
        secret = (variables.values[name] for name in variables.confidential if name in variables.values)
        return self.following(variables.digest, secret)

    def following(self, digest: str, secret: Iterable[str]) -> "Hiding":
        """What is to be hidden once `secret` are the values that are not to be told; `digest` tells them apart."""
        if digest == self.digest:
            return self
        forms = {form for value in secret for form in _forms(value) if len(form) >= LEAST}
        return Hiding(digest, tuple(sorted(forms, key=len, reverse=True)), self.now, parts=self.parts)

    def cut(self, parts: Iterable[str]) -> "Hiding":
        """What is to be hidden once `parts` are what expressions with such values have become."""
        return replace(
            self, parts=tuple(sorted({one for one in parts if len(one) >= LEAST_PART}, key=len, reverse=True))
        )

    @property
    def empty(self) -> bool:
        """Whether there is nothing to hide."""
        return not (self.now or self.before or self.whole or self.parts)

    def text(self, text: str) -> str:
        """`text` without the values."""
        if text in self.whole:
            return MASK
        for value in (*self.now, *self.before):
            text = text.replace(value, MASK)
            if len(value) > _HEAD and value[:_HEAD] in text:
                text = _without_heads(text, value)
        return text

    def failure(self, text: str) -> str:
        """`text`, the words of others about what went wrong, without the values and without what was cut of them."""
        text = self.text(text)
        for part in self.parts:
            if part in text:
                text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(part)}(?![A-Za-z0-9])", MASK, text)
        return text

    def status(self, status: S) -> S:
        """`status` with nothing of them in the words of its conditions."""
        if not (self.now or self.before):
            return status
        conditions = tuple(
            msgspec.structs.replace(condition, message=self.text(condition.message)) for condition in status.conditions
        )
        return msgspec.structs.replace(status, conditions=conditions)

    def outcome(self, outcome: Outcome) -> Outcome:
        """`outcome` as it may be told: what differed is told without them, before it is cut to length."""
        if not (self.now or self.before):
            return outcome
        if outcome.drift is None:
            return outcome._replace(message=self.text(outcome.message))
        shown = tuple(map(self.difference, outcome.drift.differences))
        drift = outcome.drift._replace(differences=shown)
        return outcome._replace(message=self.text(str(drift)), drift=drift)

    def difference(self, difference: Difference) -> Difference:
        """`difference` without them: they may also be keys, which stand in its path."""
        path = format_path(tuple(map(self._part, parse_path(difference.path))))
        return Difference(path, difference.kind, self.value(difference.before), self.value(difference.after))

    def _part(self, part: Part) -> Part:
        match part:
            case str():
                return self.text(part)
            case Keys(pairs):
                return Keys(tuple((self.text(key), self.value(value)) for key, value in pairs))
            case Member(value):
                return Member(self.value(value))
        return part

    def value(self, value: Any) -> Any:
        """`value`, made of what JSON knows, without them."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(name): self.value(item) for name, item in value.items()}
            case list():
                return [self.value(item) for item in value]
            case bool() | None:
                return value
        # a value that has become a number
        return MASK if self.text(str(value)) != str(value) else value


NOTHING: Final = Hiding()


def _forms(value: str) -> Iterator[str]:
    for form in {value, value.strip("\"' \t\r")}:
        yield from disguises(form)


def _without_heads(text: str, value: str) -> str:
    """`text` without what it has of the beginning of `value`."""
    parts = text.split(value[:_HEAD])
    rest = value[_HEAD:]
    for place, part in enumerate(parts[1:], start=1):
        same = next((at for at, (one, other) in enumerate(zip(part, rest, strict=False)) if one != other), None)
        parts[place] = part[min(len(part), len(rest)) if same is None else same :]
    return MASK.join(parts)
