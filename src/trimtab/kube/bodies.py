"""The bodies of requests and answers, between Python and bytes."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from trimtab.kube.errors import ServerError
from trimtab.manifests import codec
from trimtab.manifests.refs import Body

T = TypeVar("T")


def encoded(body: Body | Sequence[Body] | bytes) -> bytes:
    """The bytes of a body, which may be bytes already."""
    return body if isinstance(body, bytes) else codec.encode(body)


_BREAKS = ((b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))
"""Characters that end a line in YAML and not in JSON."""


def in_lines(body: Body | bytes) -> bytes:
    """JSON with line breaks: the server reads it as YAML, which looks for the end of a key until the line ends.

    What only YAML takes for a line break is escaped: as it is, U+0085 would arrive as a newline.
    """
    lines = msgspec.json.format(encoded(body), indent=1)
    for character, escaped in _BREAKS:
        lines = lines.replace(character, escaped)
    return lines


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def decode(data: bytes, kind: type[T], server: str) -> T:
    """What `server` answered, as `kind`. Raises ServerError for what is none."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        decoded: T = decoder.decode(data)
    except msgspec.DecodeError as failure:
        message = f"{server} sent an answer that cannot be understood: {failure}"
        raise ServerError(200, "AnswerNotUnderstood", message) from failure
    return decoded
