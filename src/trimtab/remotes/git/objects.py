"""Commits and tags as git stores them, byte for byte: what was signed, and the signature. Pure.

git is lenient where this is strict: an object that can be read in two ways is refused, since the one who signed it may
have read it in the other.
"""

import re
from typing import NamedTuple

MAX_BYTES = 1 << 20
_OID = re.compile(rb"[0-9a-f]{40}")
_MARKER = re.compile(rb"^-----BEGIN (?:PGP SIGNATURE|PGP MESSAGE|SSH SIGNATURE|SIGNED MESSAGE)-----", re.MULTILINE)
_PERSON = re.compile(rb"([^<>\n]*)<([^<>\n]*)> \d+ [+-]\d+")
_ONCE = (b"tree", b"author", b"committer", b"encoding", b"gpgsig", b"gpgsig-sha256")
_IN_COMMIT = (*_ONCE, b"parent", b"mergetag")


class BadObject(Exception):
    """Not a commit or a tag that can be read in one way only."""


class Commit(NamedTuple):
    """`payload` is what was signed; `signature` is None where there is none."""

    parents: tuple[str, ...]
    committer: str
    signature: bytes | None
    payload: bytes


class Tag(NamedTuple):
    """An annotated tag. `target` is the object it points to, of the kind `kind`."""

    target: str
    kind: str
    name: str
    tagger: str
    signature: bytes | None
    payload: bytes


def parse_commit(raw: bytes) -> Commit:
    """Read the content of a commit. Raises BadObject."""
    fields, body = _fields(raw)
    names = [name for name, _, _ in fields]
    parents = names.count(b"parent")
    order = [b"tree", *[b"parent"] * parents, b"author", b"committer"]
    if names[: len(order)] != order:
        raise BadObject("the commit does not begin with tree, parents, author and committer, in this order")
    for name in names:
        if name in _ONCE and names.count(name) > 1:
            raise BadObject(f"the commit has {names.count(name)} headers {name.decode()}")
        if name.startswith(b"gpgsig") and name not in _IN_COMMIT:
            raise BadObject(f"the commit has a header {name[:60]!a}, which git would leave out of what is signed")
    first: dict[bytes, bytes] = {}
    for name, value, _ in fields:
        first.setdefault(name, value)
    _oid(first[b"tree"])
    # git takes both signatures out before it signs, and before it checks.
    payload = b"".join(line for name, _, line in fields if name not in (b"gpgsig", b"gpgsig-sha256")) + body
    return Commit(
        parents=tuple(_oid(value) for name, value, _ in fields if name == b"parent"),
        committer=_address(first[b"committer"]),
        signature=first.get(b"gpgsig"),
        payload=payload,
    )


def parse_tag(raw: bytes) -> Tag:
    """Read the content of an annotated tag. Raises BadObject."""
    fields, body = _fields(raw)
    names = [name for name, _, _ in fields]
    if names not in ([b"object", b"type", b"tag", b"tagger"], [b"object", b"type", b"tag"]):
        raise BadObject("the tag does not have the headers object, type, tag and tagger, once and in this order")
    values = {name: value for name, value, _ in fields}
    markers = [found.start() for found in _MARKER.finditer(body)]
    if len(markers) > 1:
        raise BadObject(f"the tag has {len(markers)} signatures")
    at = len(raw) - len(body) + markers[0] if markers else len(raw)
    try:
        name = values[b"tag"].decode()
    except UnicodeDecodeError:
        raise BadObject("the tag's own name is not text") from None
    return Tag(
        target=_oid(values[b"object"]),
        kind=values[b"type"].decode("ascii", errors="replace"),
        name=name,
        tagger=_address(values[b"tagger"]) if b"tagger" in values else "",
        signature=raw[at:] if markers else None,
        payload=raw[:at],
    )


def _fields(raw: bytes) -> tuple[list[tuple[bytes, bytes, bytes]], bytes]:
    """The headers as (name, value with continuations joined, raw lines), and the body with the empty line before it."""
    if len(raw) > MAX_BYTES:
        raise BadObject(f"{len(raw)} bytes; the limit is {MAX_BYTES}")
    end = raw.find(b"\n\n")
    head, body = (raw[: end + 1], raw[end + 1 :]) if end >= 0 else (raw, b"")
    if b"\0" in head or not head.endswith(b"\n"):
        raise BadObject("its headers have a zero byte in them, or no end")
    fields: list[tuple[bytes, bytes, bytes]] = []
    for line in head.removesuffix(b"\n").split(b"\n"):
        if line.startswith(b" "):
            if not fields:
                raise BadObject("its first line continues another")
            name, value, lines = fields[-1]
            fields[-1] = (name, value + b"\n" + line[1:], lines + line + b"\n")
        else:
            name, space, value = line.partition(b" ")
            if not name or not space:
                raise BadObject("a header in it has no value")
            fields.append((name, value, line + b"\n"))
    return fields, body


def _oid(value: bytes) -> str:
    if not _OID.fullmatch(value):
        raise BadObject("an id in it is not 40 hexadecimal digits")
    return value.decode()


def _address(value: bytes) -> str:
    """The mail address; nothing where the line can be read in two ways, as old tools have written some."""
    found = _PERSON.fullmatch(value)
    return found[2].decode(errors="replace") if found else ""
