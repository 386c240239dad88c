"""JSON Web Tokens: what one claims, and whether a key of its issuer signed that. Pure.

Two algorithms are taken, those that issuers of identities use: RS256 and ES256. Which of them counts is decided by the
key, never by the token alone: a token that chooses its own algorithm can choose one that proves nothing.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256

LONGEST: Final = 16 << 10
"""Bytes of a token."""
MOST_KEYS: Final = 100
LEEWAY_S: Final = 60.0
"""By how much the clocks of the issuer and of us may differ."""

_LEAST_RSA_BITS: Final = 2048
_MOST_RSA_BITS: Final = 8192
_MOST_EXPONENT_BITS: Final = 32
_MOST_TRIED: Final = 8
"""Keys that one token is checked against: each takes its time, and nothing else may be done in it."""
_P256_BYTES: Final = 32
_PART: Final = re.compile(rb"[A-Za-z0-9_-]+")


class BadToken(Exception):
    """It is no token, or one that proves nothing; the words are for whoever sent it and for the log."""


class BadKeys(Exception):
    """What the issuer publishes are no keys."""


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str = ""
    crit: Any = None


class _Jwk(msgspec.Struct, frozen=True):
    kty: str
    kid: str = ""
    use: str = "sig"
    alg: str = ""
    n: str = ""
    e: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""


class _Jwks(msgspec.Struct, frozen=True):
    keys: tuple[msgspec.Raw, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was read. Nothing it claims is proven before `KeySet.verify`."""

    algorithm: str
    key_id: str
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    @classmethod
    def parse(cls, text: bytes) -> "Token":
        """Read a token in its compact form. Raises BadToken."""
        if len(text) > LONGEST:
            raise BadToken(f"a token of more than {LONGEST} bytes")
        parts = text.split(b".")
        if len(parts) != 3:
            raise BadToken("it is not a token of three parts")
        try:
            header = msgspec.json.decode(_decoded(parts[0]), type=_Header)
            claims = msgspec.json.decode(_decoded(parts[1]), type=dict[str, Any])
            signature = _decoded(parts[2])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
            raise BadToken("its parts are not what a token has") from failure
        if header.crit is not None:
            raise BadToken("it has critical extensions, and none is known here")
        return cls(header.alg, header.kid, claims, parts[0] + b"." + parts[1], signature)

    @property
    def issuer(self) -> str:
        """Who says to have issued it; empty if nobody does."""
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else ""

    def check(self, audience: str, now: datetime) -> None:
        """Raise BadToken if it is for somebody else, not valid yet, or not valid any more."""
        said = self.claims.get("aud")
        audiences = said if isinstance(said, list) else [said]
        if audience not in audiences:
            raise BadToken(f"it is not for the audience {audience!r}")
        moment = now.timestamp()
        expiry = _seconds(self.claims, "exp")
        if expiry is None or expiry + LEEWAY_S < moment:
            raise BadToken("it has expired" if expiry is not None else "it never expires")
        for claim in ("nbf", "iat"):
            since = _seconds(self.claims, claim)
            if since is not None and since - LEEWAY_S > moment:
                raise BadToken("it is from the future")


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    algorithm: str
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey

    def signed(self, token: Token) -> bool:
        try:
            if isinstance(self.public, rsa.RSAPublicKey):
                self.public.verify(token.signature, token.signed, padding.PKCS1v15(), SHA256())
            elif len(token.signature) != 2 * _P256_BYTES:
                return False
            else:
                r, s = (int.from_bytes(half) for half in (token.signature[:_P256_BYTES], token.signature[_P256_BYTES:]))
                self.public.verify(utils.encode_dss_signature(r, s), token.signed, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys an issuer publishes. Those of other kinds, and weak ones, are left out."""

    keys: tuple[_Key, ...]

    @classmethod
    def parse(cls, document: bytes) -> "KeySet":
        """Read a JSON Web Key Set. Raises BadKeys."""
        try:
            listed = msgspec.json.decode(document, type=_Jwks).keys
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
            raise BadKeys("it is not a set of keys") from failure
        if len(listed) > MOST_KEYS:
            raise BadKeys(f"more than {MOST_KEYS} keys")
        keys = tuple(key for raw in listed if (key := _key(raw)) is not None)
        if not keys:
            raise BadKeys("none of its keys is for RS256 (2048 bits or more) or ES256")
        return cls(keys)

    def knows(self, token: Token) -> bool:
        """Whether a key is there that could have signed `token`."""
        return any(True for _ in self._candidates(token))

    def verify(self, token: Token) -> None:
        """Raise BadToken unless one of the keys signed `token`."""
        if token.algorithm not in ("RS256", "ES256"):
            raise BadToken(f"its algorithm is {token.algorithm[:32]!r}; taken are RS256 and ES256")
        candidates = self._candidates(token)
        if not candidates:
            raise BadToken("its issuer publishes no key for it")
        if not any(key.signed(token) for key in candidates):
            raise BadToken("it is not signed by its issuer")

    def _candidates(self, token: Token) -> list[_Key]:
        fitting = [key for key in self.keys if key.algorithm == token.algorithm]
        return [key for key in fitting if not token.key_id or key.id == token.key_id][:_MOST_TRIED]


def _key(raw: msgspec.Raw) -> _Key | None:
    """A key that may count, or None: what is odd must not spoil the keys beside it."""
    try:
        jwk = msgspec.json.decode(raw, type=_Jwk)
        if jwk.use != "sig":
            return None
        if jwk.kty == "RSA" and jwk.alg in ("", "RS256"):
            modulus, exponent = _number(jwk.n), _number(jwk.e)
            if not _LEAST_RSA_BITS <= modulus.bit_length() <= _MOST_RSA_BITS:
                return None
            # A check takes longer with every bit of it, and no issuer has more than the 17 of 65537.
            if exponent.bit_length() > _MOST_EXPONENT_BITS:
                return None
            return _Key(jwk.kid, "RS256", rsa.RSAPublicNumbers(exponent, modulus).public_key())
        if jwk.kty == "EC" and jwk.crv == "P-256" and jwk.alg in ("", "ES256"):
            numbers = ec.EllipticCurvePublicNumbers(_number(jwk.x), _number(jwk.y), ec.SECP256R1())
            return _Key(jwk.kid, "ES256", numbers.public_key())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadToken, ValueError):
        return None
    return None


def _number(text: str) -> int:
    return int.from_bytes(_decoded(text.encode()))


def _decoded(text: bytes) -> bytes:
    """Base64 for addresses, without padding, strictly. Raises BadToken."""
    if not _PART.fullmatch(text):
        raise BadToken("its parts are not base64url")
    try:
        return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error as failure:
        raise BadToken("its parts are not base64url") from failure


def _seconds(claims: Mapping[str, Any], claim: str) -> float | None:
    """A moment in seconds, or None if it is not there. Raises BadToken for what is none."""
    value = claims.get(claim)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadToken(f"its {claim} is not a time")
    return float(value)
