"""One sealed value: AES-256-GCM, bound to its place by additional data."""

import base64
import re
from typing import Final, NamedTuple, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trimtab.sops.errors import Damaged

KEY_BYTES: Final = 32
_TAG_BYTES: Final = 16
_NONCE_BYTES: Final = range(8, 129)
_SEALED = re.compile(r"ENC\[AES256_GCM,data:([^,\]]+),iv:([^,\]]+),tag:([^,\]]+),type:([a-z]+)\]")
_INT64: Final = range(-(1 << 63), 1 << 63)


class Comment(NamedTuple):
    """What stood behind a `#`."""

    text: str


class Moment(NamedTuple):
    """A timestamp, as RFC 3339 has it."""

    text: str


Plain: TypeAlias = str | int | float | bool | Comment | Moment | None
"""An opened value. Text may hold bytes that are no UTF-8, by Python's surrogate escapes."""


def is_sealed(text: str) -> bool:
    """Whether `text` is a sealed value from beginning to end."""
    return _SEALED.fullmatch(text) is not None


def sealed_in(text: str) -> list[tuple[int, int]]:
    """Where in `text` there are sealed values."""
    return [match.span() for match in _SEALED.finditer(text)] if "ENC[AES256_GCM," in text else []


class Cipher:
    """Opens the values of one file with its data key."""

    def __init__(self, key: bytes) -> None:
        """Raises Damaged if `key` is none."""
        if len(key) != KEY_BYTES:
            raise Damaged(f"its data key has {len(key)} bytes, not {KEY_BYTES}")
        self._aead = AESGCM(key)

    def open(self, text: str, place: str) -> Plain:
        """The value sealed in `text` for `place`. Raises Damaged."""
        if not text:
            return ""  # sops leaves empty text as it is
        if (match := _SEALED.fullmatch(text)) is None:
            raise Damaged("a value that has to be encrypted is not")
        try:
            data, nonce, tag = (base64.b64decode(part, validate=True) for part in match.groups()[:3])
        except ValueError:
            raise Damaged("an encrypted value is not base64") from None
        if len(nonce) not in _NONCE_BYTES or len(tag) != _TAG_BYTES:
            raise Damaged("an encrypted value has not the form that sops gives it")
        try:
            opened = self._aead.decrypt(nonce, data + tag, place.encode("utf-8", "surrogateescape"))
        except InvalidTag:
            raise Damaged("an encrypted value was changed, moved, or made with another key") from None
        return _typed(opened.decode("utf-8", "surrogateescape"), match[4])


def _typed(text: str, kind: str) -> Plain:
    try:
        match kind:
            case "str" | "bytes":
                return text
            case "int":
                number = int(text)
                if number not in _INT64:
                    raise ValueError
                return number
            case "float":
                return float(text)
            case "bool":
                return {"True": True, "true": True, "False": False, "false": False}[text]
            case "time":
                return Moment(text)
            case "comment":
                return Comment(text)
    except (ValueError, KeyError):
        raise Damaged(f"an encrypted value is not the {kind} that it says it is") from None
    raise Damaged("an encrypted value is of a type that is not known")
