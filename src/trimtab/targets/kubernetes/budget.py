"""How much may be deleted in one pass without asking, and what never is (ENGINE.md, P4). Pure.

An approval names the digest of what is held: it holds for exactly that set of objects, uids included, so it never
covers what was created later.
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from trimtab.manifests import codec
from trimtab.manifests.inventory import encode_id
from trimtab.manifests.refs import Ref

LEAST = 10
"""So many objects may always go, however small the inventory is."""
SHARE = 20
"""Per cent of an inventory that may go where that is more."""
_TOKEN = 16
_FORM = re.compile(r"(\d{1,9})(%?)", re.ASCII)


class Budget(NamedTuple):
    """How many objects may go: a number, a share of the inventory in per cent, or the greater of both."""

    number: int | None = LEAST
    percent: int | None = SHARE

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """`20%` or `15`. Raises ValueError for anything else."""
        matched = _FORM.fullmatch(text.strip())
        if matched is None:
            raise ValueError(f"{text!r} is neither a number of objects, such as 15, nor a share, such as 20%")
        number, is_share = int(matched[1]), bool(matched[2])
        if is_share and number > 100:
            raise ValueError(f"{text!r} is more than everything: the greatest share is 100%")
        return cls(None, number) if is_share else cls(number, None)

    def allowance(self, owned: int) -> int:
        """How many of `owned` objects may go. A share is rounded down."""
        return max(self.number or 0, owned * (self.percent or 0) // 100)

    def __str__(self) -> str:
        share = f"{self.percent} % of the inventory"
        if self.percent is None:
            return f"{self.number} objects"
        return share if self.number is None else f"the greater of {self.number} objects and {share}"


class Candidate(NamedTuple):
    """An object that is to go. `precious` says why it never goes unasked, `along` what else goes with it."""

    ref: Ref
    uid: str = ""
    precious: str = ""
    along: tuple[Ref, ...] = ()

    @property
    def weight(self) -> int:
        return 1 + len(self.along)

    @property
    def token(self) -> str:
        """The identity in a few characters, to be remembered."""
        return codec.digest(self.identity)[-_TOKEN:]

    @property
    def identity(self) -> str:
        """What an approval is about: this very object, and all that goes with it."""
        return "\n".join([encode_id(self.ref), self.uid, *sorted(map(encode_id, self.along))])


class Decision(NamedTuple):
    """What may go and what is held. `digest` names the held set; it is empty where nothing is held."""

    allowed: tuple[Candidate, ...]
    held: tuple[Candidate, ...]
    digest: str = ""
    why: str = ""
    approved: tuple[Candidate, ...] = ()


def decide(
    candidates: Sequence[Candidate],
    owned: int,
    budget: Budget,
    *,
    approval: str = "",
    granted: Collection[str] = (),
) -> Decision:
    """Split `candidates`, all that one pass would delete of an inventory of `owned` objects.

    More than `budget` allows: everything is held. Within it, the precious ones are held and the others go. `approval`
    is the digest that somebody approved; `granted` are the tokens of what was approved before and is not through yet.
    """
    free = [candidate for candidate in candidates if candidate.token in granted]
    asked = [candidate for candidate in candidates if candidate.token not in granted]
    plain = [candidate for candidate in asked if not candidate.precious]
    many = sum(candidate.weight for candidate in plain)
    if many > budget.allowance(owned):
        held, why = asked, f"{many} objects would be deleted at once, more than {budget} ({owned} objects)"
    else:
        held, why = [candidate for candidate in asked if candidate.precious], "what is held is never deleted unasked"
    if not held:
        return Decision(tuple(candidates), ())
    digest = digest_of(held)
    if approval == digest:
        return Decision(tuple(candidates), (), approved=tuple(held))
    waiting = set(held)
    allowed = tuple(candidate for candidate in candidates if candidate in set(free) or candidate not in waiting)
    return Decision(allowed, tuple(held), digest, why)


def digest_of(candidates: Sequence[Candidate]) -> str:
    """The name of exactly this set, whatever its order."""
    return codec.digest(sorted(candidate.identity for candidate in candidates))


def words(decision: Decision, way: str) -> str:
    """What is held and how it is approved; the `way` out comes first, since long messages are cut at the end."""
    total = sum(candidate.weight for candidate in decision.held)
    listed = "; ".join(_line(candidate) for candidate in decision.held)
    return (
        f"{total} deletions are held: {decision.why}. To approve exactly these, {way} {decision.digest}. Held: {listed}"
    )


def _line(candidate: Candidate) -> str:
    notes = [candidate.precious] if candidate.precious else []
    if candidate.along:
        notes.append(f"takes along {', '.join(map(str, candidate.along))}")
    return f"{candidate.ref} ({'; '.join(notes)})" if notes else str(candidate.ref)
