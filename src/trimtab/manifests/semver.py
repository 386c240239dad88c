"""Versions and constraints on them, by the rules of Masterminds/semver 3, which Flux and Helm use.

They differ from npm's: a comma or a space means *and*, and a prerelease is admitted only where the constraints it is
joined with by *and* name one themselves. A version here is strict (three numbers, no leading zeros), but for a `v` in
front, as Flux reads tags; the versions inside a constraint may be shortened (`1.2`) and hold wildcards (`1.x`). The
one thing read otherwise is `1||2 - 3`, which the origin refuses because it takes the bars for a part of a version.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

_MAX_VERSION: Final = 256
_MAX_CONSTRAINT: Final = 512
_MAX_ALTERNATIVES: Final = 32
_UINT64_END: Final = 1 << 64

_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_STRICT = re.compile(
    rf"v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(?:-({_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?", re.ASCII
)
_NUMBER = r"(?:[0-9]+|[xX*])"
_LOOSE = rf"v?{_NUMBER}(?:\.{_NUMBER})?(?:\.{_NUMBER})?(?:-{_IDENTIFIERS})?(?:\+{_IDENTIFIERS})?"
_PARTS = re.compile(
    rf"v?(?P<major>{_NUMBER})(?:\.(?P<minor>{_NUMBER}))?(?:\.(?P<patch>{_NUMBER}))?"
    rf"(?:-(?P<pre>{_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?"
)
_HYPHEN = re.compile(rf"\s*(?<![0-9A-Za-z.*+-])({_LOOSE})\s+-\s+({_LOOSE})\s*")
_TERM = re.compile(rf"\s*(?P<op>!=|>=|=>|<=|=<|~>|[=><~^]|)\s*(?P<version>{_LOOSE})(?=[\s,]|$)")
_SEPARATOR = re.compile(r"\s*,\s*|\s+")


class Version(NamedTuple):
    """A semantic version. Compare with `precedes`: build metadata does not count, and tuples know nothing of that."""

    major: int
    minor: int
    patch: int
    prerelease: str
    text: str

    @classmethod
    def parse(cls, text: str) -> "Version | None":
        """The version in `text`, which may start with `v`, or None."""
        match = _STRICT.fullmatch(text) if len(text) <= _MAX_VERSION else None
        if match is None:
            return None
        numbers = [int(number) for number in match.group(1, 2, 3)]
        prerelease = match[4] or ""
        if any(number >= _UINT64_END for number in numbers) or not _valid(prerelease):
            return None
        return cls(numbers[0], numbers[1], numbers[2], prerelease, text)

    @property
    def precedence(self) -> tuple[Any, ...]:
        """Sorts as semver.org rule 11 says."""
        return (self.major, self.minor, self.patch, _precedence(self.prerelease))

    def precedes(self, other: "Version") -> bool:
        """Whether this one is the lesser."""
        return self.precedence < other.precedence


def _valid(prerelease: str) -> bool:
    return not any(
        part.isdigit() and len(part) > 1 and part.startswith("0") for part in prerelease.split(".") if prerelease
    )


def _precedence(prerelease: str) -> tuple[Any, ...]:
    if not prerelease:
        return (1,)
    # Numbers are less than words; a number too long for a machine word counts as a word, as in the origin.
    parts = [
        (0, int(part), "") if part.isdigit() and len(part) < 20 else (1, 0, part) for part in prerelease.split(".")
    ]
    return (0, *parts)


class _Term(NamedTuple):
    """One comparison. `given` is how many of major, minor and patch the constraint fixes (3: all)."""

    admits: "Callable[[Version, _Term], bool]"
    version: Version
    given: int

    @property
    def precedence(self) -> tuple[Any, ...]:
        return self.version.precedence


class Constraint(NamedTuple):
    """Alternatives (`||`) of terms that have to hold together."""

    alternatives: tuple[tuple[_Term, ...], ...]
    text: str

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """Read `text`, such as `^1.2`, `>=1.0 <2.0 || 3.x` or `1.2 - 1.4`. Raises ValueError saying what is wrong."""
        if len(text) > _MAX_CONSTRAINT:
            raise ValueError(f"a semver range may have {_MAX_CONSTRAINT} characters, this one has {len(text)}")
        alternatives = _HYPHEN.sub(r">= \1, <= \2 ", text).split("||")
        if len(alternatives) > _MAX_ALTERNATIVES:
            raise ValueError(f"a semver range may have {_MAX_ALTERNATIVES} alternatives, {text!r} has more")
        return cls(tuple(_terms(alternative, text) for alternative in alternatives), text)

    def admits(self, version: Version) -> bool:
        """Whether `version` is in the range."""
        return any(_hold(terms, version) for terms in self.alternatives)


def latest(tags: Iterable[str], constraint: Constraint) -> str | None:
    """The highest version among `tags` that `constraint` admits; the order of `tags` makes no difference."""
    admitted = [version for tag in tags if (version := Version.parse(tag)) is not None and constraint.admits(version)]
    return max(admitted, key=lambda version: (version.precedence, version.text)).text if admitted else None


def _hold(terms: tuple[_Term, ...], version: Version) -> bool:
    if version.prerelease and not any(term.version.prerelease for term in terms):
        return False
    return all(term.admits(version, term) for term in terms)


def _terms(alternative: str, whole: str) -> tuple[_Term, ...]:
    terms: list[_Term] = []
    at = 0
    while match := _TERM.match(alternative, at):
        terms.append(_term(match["op"], match["version"], whole))
        separator = _SEPARATOR.match(alternative, match.end())
        if separator is None:
            at = match.end()
            break
        at = separator.end()
        if at == len(alternative) and "," in separator[0]:
            raise ValueError(f"{whole!r} is not a semver range: a comma at the end")
    if not terms or at != len(alternative):
        raise ValueError(
            f"{whole!r} is not a semver range: cannot read {alternative[at:].strip() or 'an empty part'!r}"
        )
    return tuple(terms)


def _term(operator: str, text: str, whole: str) -> _Term:
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise ValueError(f"{whole!r} is not a semver range: {text!r} is not a version")
    numbers: list[int] = []
    for name in ("major", "minor", "patch"):
        if parts[name] is None or not parts[name].isdigit():
            break
        numbers.append(int(parts[name]))
    given = len(numbers)
    numbers += [0] * (3 - given)
    prerelease = parts["pre"] or ""
    if not _valid(prerelease) or any(number >= _UINT64_END for number in numbers):
        raise ValueError(f"{whole!r} is not a semver range: {text!r} is not a version")
    return _Term(_OPERATORS[operator], Version(numbers[0], numbers[1], numbers[2], prerelease, text), given)


def _equal(version: Version, term: _Term) -> bool:
    return _tilde(version, term) if term.given < 3 else version.precedence == term.precedence


def _not_equal(version: Version, term: _Term) -> bool:
    wanted = term.version
    if term.given == 3:
        return version.precedence != term.precedence
    if version.major != wanted.major:
        return True
    if term.given == 1:
        return False
    if version.minor != wanted.minor:
        return True
    if term.given == 2:
        return _precedence(version.prerelease) != _precedence(wanted.prerelease)
    return version.precedence != term.precedence


def _greater(version: Version, term: _Term) -> bool:
    if term.given == 1:
        return version.major > term.version.major
    if term.given == 2:
        return (version.major, version.minor) > (term.version.major, term.version.minor)
    return version.precedence > term.precedence


def _at_least(version: Version, term: _Term) -> bool:
    return version.precedence >= term.precedence


def _less(version: Version, term: _Term) -> bool:
    return version.precedence < term.precedence


def _at_most(version: Version, term: _Term) -> bool:
    if term.given == 3:
        return version.precedence <= term.precedence
    if term.given == 1:
        return version.major <= term.version.major
    return (version.major, version.minor) <= (term.version.major, term.version.minor)


def _tilde(version: Version, term: _Term) -> bool:
    """The last number given may grow, from the second on: ~1.2.3 and ~1.2 stay in 1.2, ~1 stays in 1."""
    if version.precedence < term.precedence:
        return False
    wanted = term.version
    if wanted[:3] == (0, 0, 0) and term.given in (0, 3):
        return True
    return version.major == wanted.major and (term.given == 1 or version.minor == wanted.minor)


def _caret(version: Version, term: _Term) -> bool:
    """The first number that is not zero stays."""
    if version.precedence < term.precedence:
        return False
    wanted = term.version
    if wanted.major > 0 or term.given == 1:
        return version.major == wanted.major
    if wanted.minor > 0 or term.given == 2:
        return (version.major, version.minor) == (0, wanted.minor)
    return version[:3] == wanted[:3]


_OPERATORS: Final[dict[str, Callable[[Version, _Term], bool]]] = {
    "": _equal,
    "=": _equal,
    "!=": _not_equal,
    ">": _greater,
    "<": _less,
    ">=": _at_least,
    "=>": _at_least,
    "<=": _at_most,
    "=<": _at_most,
    "~": _tilde,
    "~>": _tilde,
    "^": _caret,
}
