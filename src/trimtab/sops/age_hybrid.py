"""age's post-quantum keys (ML-KEM-768 with X25519), which pyrage does not read: HPKE by `cryptography`, the frame here.

The frame is that of age v1 (age-encryption.org/v1): a header of stanzas under an HMAC, and chunks under one key. A data
key is one chunk, so more than one is refused.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PREFIX: Final = "AGE-SECRET-KEY-PQ-"
_STANZA: Final = "mlkem768x25519"
_INFO: Final = b"age-encryption.org/mlkem768x25519"
_VERSION: Final = b"age-encryption.org/v1\n"
_ARMOR = re.compile(r"-----BEGIN AGE ENCRYPTED FILE-----\s(.*)-----END AGE ENCRYPTED FILE-----\s*", re.DOTALL)
_MAX_HEADER: Final = 256 << 10
_MAX_STANZAS: Final = 100
_NONCE_BYTES: Final = 16
_CHUNK: Final = (64 << 10) + 16
_LAST: Final = bytes(11) + b"\1"
_SEED_BYTES: Final = 32
_LINE: Final = 64
_ALPHABET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATORS: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


class Hybrid:
    """A private key."""

    def __init__(self, line: str) -> None:
        """Raises ValueError for a line that is not one."""
        seed = _bech32(line.lower(), PREFIX.lower())
        if len(seed) != _SEED_BYTES:
            raise ValueError("not a seed")
        expanded = hashlib.shake_256(seed).digest(96)
        self._key = hpke.MLKEM768X25519PrivateKey(
            MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])
        )

    def file_key(self, stanza: "_Stanza") -> bytes | None:
        """The key of a file; None if the stanza is not for this key. Raises ValueError for a broken one."""
        if stanza.kind != _STANZA:
            return None
        if len(stanza.arguments) != 1:
            raise ValueError("a stanza that is not one")
        suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
        try:
            return suite.decrypt(_unpadded(stanza.arguments[0]) + stanza.body, self._key, _INFO)
        except InvalidTag:
            return None


def decrypt(armored: str, keys: list[Hybrid]) -> bytes | None:
    """What was encrypted for one of `keys`; None if it was for others. Raises ValueError for what is damaged."""
    match = _ARMOR.fullmatch(armored.strip() + "\n")
    if match is None:
        raise ValueError("not armored")
    data = base64.b64decode("".join(match[1].split()), validate=True)
    header = _Header.of(data)
    for stanza in header.stanzas:
        for key in keys:
            if (file_key := key.file_key(stanza)) is not None:
                return _payload(data, header, file_key)
    return None


class _Stanza(NamedTuple):
    kind: str
    arguments: tuple[str, ...]
    body: bytes


class _Header(NamedTuple):
    stanzas: tuple[_Stanza, ...]
    signed: bytes
    mac: bytes
    end: int

    @classmethod
    def of(cls, data: bytes) -> "_Header":
        end = data.find(b"\n---", 0, _MAX_HEADER)
        line_end = data.find(b"\n", end + 1)
        if not data.startswith(_VERSION) or end < 0 or line_end < 0:
            raise ValueError("no header")
        text = data[len(_VERSION) : end + 1].decode("ascii")
        mac = _unpadded(data[end + 1 : line_end].decode("ascii").removeprefix("--- "))
        return cls(tuple(_stanzas(text)), data[: end + 4], mac, line_end + 1)


def _stanzas(text: str) -> Iterator[_Stanza]:
    lines = iter(text.splitlines())
    for number, line in enumerate(lines):
        if not line.startswith("-> ") or number >= _MAX_STANZAS:
            raise ValueError("no stanza")
        kind, *arguments = line[3:].split(" ")
        body = ""
        while True:
            part = next(lines, None)
            if part is None or len(part) > _LINE:
                raise ValueError("a stanza without an end")
            body += part
            if len(part) < _LINE:
                break
        yield _Stanza(kind, tuple(arguments), _unpadded(body))


def _payload(data: bytes, header: _Header, file_key: bytes) -> bytes:
    mac = hmac.digest(_derived(file_key, None, b"header"), header.signed, "sha256")
    nonce, sealed = data[header.end : header.end + _NONCE_BYTES], data[header.end + _NONCE_BYTES :]
    if not hmac.compare_digest(mac, header.mac) or len(nonce) != _NONCE_BYTES or len(sealed) > _CHUNK:
        raise ValueError("changed, or too long")
    try:
        return ChaCha20Poly1305(_derived(file_key, nonce, b"payload")).decrypt(_LAST, sealed, None)
    except InvalidTag:
        raise ValueError("changed") from None


def _derived(file_key: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, info).derive(file_key)


def _unpadded(text: str) -> bytes:
    """Base64 without its `=`, and without spare bits that say nothing. Raises ValueError."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if base64.b64encode(data).decode().rstrip("=") != text:
        raise ValueError("not base64 as it has to be")
    return data


def _bech32(text: str, prefix: str) -> bytes:
    """The bytes in a Bech32 text (BIP 173). Raises ValueError."""
    written, separator, rest = text.rpartition("1")
    if not separator or written != prefix or len(rest) < 6 or set(rest) - set(_ALPHABET):
        raise ValueError("not Bech32")
    values = [_ALPHABET.index(character) for character in rest]
    checked = [*(ord(character) >> 5 for character in prefix), 0, *(ord(character) & 31 for character in prefix)]
    total = 1
    for value in [*checked, *values]:
        top = total >> 25
        total = (total & 0x1FFFFFF) << 5 ^ value
        for at, generator in enumerate(_GENERATORS):
            total ^= generator if top >> at & 1 else 0
    bits = "".join(f"{value:05b}" for value in values[:-6])
    whole = len(bits) // 8 * 8
    if total != 1 or len(bits) - whole >= 5 or "1" in bits[whole:]:
        raise ValueError("mistyped")
    return bytes(int(bits[at : at + 8], 2) for at in range(0, whole, 8))
