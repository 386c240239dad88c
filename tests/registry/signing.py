"""Signatures of artifacts as `cosign sign --key` makes them."""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.registry.server import RegistryServer, descriptor, manifest
from trimtab.crypto import cosign


class Signer:
    """What `cosign sign --key` does."""

    def __init__(self, key: Any = None) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())

    @property
    def public(self) -> bytes:
        pem: bytes = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    def raw(self, payload: bytes) -> bytes:
        match self.key:
            case ec.EllipticCurvePrivateKey():
                return self.key.sign(payload, ec.ECDSA(SHA256()))
            case rsa.RSAPrivateKey():
                return self.key.sign(payload, PKCS1v15(), SHA256())
        signed: bytes = self.key.sign(payload)
        return signed

    def layer(self, payload: bytes, signature: bytes | None = None) -> dict[str, Any]:
        made = base64.b64encode(self.raw(payload) if signature is None else signature).decode()
        return descriptor(payload, cosign.PAYLOAD, annotations={cosign.SIGNATURE: made})


def payload(of: str, kind: str = "cosign container image signature") -> bytes:
    critical = {"identity": {"docker-reference": "x"}, "image": {"docker-manifest-digest": of}, "type": kind}
    return json.dumps({"critical": critical, "optional": None}).encode()


def sign(server: RegistryServer, name: str, of: str, *layers: tuple[bytes, dict[str, Any]]) -> None:
    server.blob(name, b"{}")
    for content, _ in layers:
        server.blob(name, content)
    server.tag(name, of.replace(":", "-") + ".sig", manifest([layer for _, layer in layers]))
