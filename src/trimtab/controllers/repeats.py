"""What was tried last for each object of ours: what is tried again and again, to the same end, is on record once.

An object that does not go, or that a webhook refuses, is looked after every few seconds, for hours where nobody helps.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from trimtab.audit.record import Subject

MOST: Final = 20_000


class _Try(NamedTuple):
    """`meant` is the digest of what was meant to be done, `came` of what became of it; empty once that is done."""

    meant: str
    attempt: str
    came: str = ""


@dataclass(slots=True)
class Repeats:
    """Bounded: who was tried longest ago is forgotten, and then on record once more."""

    _last: dict[Subject, _Try] = field(default_factory=dict)

    def attempt(self, subject: Subject, meant: str) -> str:
        """The attempt for `subject` that meant the same and did not come to its end; empty where it is another one."""
        last = self._last.get(subject)
        return last.attempt if last is not None and last.meant == meant and last.came else ""

    def began(self, subject: Subject, meant: str, attempt: str) -> None:
        """`attempt` is on record."""
        self._last.pop(subject, None)
        self._last[subject] = _Try(meant, attempt)
        if len(self._last) > MOST:
            del self._last[next(iter(self._last))]

    def ended(self, subject: Subject, attempt: str, came: str) -> bool:
        """Whether it is news that `came` became of `attempt`; empty is that it is done."""
        last = self._last.get(subject)
        if last is None or last.attempt != attempt:
            return True
        self._last[subject] = last._replace(came=came)
        return not came or came != last.came
