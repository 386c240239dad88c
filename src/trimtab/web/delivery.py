"""One call as a value, and the one way to refuse it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

LONGEST_FIELD: Final = 32 << 10
"""Bytes of one header that is read."""


class Why(StrEnum):
    """Why a call was refused: a label of a metric, and no more than that is ever logged."""

    METHOD = "method"
    HEADERS = "headers"
    UNKNOWN = "unknown"
    UNAVAILABLE = "unavailable"
    RATE = "rate"
    BUSY = "busy"
    SIZE = "size"
    SLOW = "slow"
    BROKEN = "broken"
    UNPROVEN = "unproven"
    EVENT = "event"
    PAYLOAD = "payload"
    RESOURCES = "resources"


class Refused(Exception):
    """The call has no effect. `words` are told to the caller: nothing of ours is in them that they do not know.

    `detail` is for the log alone.
    """

    def __init__(self, status: int, why: Why, words: str, *, detail: str = "") -> None:
        super().__init__(detail or words)
        self.status = status
        self.why = why
        self.words = words


def unproven(words: str) -> Refused:
    """The caller did not prove who it is."""
    return Refused(401, Why.UNPROVEN, words)


def unreadable(words: str) -> Refused:
    """The caller proved who it is and sent what makes no sense."""
    return Refused(400, Why.PAYLOAD, words)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A call: its headers with names in small letters, in their order, and its body, all of it as it was sent.

    `claims` are what an issuer vouches for, once it was asked.
    """

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    claims: Mapping[str, Any] | None = None

    def header(self, name: str) -> bytes:
        """The value of a header; empty if it is not there. Raises Refused where it is there twice or too long.

        Of two values one would be checked here and the other believed elsewhere.
        """
        wanted = name.lower().encode()
        found = [value for other, value in self.headers if other == wanted]
        if len(found) > 1:
            raise Refused(400, Why.HEADERS, f"the header {name} is there {len(found)} times")
        value = found[0].strip() if found else b""
        if len(value) > LONGEST_FIELD:
            raise Refused(400, Why.HEADERS, f"the header {name} has more than {LONGEST_FIELD} bytes")
        return value

    def word(self, name: str) -> str:
        """As `header`, for what is compared with words of people; what is not UTF-8 compares to nothing."""
        return self.header(name).decode(errors="replace")
