"""Who may have signed without a key: an issuer and a subject, both as expressions that have to match as a whole."""

from dataclasses import dataclass
from functools import lru_cache

from trimtab.manifests.patterns import Pattern

MOST_IDENTITIES = 16
"""Identities that one object may trust."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity that is trusted, as its owner wrote it."""

    issuer: str
    subject: str
    _issuer: Pattern
    _subject: Pattern

    @classmethod
    def parse(cls, issuer: str, subject: str) -> "Identity":
        """Raises ValueError for an expression that is none, or that anybody would match."""
        return cls(issuer, subject, _whole("issuer", issuer), _whole("subject", subject))

    def matches(self, issuer: str, subject: str) -> bool:
        """Whether both are meant, from the first to the last character."""
        return self._issuer.found_in(issuer) and self._subject.found_in(subject)

    def __str__(self) -> str:
        return f"{self.subject!a} by {self.issuer!a}"


# Those of an object are read with every look at it, and one such as `\w{200}` takes 0.2 s.
@lru_cache(maxsize=2048)
def _whole(field: str, text: str) -> Pattern:
    """`text` between two anchors: what is found somewhere in a longer name proves nothing about who has that name."""
    try:
        Pattern(text)  # by itself, so that no bracket of it closes one of ours
        pattern = Pattern(rf"\A(?:{text})\z")
    except ValueError as problem:
        raise ValueError(f"{field} {text[:200]!a}: {problem}") from problem
    if pattern.found_in(""):
        raise ValueError(f"{field} {text[:200]!a} admits an empty name, and with it anybody; write whom you trust")
    return pattern
