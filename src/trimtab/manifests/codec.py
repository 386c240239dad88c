"""JSON, in one place, so that the library behind it can be exchanged."""

import hashlib
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_canonical = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode


def encode(value: Any) -> bytes:
    """`value` as compact JSON."""
    return _encode(value)


def decode(data: bytes | str) -> Any:
    """JSON as plain Python values. Raises msgspec.DecodeError."""
    return _decode(data)


def clone(value: T) -> T:
    """A deep copy of plain JSON values."""
    copied: T = _decode(_encode(value))
    return copied


def canonical(value: Any) -> bytes:
    """`value` as JSON with sorted keys: equal values give equal bytes."""
    return _canonical(value)


def digest(value: Any) -> str:
    """`sha256:<hex>` over the canonical form of `value`, or over the bytes themselves."""
    data = value if isinstance(value, bytes) else _canonical(value)
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
