"""How lines hang together: each has the hash over its own record and the hash before it. Pure.

A line is `{"hash":"<hex>","record":{…}}`, with hash = SHA-256(bytes of the record ‖ hash of the line before), and the
record says the hash before it as well, as `prev`. So a changed byte, a line that is gone, put in or in another place
is found at the first line that does not fit. What chains alone cannot tell is that the end is missing.
"""

import hashlib
from typing import Final, NamedTuple

import msgspec

from trimtab.audit.record import Header, Written
from trimtab.manifests import codec

START: Final = bytes(32)
"""Before the first line of a chain."""
LONGEST: Final = 64 << 20
"""A line of an app with 20,000 objects has a tenth of this."""
_OPEN: Final = b'{"hash":"'
_MIDDLE: Final = b'","record":'
_AT: Final = len(_OPEN) + 64 + len(_MIDDLE)

_header = msgspec.json.Decoder(Header).decode


class Broken(Exception):
    """A line is not what was written after the one before it."""


class Link(NamedTuple):
    """Where a chain stands: the number and the hash of its last line."""

    seq: int = 0
    hash: bytes = START


class Checked(NamedTuple):
    """A line that fits."""

    link: Link
    header: Header
    record: bytes


def forge(after: Link, record: Written) -> tuple[bytes, Link]:
    """The line with `record`, whose `seq` and `prev` follow `after`, and where the chain stands then."""
    data = codec.canonical(record)
    digest = hashlib.sha256(data + after.hash)
    line = b"".join((_OPEN, digest.hexdigest().encode(), _MIDDLE, data, b"}\n"))
    return line, Link(record.seq, digest.digest())


def check(after: Link | None, line: bytes) -> Checked:
    """`line`, without its end, as what follows `after`; None where nobody knows what it follows. Raises Broken."""
    said, record = taken_apart(line)
    try:
        header = _header(record)
        prev = bytes.fromhex(header.prev)
    except (msgspec.DecodeError, ValueError) as failure:
        raise Broken(f"it is no record: {failure}") from None
    digest = hashlib.sha256(record + prev).digest()
    if digest != said:
        raise Broken(f"it was changed: its hash is {digest.hex()[:16]}…, and it says {said.hex()[:16]}…")
    if after is not None and header.seq != after.seq + 1:
        why = "written twice, or moved" if header.seq <= after.seq else "what was between is gone, or was moved"
        raise Broken(f"record {header.seq} follows record {after.seq}: {why}")
    if after is not None and prev != after.hash:
        raise Broken(f"record {header.seq} was not written after the record before it, but after another one")
    return Checked(Link(header.seq, digest), header, record)


def taken_apart(line: bytes) -> tuple[bytes, bytes]:
    """The hash that `line` says, and the bytes of its record. Raises Broken."""
    fits = line.startswith(_OPEN) and line[_AT - len(_MIDDLE) : _AT] == _MIDDLE and line.endswith(b"}")
    try:
        if not fits:
            raise ValueError("not a line of a ledger")
        said = line[len(_OPEN) : len(_OPEN) + 64].decode()
        if (digest := bytes.fromhex(said)).hex() != said:
            raise ValueError("not as a hash is written")
        return digest, line[_AT:-1]
    except ValueError:
        raise Broken("it is no line of a ledger") from None
