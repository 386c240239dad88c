"""Signatures of cosign made with keys: a payload that names a digest, and a signature over its bytes.

The format is sigstore's "simple signing": the layer's bytes are JSON, the signature is in the layer's annotation
`dev.cosignproject.cosign/signature`, in base64, made over exactly these bytes (SHA-256 for EC and RSA).
"""

import base64
import binascii
from typing import Final, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

PAYLOAD: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
"""Media type of a payload's layer."""
SIGNATURE: Final = "dev.cosignproject.cosign/signature"
"""Annotation of the layer that holds the signature."""
LEAST_RSA_BITS: Final = 2048

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
_TYPE = "cosign container image signature"


class BadKey(ValueError):
    """The file is no public key, or one that is not accepted; the message says why."""


class _Image(msgspec.Struct, frozen=True):
    digest: str = msgspec.field(name="docker-manifest-digest")


class _Critical(msgspec.Struct, frozen=True):
    image: _Image
    type: str


class _Payload(msgspec.Struct, frozen=True):
    critical: _Critical


def load_key(pem: bytes) -> PublicKey:
    """The public key in `pem`. Raises BadKey."""
    try:
        key = load_pem_public_key(pem.strip() + b"\n")
    except (ValueError, UnsupportedAlgorithm) as failure:
        raise BadKey("it is not a public key in PEM") from failure
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        raise BadKey(f"an RSA key of {key.key_size} bits; at least {LEAST_RSA_BITS} are wanted")
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise BadKey("it is neither an EC, an RSA nor an Ed25519 key")
    return key


def verified(payload: bytes, signature: str, digest: str, key: PublicKey) -> bool:
    """Whether `key` signed `payload`, and `payload` vouches for the manifest `digest`."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    if not _signed(payload, raw, key):
        return False
    try:
        said = msgspec.json.decode(payload, type=_Payload)
    except (msgspec.DecodeError, ValueError):
        return False
    return said.critical.type == _TYPE and said.critical.image.digest == digest


def _signed(payload: bytes, signature: bytes, key: PublicKey) -> bool:
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                key.verify(signature, payload, ec.ECDSA(SHA256()))
            case rsa.RSAPublicKey():
                key.verify(signature, payload, padding.PKCS1v15(), SHA256())
            case ed25519.Ed25519PublicKey():
                key.verify(signature, payload)
    except InvalidSignature:
        return False
    return True
