"""The orders of tags: by version, letters, number or age. Each says which values it can place, and which is last.

Where two values count the same, the tag that is greater as a text is taken, so that the order in which a registry
lists its tags never decides.
"""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

from trimtab.manifests.semver import Constraint, Version

_PADDED = re.compile(r"(v?)0*([0-9]+)\.0*([0-9]+)\.0*([0-9]+)((?:[-+].*)?)", re.ASCII | re.DOTALL)
_NUMBER = re.compile(
    r"[-+]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
    r"|0[xX](?:[0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?|\.[0-9a-fA-F]+)[pP][-+]?[0-9]+)",
    re.ASCII,
)
_LONGEST_NUMBER: Final = 256
_FIRST_YEAR: Final = 1981
"""Builds that are to be reproducible write 1970 or 1980 into every image, and Go's zero time is the year 1."""

Place: TypeAlias = tuple[Any, ...]
"""Where a value comes in an order: the greatest is chosen."""


class NotOrdered(ValueError):
    """A value that the order cannot place makes the whole choice impossible; the message names it."""


class SemVer(NamedTuple):
    """The highest version in a range."""

    constraint: Constraint

    @property
    def words(self) -> str:
        return f"the highest version in {self.constraint.text}"

    def place(self, tag: str, value: str) -> Place | str:
        """Where `value` comes, or why it takes no part."""
        version = parse_version(value)
        if version is None:
            return f"{_whose(tag, value)} no version: three numbers, and what semver.org lets follow them"
        if not self.constraint.admits(version):
            return f"{_whose(tag, value)} not in the range {self.constraint.text}{_prerelease(version)}"
        return (version.precedence,)


class Alphabetical(NamedTuple):
    """The last, or the first, by the bytes of the text."""

    descending: bool = False

    @property
    def words(self) -> str:
        return f"the {'first' if self.descending else 'last'} in alphabetical order"

    def place(self, tag: str, value: str) -> Place | str:  # noqa: ARG002
        """Where `value` comes. The order of code points is the order of the bytes of UTF-8."""
        return (_Backwards(value) if self.descending else value,)


class Numerical(NamedTuple):
    """The greatest, or the least, number."""

    descending: bool = False

    @property
    def words(self) -> str:
        return f"the {'least' if self.descending else 'greatest'} number"

    def place(self, tag: str, value: str) -> Place | str:
        """Where `value` comes. Raises NotOrdered for what is not a number: as in Flux, it fails the policy."""
        number = _number(value)
        if number is None:
            raise NotOrdered(
                f"{_whose(tag, value)} no number, and with spec.policy.numerical all have to be: let spec.filterTags "
                "leave out what is none"
            )
        return (-number if self.descending else number,)


class Newest(NamedTuple):
    """The image that was built last. `within` bounds it to a range of versions."""

    created: Mapping[str, datetime]
    within: SemVer | None = None

    @property
    def words(self) -> str:
        return "the image that was created last" + (f", in {self.within.constraint.text}" if self.within else "")

    def place(self, tag: str, value: str) -> Place | str:
        """Where the image of `tag` comes, or why it takes no part."""
        if self.within is not None and isinstance(why := self.within.place(tag, value), str):
            return why
        moment = self.created.get(tag)
        if moment is None:
            return "when it was created is not known"
        if moment.year < _FIRST_YEAR:
            return f"it says that it was created in {moment.year}, as reproducible builds do: that orders nothing"
        return (moment,)


Order: TypeAlias = SemVer | Alphabetical | Numerical | Newest


class _Backwards(str):
    """A text that sorts before the texts it would follow."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)


def parse_version(text: str) -> Version | None:
    """The version in `text`. Zeros before its three numbers do not count, as in Flux: 2026.01.05 is one."""
    padded = _PADDED.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
    if padded is None:
        return None
    start, major, minor, patch, rest = padded.groups()
    return Version.parse(f"{start}{major}.{minor}.{patch}{rest}")


def _number(text: str) -> float | None:
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        return None
    try:
        number = float.fromhex(text) if "x" in text.lower() else float(text)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _prerelease(version: Version) -> str:
    return "; a range admits prereleases where it names one, such as >=1.0.0-0" if version.prerelease else ""


def _whose(tag: str, value: str) -> str:
    return f"{value!a} is" if value == tag else f"{value!a}, taken out of {tag!a}, is"
