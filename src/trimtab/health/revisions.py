"""Which revision is meant by what somebody writes, and whether that is what an object is at. Pure.

A revision is written as Flux writes it: `main@sha1:…`, `v1.0@sha1:…`, `sha1:…`, `latest@sha256:…`, or the version of a
chart.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

LEAST_DIGITS: Final = 7
"""Fewer may as well be a tag, or the year in one; as many as git itself shows name one commit."""
_LONGEST_COMMIT: Final = 40
_FORM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@:+-]{0,299}", re.ASCII)
_DIGITS: Final = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},64}}", re.ASCII)


def complaint(asked: str) -> str:
    """What is wrong with `asked` as the name of a revision; nothing if it may be one."""
    if _FORM.fullmatch(asked):
        return ""
    return (
        f"{asked[:80]!a} is not a revision: write a commit (at least {LEAST_DIGITS} digits of it), a tag, the version "
        "of a chart, or a whole revision such as main@sha1:67e2c98a"
    )


def digest_of(revision: str) -> str:
    """The commit or digest in `revision`; nothing where it has none, as the version of a chart."""
    return revision.rpartition(":")[2] if ":" in revision else ""


def names(asked: str, revision: str) -> bool:
    """Whether `asked` means `revision`: all of it, what is before the `@`, the digest, or the beginning of that."""
    if not revision:
        return False
    if asked == revision:
        return True
    of, at, rest = revision.rpartition("@")
    algorithm, colon, digits = rest.rpartition(":")
    if not colon:
        return False
    wanted_of, wanted_at, wanted = asked.rpartition("@")
    if wanted_at and wanted_of != of:
        return False
    wanted_algorithm, _, wanted_digits = wanted.rpartition(":")
    if wanted_algorithm not in ("", algorithm):
        return False
    if _DIGITS.fullmatch(wanted_digits) and digits.startswith(wanted_digits):
        return True
    return bool(at) and not wanted_at and not wanted_algorithm and asked == of


def commit_in(asked: str) -> str:
    """The commit, or its beginning, that `asked` names; nothing where it is a tag, a version or another digest."""
    digits = digest_of(asked) or asked
    whole = _DIGITS.fullmatch(digits) and len(digits) <= _LONGEST_COMMIT and ("sha256:" not in asked)
    return digits if whole else ""


class Wish(NamedTuple):
    """The revision that somebody asks for; nothing: the one that the source has now.

    `contains` says of other revisions whether they come after it, as far as that is known: None where it is not.
    """

    asked: str = ""
    contains: Mapping[str, bool | None] = {}

    def met_by(self, revision: str, *also: str) -> bool:
        """Whether an object that is at `revision` has what is asked for. `also` are other names of the same."""
        found = [one for one in (revision, *also) if one]
        if not self.asked:
            return bool(found)
        return any(names(self.asked, one) or bool(self.contains.get(one)) for one in found)

    def exactly(self, revision: str) -> bool:
        """Whether `revision` is the one, and not a later one."""
        return not self.asked or names(self.asked, revision)
