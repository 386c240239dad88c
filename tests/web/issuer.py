"""A double of an issuer of identities: a transport that answers as it would, and tokens that it would sign."""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256

from tests.remotes.scripted import Answer
from trimtab.base.http import Request, TransportError

ISSUER = "https://9.9.9.9/team"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8))


class Key:
    """A key of the issuer: RS256 or ES256."""

    def __init__(self, kind: str = "RS256", key_id: str = "k1", bits: int = 2048) -> None:
        self.kind, self.id = kind, key_id
        self.private: Any = (
            rsa.generate_private_key(65537, bits) if kind == "RS256" else ec.generate_private_key(ec.SECP256R1())
        )

    def jwk(self) -> dict[str, str]:
        public = self.private.public_key().public_numbers()
        common = {"kid": self.id, "use": "sig", "alg": self.kind}
        if self.kind == "RS256":
            return common | {"kty": "RSA", "n": number(public.n), "e": number(public.e)}
        x, y = (b64(value.to_bytes(32)) for value in (public.x, public.y))
        return common | {"kty": "EC", "crv": "P-256", "x": x, "y": y}

    def sign(self, data: bytes) -> bytes:
        if self.kind == "RS256":
            signature: bytes = self.private.sign(data, padding.PKCS1v15(), SHA256())
            return signature
        r, s = utils.decode_dss_signature(self.private.sign(data, ec.ECDSA(SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)

    def token(self, claims: dict[str, Any], **header: Any) -> str:
        head = {"alg": self.kind, "kid": self.id, "typ": "JWT"} | header
        signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}"
        return f"{signed}.{b64(self.sign(signed.encode()))}"


class Issuer:
    """The transport: whatever is asked for, it is noted where."""

    def __init__(self, *keys: Key, issuer: str = ISSUER, keys_at: str = f"{ISSUER}/keys") -> None:
        self.keys = list(keys)
        self.issuer, self.keys_at = issuer, keys_at
        self.answers: dict[str, Answer] = {}
        self.down = False
        self.asked: list[str] = []

    async def send(self, request: Request) -> Answer:
        url = str(request.url)
        self.asked.append(url)
        if self.down:
            raise TransportError("nobody there")
        if url in self.answers:
            return self.answers[url]
        if url == f"{ISSUER}/.well-known/openid-configuration":
            return Answer(body=json.dumps({"issuer": self.issuer, "jwks_uri": self.keys_at}).encode())
        if url == self.keys_at:
            return Answer(body=json.dumps({"keys": [key.jwk() for key in self.keys]}).encode())
        return Answer(404)
