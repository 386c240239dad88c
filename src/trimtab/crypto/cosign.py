"""Signatures of cosign made with keys: a document that names a digest, and a signature over its bytes.

There are two formats. In "simple signing" the layer's bytes are JSON, and the signature is in the layer's annotation
`dev.cosignproject.cosign/signature`, in base64, made over exactly these bytes (SHA-256 for EC and RSA). In a bundle, as
cosign 3 makes it, an in-toto statement is inside a DSSE envelope, which is signed together with its type.
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
CERTIFICATE: Final = "dev.sigstore.cosign/certificate"
"""Annotation of the layer that holds the certificate of a signature without a key."""
LOG_ENTRY: Final = "dev.sigstore.cosign/bundle"
"""Annotation of the layer that holds what the transparency log promised."""
BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
"""Media type of a bundle, of its layer and of the manifest that refers to what is signed."""
LEAST_RSA_BITS: Final = 2048

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
_TYPE = "cosign container image signature"
_STATEMENT = "application/vnd.in-toto+json"
_STATEMENTS = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
_PREDICATE = "https://sigstore.dev/cosign/sign/v1"


class BadKey(ValueError):
    """The file is no public key, or one that is not accepted; the message says why."""


class _Image(msgspec.Struct, frozen=True):
    digest: str = msgspec.field(name="docker-manifest-digest")


class _Critical(msgspec.Struct, frozen=True):
    image: _Image
    type: str


class _Payload(msgspec.Struct, frozen=True):
    critical: _Critical


class _Subject(msgspec.Struct, frozen=True):
    digest: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, rename="camel"):
    type: str = msgspec.field(name="_type")
    predicate_type: str
    subject: list[_Subject]


class _Signature(msgspec.Struct, frozen=True):
    sig: str


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class _Bundle(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str
    dsse_envelope: _Envelope


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
    raw = _decoded(signature)
    return raw is not None and _signed(payload, raw, key) and vouches(payload, digest)


def verified_bundle(bundle: bytes, digest: str, key: PublicKey) -> bool:
    """Whether `key` signed the statement in `bundle`, and that vouches for the manifest `digest`."""
    try:
        envelope = msgspec.json.decode(bundle, type=_Bundle).dsse_envelope
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    payload = _decoded(envelope.payload)
    if payload is None or len(envelope.signatures) != 1 or (raw := _decoded(envelope.signatures[0].sig)) is None:
        return False
    kind = envelope.payload_type.encode()
    framed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    return _signed(framed, raw, key) and states(envelope.payload_type, payload, digest)


def vouches(payload: bytes, digest: str) -> bool:
    """Whether the simple `payload` says that the manifest `digest` is signed."""
    try:
        said = msgspec.json.decode(payload, type=_Payload)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    return said.critical.type == _TYPE and said.critical.image.digest == digest


def states(payload_type: str, payload: bytes, digest: str) -> bool:
    """Whether the statement in `payload` says that the manifest `digest` is signed.

    Of other statements about it, such as how it was built or what is in it, somebody else may be the author.
    """
    try:
        said = msgspec.json.decode(payload, type=_Statement)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    meant = payload_type == _STATEMENT and said.type in _STATEMENTS and said.predicate_type == _PREDICATE
    return meant and any(f"sha256:{subject.digest.get('sha256', '')}" == digest for subject in said.subject)


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


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
