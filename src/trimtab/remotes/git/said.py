"""What a commit says of itself: who wrote it, when it was made, and in which words. Pure.

It is for people, and nothing is decided by it: whoever writes a commit writes there what they like. So it is read
leniently, cut short, and never has a character that a terminal would obey.
"""

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

from trimtab.base.clock import rfc3339

MOST_NAME: Final = 80
MOST_SUBJECT: Final = 160
_PERSON = re.compile(rb"(?P<name>[^<\n]*)<[^>\n]*> (?P<at>\d{1,12}) [+-]\d{4}")


class Said(NamedTuple):
    """`author` is a name without the address, `committed` a moment (RFC 3339). What is not known is empty."""

    author: str = ""
    subject: str = ""
    committed: str = ""


def said_in(raw: bytes) -> Said:
    """What the commit stored as `raw` says. Never raises."""
    head, _, message = raw.partition(b"\n\n")
    persons: dict[bytes, re.Match[bytes]] = {}
    for line in head.split(b"\n"):
        name, _, value = line.partition(b" ")
        if name in (b"author", b"committer") and (found := _PERSON.fullmatch(value)) is not None:
            persons.setdefault(name, found)
    author, committer = persons.get(b"author"), persons.get(b"committer")
    paragraph = message.lstrip(b"\n").split(b"\n\n", 1)[0]
    return Said(
        author=_text(author["name"], MOST_NAME) if author else "",
        subject=_text(paragraph, MOST_SUBJECT),
        committed=_moment(int(committer["at"])) if committer else "",
    )


def _text(raw: bytes, most: int) -> str:
    """`raw` on one line of at most so many characters."""
    words = " ".join(raw[: 8 * most].decode(errors="replace").split())
    shown = "".join(char if char.isprintable() else "?" for char in words)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _moment(seconds: int) -> str:
    try:
        return rfc3339(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError):
        return ""
