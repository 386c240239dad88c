"""Git's framing on the wire: lines with their length in front (gitprotocol-common)."""

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import TypeAlias


class Mark(Enum):
    """Packets without content."""

    FLUSH = b"0000"
    DELIMITER = b"0001"
    END = b"0002"


Packet: TypeAlias = bytes | Mark
_MARKS = {mark.value: mark for mark in Mark}
_MAX = 65520


def encode(packets: Iterable[Packet]) -> bytes:
    """`packets` as they go over the wire."""
    return b"".join(one.value if isinstance(one, Mark) else b"%04x%b" % (len(one) + 4, one) for one in packets)


def decode(data: bytes) -> Iterator[Packet]:
    """The packets in `data`, lines without their newline. Raises ValueError if it is something else, or cut off."""
    at = 0
    while at < len(data):
        head = data[at : at + 4]
        if mark := _MARKS.get(head):
            yield mark
            at += 4
            continue
        try:
            length = int(head, 16)
        except ValueError:
            raise ValueError(f"{head!r} where the length of a packet belongs") from None
        if not 4 < length <= _MAX or at + length > len(data):
            raise ValueError("a packet that is cut off")
        yield data[at + 4 : at + length].removesuffix(b"\n")
        at += length
