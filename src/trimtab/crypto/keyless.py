"""Signatures without a key: a certificate of ten minutes that names who signed, and a log that says when.

Judged by the package `sigstore`, which is an extra, against roots that somebody chose to trust. Nothing is asked over
the network. The older layout, which cosign 2 writes, has no proof that the log contains the entry, only its signed
promise; its parts are judged here, by the same package's rules for certificates.
"""

import base64
import hashlib
import importlib.util
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from trimtab.crypto import cosign
from trimtab.crypto.identity import Identity

if TYPE_CHECKING:
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier

ROOT_FILE = "trusted_root.json"
"""Key of the Secret with the roots of a Sigstore instance of one's own."""
MOST_BYTES = 4 << 20
_PUBLIC_GOOD = "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"
_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_ISSUER_OLD = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_OTHER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")


class NotProven(Exception):
    """The signature proves nothing; the words say why."""


class BadRoot(ValueError):
    """The roots cannot be used; the words say why."""


class Simple(msgspec.Struct, frozen=True):
    """A signature in the older layout: the payload, and the layer's annotations."""

    payload: bytes
    signature: str
    certificate: str
    log_entry: str


def installed() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec("sigstore") is not None


class _LogPayload(
    msgspec.Struct,
    frozen=True,
    rename={"integrated_time": "integratedTime", "log_index": "logIndex", "log_id": "logID"},
):
    body: str
    integrated_time: int
    log_index: int
    log_id: str


class _LogEntry(msgspec.Struct, frozen=True, rename="pascal"):
    signed_entry_timestamp: str
    payload: _LogPayload


class _Content(msgspec.Struct, frozen=True):
    content: str


class _Hash(msgspec.Struct, frozen=True):
    algorithm: str
    value: str


class _Data(msgspec.Struct, frozen=True):
    hash: _Hash


class _RecordSignature(msgspec.Struct, frozen=True, rename="camel"):
    content: str
    public_key: _Content


class _Spec(msgspec.Struct, frozen=True):
    data: _Data
    signature: _RecordSignature


class _Record(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    spec: _Spec


@dataclass(frozen=True)
class Judge:
    """Judges signatures by one set of roots. Blocks for milliseconds, and the first time for longer."""

    _root: "TrustedRoot"
    _verifier: "Verifier"

    @classmethod
    def of(cls, trusted_root: bytes | None) -> "Judge":
        """By `trusted_root` (JSON), or by the roots of the public instance as the installed package has them.

        Raises BadRoot.
        """
        from sigstore.models import TrustedRoot
        from sigstore.verify import Verifier
        from sigstore_models.trustroot.v1 import TrustedRoot as Inner

        if trusted_root is None:
            trusted_root = resources.files("sigstore._store").joinpath(_PUBLIC_GOOD, ROOT_FILE).read_bytes()
        if len(trusted_root) > MOST_BYTES:
            raise BadRoot(f"{ROOT_FILE} has {len(trusted_root)} bytes; the limit is {MOST_BYTES}")
        try:
            with _told():
                root = TrustedRoot(Inner.from_json(trusted_root))
                return cls(root, Verifier(trusted_root=root))
        except NotProven as problem:
            raise BadRoot(f"{ROOT_FILE} cannot be used: {problem}") from problem

    def bundle(self, bundle: bytes, digest: str, identities: Sequence[Identity]) -> str:
        """Who signed the manifest `digest`, by a bundle. Raises NotProven."""
        from sigstore.models import Bundle

        policy = _Policy(identities)
        with _told():
            payload_type, payload = self._verifier.verify_dsse(Bundle.from_json(bundle), policy)
        if not cosign.states(payload_type, payload, digest):
            raise NotProven("it is not a signature of this digest")
        return policy.who

    def simple(self, signature: Simple, digest: str, identities: Sequence[Identity]) -> str:
        """Who signed the manifest `digest`, by the older layout. Raises NotProven."""
        from sigstore._internal.sct import verify_sct
        from sigstore._internal.timestamp import TimestampSource, TimestampVerificationResult
        from sigstore._internal.trust import KeyringPurpose

        if not signature.certificate or not signature.log_entry or not signature.signature:
            raise NotProven("the signature, its certificate, or what the log promised is missing")
        policy = _Policy(identities)
        with _told():
            certificate = x509.load_pem_x509_certificate(signature.certificate.encode())
            when = self._logged(signature, certificate)
            time = TimestampVerificationResult(source=TimestampSource.TRANSPARENCY_SERVICE, time=when)
            chain = self._verifier._verify_chain_at_time(certificate, time)  # noqa: SLF001 - there is no other door
            verify_sct(certificate, chain, self._root.ct_keyring(KeyringPurpose.VERIFY))
            _check_usage(certificate)
            policy.verify(certificate)
            key = certificate.public_key()
            if not isinstance(key, ec.EllipticCurvePublicKey):
                raise NotProven("its certificate is not for an elliptic curve")
            key.verify(
                base64.b64decode(signature.signature, validate=True), signature.payload, ec.ECDSA(hashes.SHA256())
            )
        if not cosign.vouches(signature.payload, digest):
            raise NotProven("it is not a signature of this digest")
        return policy.who

    def _logged(self, signature: Simple, certificate: x509.Certificate) -> datetime:
        """When the log saw exactly this signature by this certificate. What is in no log has no time at all."""
        from sigstore._internal.trust import KeyringPurpose
        from sigstore._utils import KeyID

        entry = msgspec.json.decode(signature.log_entry, type=_LogEntry)
        said = entry.payload
        promised = {
            "body": said.body,
            "integratedTime": said.integrated_time,
            "logID": said.log_id,
            "logIndex": said.log_index,
        }
        self._root.rekor_keyring(KeyringPurpose.VERIFY).verify(
            key_id=KeyID(bytes.fromhex(said.log_id)),
            signature=base64.b64decode(entry.signed_entry_timestamp, validate=True),
            data=json.dumps(promised, sort_keys=True, separators=(",", ":")).encode(),
        )
        record = msgspec.json.decode(base64.b64decode(said.body, validate=True), type=_Record)
        logged = x509.load_pem_x509_certificate(
            base64.b64decode(record.spec.signature.public_key.content, validate=True)
        )
        same = (
            (record.kind, record.api_version) == ("hashedrekord", "0.0.1")
            and record.spec.data.hash.algorithm == "sha256"
            and record.spec.data.hash.value == hashlib.sha256(signature.payload).hexdigest()
            and record.spec.signature.content == signature.signature
            and logged == certificate
        )
        if not same:
            raise NotProven("what the log promised is about another signature")
        return datetime.fromtimestamp(said.integrated_time, UTC)


class _Policy:
    """Finds out who signed, and refuses everybody who is not trusted."""

    def __init__(self, identities: Sequence[Identity]) -> None:
        self._identities = identities
        self.who = ""

    def verify(self, cert: x509.Certificate) -> None:
        issuer, subjects = _issuer(cert), _subjects(cert)
        for subject in subjects:
            if any(identity.matches(issuer, subject) for identity in self._identities):
                self.who = f"{_shown(subject)} (by {_shown(issuer)})"
                return
        who = ", ".join(map(_shown, subjects)) or "nobody"
        raise NotProven(f"it is by {who} (by {_shown(issuer)}), who is not trusted")


def _check_usage(certificate: x509.Certificate) -> None:
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    purpose = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if not usage.digital_signature or ExtendedKeyUsageOID.CODE_SIGNING not in purpose:
        raise NotProven("its certificate is not for signing")


def _issuer(certificate: x509.Certificate) -> str:
    for oid, read in ((_ISSUER, _der_text), (_ISSUER_OLD, bytes.decode)):
        try:
            extension = certificate.extensions.get_extension_for_oid(oid).value
        except x509.ExtensionNotFound:
            continue
        if isinstance(extension, x509.UnrecognizedExtension):
            text: Callable[[bytes], str] = read
            return text(extension.value)
    raise NotProven("its certificate does not say who vouches for the name")


def _subjects(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = [name.value for name in names if isinstance(name, x509.RFC822Name | x509.UniformResourceIdentifier)]
    others = (name for name in names if isinstance(name, x509.OtherName) and name.type_id == _OTHER_NAME)
    return [*found, *(_der_text(name.value) for name in others)]


def _der_text(value: bytes) -> str:
    """A short UTF8String; longer ones have their length in several bytes."""
    if value[:1] != b"\x0c" or len(value) < 2:
        raise ValueError("not a UTF8String")
    size, start = value[1], 2
    if size & 0x80:
        start = 2 + (size & 0x7F)
        size = int.from_bytes(value[2:start], "big")
    if start > 4 or len(value) != start + size:
        raise ValueError("a UTF8String of another length")
    return value[start:].decode()


def _shown(text: str) -> str:
    return ascii(text[:200])[1:-1]


@contextmanager
def _told() -> Iterator[None]:
    """Whatever the package says about a hostile document becomes one kind of answer: no."""
    from sigstore.errors import Error

    try:
        yield
    except InvalidSignature as problem:
        raise NotProven("the signature does not fit what is signed") from problem
    except (
        *(Error, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, OSError),
        *(RecursionError, struct.error),
        *(UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension, x509.InvalidVersion),
    ) as problem:
        raise NotProven(_shown(str(problem).partition("\n")[0]) or type(problem).__name__) from problem
