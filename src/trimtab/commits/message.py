"""Who commits, and what the commit says: text for people, trailers for programs. Pure.

Trailers are as in git-interpret-trailers(1): `Key: value` in the last paragraph, keys of letters, digits and dashes.
"""

import re
import unicodedata
from typing import Final, NamedTuple

from trimtab.base.errors import Terminal

CHANGE: Final = "Trimtab-Change"
"""The trailer by which a commit is found again: the id of the change that it makes."""

HELD: Final = "Trimtab-Held"
"""The trailer that tells image automation what it must not write again: `NAMESPACE/POLICY VALUE`, one line each."""

REQUESTED_BY: Final = "Trimtab-Requested-By"
"""The trailer that says which account, on which machine, asked for the commit."""

_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_LINE: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*): ?(.*)")
_MOST_CHARS: Final = 64 << 10
_MOST_VALUE: Final = 1000
_CRUD: Final = " \t.,:;<>\"\\'"
"""What git takes off the ends of a name."""


class Person(NamedTuple):
    """An author or a committer."""

    name: str
    email: str

    def line(self, seconds: int) -> str:
        """As it stands in a commit. What would end it is left out, as git does. Raises Terminal."""
        email = _one_line(self.email, "<>").strip(_CRUD)
        name = _one_line(self.name, "<>").strip(_CRUD) or email
        if not email:
            raise Terminal("UpdateFailed", f"the author {self.name!a} has no mail address, which git needs")
        return f"{name} <{email}> {seconds} +0000"


class Message(NamedTuple):
    """The text of a commit, and its trailers in their order."""

    text: str
    trailers: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """As it stands in the commit. Raises Terminal."""
        lines = [_visible(line).rstrip() for line in re.split(r"\r\n|\r|\n", self.text)]
        text = "\n".join(lines).strip("\n")
        if not text:
            raise Terminal("UpdateFailed", "the message of the commit is empty")
        if len(text) > _MOST_CHARS:
            raise Terminal("UpdateFailed", f"the message of the commit is longer than {_MOST_CHARS} characters")
        written = [f"{_checked(key)}: {_one_line(value)[:_MOST_VALUE]}" for key, value in self.trailers]
        if not written:
            return text + "\n"
        between = "\n" if "\n\n" in text and trailers_of(text) else "\n\n"
        return text + between + "\n".join(written) + "\n"


def trailers_of(message: str) -> tuple[tuple[str, str], ...]:
    """The trailers of a message: the lines of its last paragraph, if all of them are some."""
    last = message.rstrip("\n").rpartition("\n\n")[2]
    found: list[tuple[str, str]] = []
    for line in last.split("\n"):
        if line.startswith((" ", "\t")) and found:
            key, value = found[-1]
            found[-1] = (key, f"{value} {line.strip()}")
        elif match := _LINE.fullmatch(line):
            found.append((match[1], match[2].strip()))
        else:
            return ()
    return tuple(found)


def held_in(message: str) -> tuple[tuple[str, str], ...]:
    """What a commit holds, as (`NAMESPACE/POLICY`, value): the values at markers that it undid."""
    lines = [value.partition(" ") for key, value in trailers_of(message) if key == HELD]
    return tuple((policy, value) for policy, _, value in lines if "/" in policy and value)


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise Terminal("UpdateFailed", f"{key[:60]!a} is no key of a trailer: letters, digits and dashes are")
    return key


def _one_line(text: str, without: str = "") -> str:
    shown = _visible(re.sub(r"[\r\n\t]+", " ", text))
    return " ".join("".join(char for char in shown if char not in without).split())


def _visible(text: str) -> str:
    """Without what is not seen and steers a terminal or turns a line around; tabs stay."""
    return "".join(
        char for char in text if char == "\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    )
