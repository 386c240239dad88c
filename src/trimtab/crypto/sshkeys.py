"""Public keys of SSH: read from a line, named by their fingerprint, and asked whether they made a signature.

Kinds and formats: RFC 4253 §6.6, RFC 5656, RFC 8332, RFC 8709, and OpenSSH's PROTOCOL.u2f for keys in hardware.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from trimtab.crypto.sshwire import Malformed, Reader
from trimtab.crypto.trust import BadKeys, BadSignature

LEAST_RSA_BITS = 2048
_MOST_RSA_BITS = 16384
_USER_PRESENT = 0x01
_Check: TypeAlias = Callable[[str, Reader, bytes], None]
_CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
_RSA_HASHES: dict[str, hashes.HashAlgorithm] = {"rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}


@dataclass(frozen=True, slots=True)
class SshKey:
    """A public key. Two are equal if their bytes are."""

    kind: str
    blob: bytes = field(repr=False)
    _check: _Check = field(repr=False, compare=False)

    @classmethod
    def from_blob(cls, blob: bytes) -> "SshKey":
        """Read a key in wire format. Raises BadKeys for other kinds, weak keys and malformed ones."""
        reader = Reader(blob)
        try:
            kind = reader.text()
            check = _checker(kind, reader)
            reader.end()
        except (Malformed, ValueError, UnsupportedAlgorithm) as problem:
            raise BadKeys(f"the key is malformed: {problem}") from problem
        return cls(kind, blob, check)

    @classmethod
    def from_words(cls, kind: str, encoded: str) -> "SshKey":
        """Read the two words of a line: the kind and the key in base64. Raises BadKeys."""
        try:
            blob = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as problem:
            raise BadKeys("the key is not base64: copy the line from the .pub file whole") from problem
        key = cls.from_blob(blob)
        if key.kind != kind:
            raise BadKeys(f"the line says {kind[:60]!a} and the key is {key.kind}")
        return key

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def check(self, signature: bytes, data: bytes) -> None:
        """Raise BadSignature unless `signature`, in wire format, is this key's signature of `data`."""
        reader = Reader(signature)
        try:
            self._check(reader.text(), reader, data)
        except InvalidSignature:
            raise BadSignature(
                f"the signature by key {self.fingerprint} does not fit: what was signed is not what is here"
            ) from None
        except (Malformed, ValueError) as problem:
            raise BadSignature(f"the signature by key {self.fingerprint} is malformed: {problem}") from problem


def _checker(kind: str, reader: Reader) -> _Check:
    match kind:
        case "ssh-ed25519":
            return _ed25519(kind, reader)
        case "ssh-rsa":
            return _rsa(reader)
        case "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521":
            return _ecdsa(kind, reader)
        case "sk-ssh-ed25519@openssh.com":
            return _in_hardware(kind, _ed25519("", reader), reader.string())
        case "sk-ecdsa-sha2-nistp256@openssh.com":
            return _in_hardware(kind, _ecdsa("ecdsa-sha2-nistp256", reader, named=False), reader.string())
    if "-cert-" in kind:
        raise ValueError("it is a certificate; certificates are not supported, list the key itself")
    raise ValueError(f"keys of the kind {kind[:60]!a} are not supported; use ed25519, ecdsa or rsa")


def _ed25519(kind: str, reader: Reader) -> _Check:
    key = ed25519.Ed25519PublicKey.from_public_bytes(reader.string())

    def check(algorithm: str, rest: Reader, data: bytes) -> None:
        _expect(algorithm, kind)
        signature = rest.string()
        rest.end()
        key.verify(signature, data)

    return check


def _rsa(reader: Reader) -> _Check:
    exponent, modulus = reader.positive(), reader.positive()
    bits = modulus.bit_length()
    if not LEAST_RSA_BITS <= bits <= _MOST_RSA_BITS or exponent.bit_length() > 64:
        raise ValueError(f"an RSA key of {bits} bits; at least {LEAST_RSA_BITS} are needed")
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()

    def check(algorithm: str, rest: Reader, data: bytes) -> None:
        if algorithm not in _RSA_HASHES:
            raise Malformed(f"the algorithm {algorithm[:60]!a} is not trusted; only {' and '.join(_RSA_HASHES)} are")
        signature = rest.string()
        rest.end()
        key.verify(signature, data, padding.PKCS1v15(), _RSA_HASHES[algorithm])

    return check


def _ecdsa(kind: str, reader: Reader, *, named: bool = True) -> _Check:
    curve = kind.rpartition("-")[2]
    if reader.text() != curve:
        raise Malformed("it names two curves")
    group, digest = _CURVES[curve]
    key = ec.EllipticCurvePublicKey.from_encoded_point(group, reader.string())

    def check(algorithm: str, rest: Reader, data: bytes) -> None:
        _expect(algorithm, kind if named else "")
        numbers = Reader(rest.string())
        rest.end()
        r, s = numbers.positive(), numbers.positive()
        numbers.end()
        key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(digest))

    return check


def _in_hardware(kind: str, inner: _Check, application: bytes) -> _Check:
    """A key in a token signs a digest of the data, between the application's and what the token saw."""

    def check(algorithm: str, rest: Reader, data: bytes) -> None:
        _expect(algorithm, kind)
        signature = rest.string()
        flags, counter = rest.byte(), rest.uint32()
        rest.end()
        if not flags & _USER_PRESENT:
            raise Malformed("nobody touched the token for it")
        signed = (
            hashlib.sha256(application).digest() + struct.pack(">BI", flags, counter) + hashlib.sha256(data).digest()
        )
        inner("", Reader(struct.pack(">I", len(signature)) + signature), signed)

    return check


def _expect(algorithm: str, wanted: str) -> None:
    if algorithm != wanted:
        raise Malformed(f"it is of the kind {algorithm[:60]!a}, which the key cannot make")
