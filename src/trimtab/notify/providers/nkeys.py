"""Keys of NATS: a seed that signs what the server asks us to, alone or with the token of `creds` beside it."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trimtab.notify.provider import Misconfigured

_SEED: Final = 18 << 3
_USER: Final = 20 << 3
_SEED_CHARS: Final = 58
_MOST_CREDS: Final = 16 << 10
_JWT: Final = re.compile(r"-+BEGIN NATS USER JWT-+\s+([A-Za-z0-9_.-]+)\s+-+END NATS USER JWT-+")
_KEY: Final = re.compile(r"-+BEGIN USER NKEY SEED-+\s+([A-Z2-7]+)\s+-+END USER NKEY SEED-+")


class Signer(NamedTuple):
    """Who signs: the name of the key, the key, and the token it belongs to, if there is one."""

    public: str
    key: Ed25519PrivateKey
    jwt: str = ""

    def said(self, nonce: str) -> dict[str, str]:
        """What a greeting has for a server that asked us to sign `nonce`. The seed is not sent."""
        signature = base64.urlsafe_b64encode(self.key.sign(nonce.encode())).rstrip(b"=").decode()
        return {"jwt": self.jwt, "sig": signature} if self.jwt else {"nkey": self.public, "sig": signature}


def signer_of(secret: Mapping[str, bytes]) -> Signer | None:
    """Who signs by `creds` or `nkey` of a Secret; None if it has neither. Raises Misconfigured, never with a key."""
    if "creds" in secret and "nkey" in secret:
        raise Misconfigured("`creds` and `nkey` in the Secret of spec.secretRef are two ways to sign in: take one out")
    if "nkey" in secret:
        return _signer(_text(secret, "nkey").strip(), "nkey")
    if "creds" not in secret:
        return None
    text = _text(secret, "creds")
    jwt, seed = _JWT.search(text), _KEY.search(text)
    if jwt is None or seed is None:
        raise Misconfigured("`creds` in the Secret of spec.secretRef is not a file with the JWT and the seed of a user")
    return _signer(seed[1], "creds")._replace(jwt=jwt[1])


def _signer(seed: str, name: str) -> Signer:
    wrong = f"`{name}` in the Secret of spec.secretRef has no seed of a user, which begins with SU"
    if len(seed) != _SEED_CHARS:
        raise Misconfigured(wrong)
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except (binascii.Error, ValueError):
        raise Misconfigured(wrong) from None
    kind = (raw[0] & 7) << 5 | raw[1] >> 3
    if raw[0] & 0xF8 != _SEED or kind != _USER or _sum(raw[:-2]) != raw[-2:]:
        raise Misconfigured(wrong)
    key = Ed25519PrivateKey.from_private_bytes(raw[2:-2])
    public = bytes([_USER]) + key.public_key().public_bytes_raw()
    return Signer(base64.b32encode(public + _sum(public)).rstrip(b"=").decode(), key)


def _sum(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0).to_bytes(2, "little")


def _text(secret: Mapping[str, bytes], name: str) -> str:
    data = secret[name]
    if len(data) > _MOST_CREDS or not data.isascii():
        raise Misconfigured(f"`{name}` in the Secret of spec.secretRef is too long, or not plain text")
    return data.decode("ascii")
