"""Signatures of the Notary Project: an envelope with a chain of certificates, judged by a trust policy.

Read by its published specification, version 1.0 of the policy and of the JWS envelope. Served is what proves something:
the levels `strict` and `permissive`, and roots that the Secret holds. What cannot be judged without asking others, such
as revocation, is never taken for good: the policy has to say that it does not want it.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

ARTIFACT_TYPE: Final = "application/vnd.cncf.notary.signature"
"""Type of the manifest that refers to what is signed."""
JWS: Final = "application/jose+json"
"""Media type of the layer with the envelope."""
POLICY_FILE: Final = "trustpolicy.json"
CERTIFICATE_SUFFIXES: Final = (".crt", ".pem")
_PAYLOAD = "application/vnd.cncf.notary.payload.v1+json"
_SCHEME = "io.cncf.notary.signingScheme"
_EXPIRY = "io.cncf.notary.expiry"
_UNDERSTOOD = {_SCHEME, _EXPIRY}
_MOST_CHAIN = 10
_WANTED = (NameOID.COUNTRY_NAME, NameOID.STATE_OR_PROVINCE_NAME, NameOID.ORGANIZATION_NAME)
_PURPOSES_OF_OTHERS = {
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
    ExtendedKeyUsageOID.TIME_STAMPING,
    ExtendedKeyUsageOID.OCSP_SIGNING,
}
_HASHES: Mapping[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


class BadPolicy(ValueError):
    """The trust policy or a certificate cannot be used; the words say why."""


class NotProven(Exception):
    """The signature proves nothing; the words say why."""


class Level(StrEnum):
    """How strictly signatures are verified. `audit` and `skip` prove nobody, and are not served."""

    STRICT = "strict"
    PERMISSIVE = "permissive"


class _Verification(msgspec.Struct, frozen=True, rename="camel"):
    level: str
    override: dict[str, str] = {}


class _Statement(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    registry_scopes: list[str]
    signature_verification: _Verification
    trust_stores: list[str] = []
    trusted_identities: list[str] = []


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    version: str
    trust_policies: list[_Statement]


class _Envelope(msgspec.Struct, frozen=True):
    payload: str
    protected: str
    signature: str
    header: dict[str, Any]


class _Target(msgspec.Struct, frozen=True):
    digest: str


class _Payload(msgspec.Struct, frozen=True, rename="camel"):
    target_artifact: _Target


@dataclass(frozen=True, slots=True)
class Policy:
    """What one repository demands. `identities` is None where everybody of the roots is trusted."""

    name: str
    enforces_expiry: bool
    enforces_revocation: bool
    identities: tuple[x509.Name, ...] | None
    roots: tuple[x509.Certificate, ...]

    @classmethod
    def of(cls, data: Mapping[str, bytes], scope: str) -> "Policy":
        """The policy that the `data` of a Secret has for the repository `scope` (`host/path`). Raises BadPolicy."""
        try:
            document = msgspec.json.decode(data.get(POLICY_FILE, b""), type=_Document)
        except (msgspec.DecodeError, ValueError, RecursionError) as problem:
            raise BadPolicy(f"{POLICY_FILE}: {problem}") from problem
        if document.version != "1.0":
            raise BadPolicy(f"{POLICY_FILE}: version {document.version[:20]!a} is not known; write 1.0")
        statement = _applicable(document.trust_policies, scope)
        level = statement.signature_verification.level
        if level not in set(Level):
            raise BadPolicy(
                f"{POLICY_FILE}: the level {level[:40]!a} of {statement.name[:60]!a} would accept what nobody vouches "
                "for; write strict or permissive, or remove spec.verify"
            )
        expiry, revocation = _enforced(statement, Level(level))
        if not any(store.startswith("ca:") for store in statement.trust_stores):
            raise BadPolicy(f"{POLICY_FILE}: trustStores of {statement.name[:60]!a} names no store ca:…")
        return cls(statement.name, expiry, revocation, _identities(statement), _roots(data))

    @property
    def digest(self) -> str:
        """Changes when something else is demanded."""
        roots = sorted(root.fingerprint(hashes.SHA256()).hex() for root in self.roots)
        names = self.identities and sorted(name.rfc4514_string() for name in self.identities)
        parts = (self.name, self.enforces_expiry, self.enforces_revocation, names, roots)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def judge(self, envelope: bytes, digest: str, now: datetime) -> str:
        """Who signed the manifest `digest`. Raises NotProven."""
        try:
            return self._judge(envelope, digest, now)
        except InvalidSignature as problem:
            raise NotProven("the signature does not fit what is signed") from problem
        except (
            *(msgspec.DecodeError, ValueError, TypeError, LookupError, RecursionError),
            *(UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension, x509.InvalidVersion),
        ) as problem:
            raise NotProven(f"the envelope cannot be read: {str(problem)[:200]!a}") from problem

    def _judge(self, data: bytes, digest: str, now: datetime) -> str:
        envelope = msgspec.json.decode(data, type=_Envelope)
        protected = msgspec.json.decode(_unpadded(envelope.protected), type=dict[str, Any])
        chain = [x509.load_der_x509_certificate(base64.b64decode(one, validate=True)) for one in envelope.header["x5c"]]
        if not 0 < len(chain) <= _MOST_CHAIN:
            raise NotProven(f"{len(chain)} certificates in it")
        signed = f"{envelope.protected}.{envelope.payload}".encode("ascii")
        _check_signature(chain[0], str(protected.get("alg")), _unpadded(envelope.signature), signed)
        self._check_headers(protected, now)
        self._check_chain(chain, now)
        who = chain[0].subject.rfc4514_string()
        if self.identities is not None and not any(_covers(name, chain[0].subject) for name in self.identities):
            raise NotProven(f"it is by {who[:200]!a}, who is not among trustedIdentities")
        if msgspec.json.decode(_unpadded(envelope.payload), type=_Payload).target_artifact.digest != digest:
            raise NotProven("it is not a signature of this digest")
        return who[:200]

    def _check_headers(self, protected: Mapping[str, Any], now: datetime) -> None:
        if protected.get("cty") != _PAYLOAD:
            raise NotProven(f"its content is {str(protected.get('cty'))[:100]!a}")
        critical = protected.get("crit")
        if not isinstance(critical, list) or _SCHEME not in critical or not set(critical) <= _UNDERSTOOD:
            raise NotProven(f"it demands {str(critical)[:100]!a}, which is not all known")
        if protected.get(_SCHEME) != "notary.x509":
            raise NotProven(f"its scheme {str(protected.get(_SCHEME))[:60]!a} is not served")
        if _EXPIRY in protected:
            expires = datetime.fromisoformat(protected[_EXPIRY])
            if self.enforces_expiry and now >= expires:
                raise NotProven(f"it expired at {expires.isoformat()}")

    def _check_chain(self, chain: Sequence[x509.Certificate], now: datetime) -> None:
        """From the leaf up to a certificate of the Secret, every step of it valid now.

        What the envelope says of its own time is the word of whoever made it.
        """
        _check_leaf(chain[0])
        anchored = next((at for at, one in enumerate(chain) if one in self.roots), None)
        if anchored is None:
            raise NotProven(f"no certificate of {chain[0].subject.rfc4514_string()[:200]!a} is in the Secret")
        for at, certificate in enumerate(chain[: anchored + 1]):
            subject = certificate.subject.rfc4514_string()[:200]
            if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                raise NotProven(
                    f"the certificate {subject!a} is valid from {certificate.not_valid_before_utc.isoformat()} to "
                    f"{certificate.not_valid_after_utc.isoformat()}"
                )
            if self.enforces_revocation and _revocable(certificate) and at < anchored:
                raise NotProven(
                    f"whether the certificate {subject!a} is revoked is not asked over the network; "
                    'say so in the policy: "override": {"revocation": "skip"}'
                )
            if at < anchored:
                _check_issuer(chain[at + 1], below=at)
                certificate.verify_directly_issued_by(chain[at + 1])


def _applicable(statements: Sequence[_Statement], scope: str) -> _Statement:
    names = [statement.name for statement in statements]
    scopes = [one for statement in statements for one in statement.registry_scopes]
    if len(set(names)) != len(names) or len(set(scopes)) != len(scopes):
        raise BadPolicy(f"{POLICY_FILE}: two of trustPolicies have the same name or the same scope")
    for wanted in (scope, "*"):
        for statement in statements:
            if wanted in statement.registry_scopes:
                if "*" in statement.registry_scopes and len(statement.registry_scopes) > 1:
                    raise BadPolicy(f"{POLICY_FILE}: a scope * stands alone")
                return statement
    raise BadPolicy(f"{POLICY_FILE}: no registryScopes of trustPolicies names {scope}")


def _enforced(statement: _Statement, level: Level) -> tuple[bool, bool]:
    """Whether expiry and revocation are enforced. Nothing that the level enforces of the rest may be taken back."""
    override = statement.signature_verification.override
    if not override.keys() <= {"authenticTimestamp", "expiry", "revocation"}:
        raise BadPolicy(f"{POLICY_FILE}: override may name authenticTimestamp, expiry and revocation")
    if not set(override.values()) <= {"enforce", "log", "skip"}:
        raise BadPolicy(f"{POLICY_FILE}: override says enforce, log or skip")
    usual = "enforce" if level is Level.STRICT else "log"
    return override.get("expiry", usual) == "enforce", override.get("revocation", usual) == "enforce"


def _identities(statement: _Statement) -> tuple[x509.Name, ...] | None:
    found: list[x509.Name] = []
    for text in statement.trusted_identities:
        if text == "*":
            continue
        prefix, _, name = text.partition(":")
        if prefix != "x509.subject":
            raise BadPolicy(f"{POLICY_FILE}: the identity {text[:200]!a} does not begin with x509.subject:")
        try:
            parsed = x509.Name.from_rfc4514_string(
                ",".join(part.strip() for part in name.split(",")), {"S": NameOID.STATE_OR_PROVINCE_NAME}
            )
        except ValueError as problem:
            raise BadPolicy(f"{POLICY_FILE}: the identity {text[:200]!a}: {problem}") from problem
        if not all(parsed.get_attributes_for_oid(oid) for oid in _WANTED):
            raise BadPolicy(f"{POLICY_FILE}: the identity {text[:200]!a} has to name C, ST and O at least")
        found.append(parsed)
    everybody = "*" in statement.trusted_identities
    if everybody and found:
        raise BadPolicy(f"{POLICY_FILE}: a trusted identity * stands alone")
    if not everybody and not found:
        raise BadPolicy(f"{POLICY_FILE}: trustedIdentities of {statement.name[:60]!a} names nobody")
    return None if everybody else tuple(found)


def _roots(data: Mapping[str, bytes]) -> tuple[x509.Certificate, ...]:
    found: list[x509.Certificate] = []
    for name in sorted(name for name in data if name.endswith(CERTIFICATE_SUFFIXES)):
        try:
            found += x509.load_pem_x509_certificates(data[name])
        except ValueError as problem:
            raise BadPolicy(f"{name} is not a certificate in PEM") from problem
    if not found:
        raise BadPolicy("there is no certificate (a key *.crt or *.pem)")
    return tuple(found)


def _covers(wanted: x509.Name, subject: x509.Name) -> bool:
    """Whether everything that `wanted` says is so of `subject`."""
    has = {(attribute.oid, attribute.value) for attribute in subject}
    return all((attribute.oid, attribute.value) in has for attribute in wanted)


def _check_leaf(leaf: x509.Certificate) -> None:
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    if not usage.digital_signature or usage.key_cert_sign:
        raise NotProven("its certificate is not for signing")
    try:
        purposes = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        purposes = {ExtendedKeyUsageOID.CODE_SIGNING}
    if ExtendedKeyUsageOID.CODE_SIGNING not in purposes or purposes & _PURPOSES_OF_OTHERS:
        raise NotProven("its certificate is not for signing code")
    try:
        if leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise NotProven("its certificate is one of an authority")
    except x509.ExtensionNotFound:
        return


def _check_issuer(issuer: x509.Certificate, *, below: int) -> None:
    constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    short = constraints.path_length is not None and constraints.path_length < below
    if not constraints.ca or not usage.key_cert_sign or short:
        raise NotProven(f"{issuer.subject.rfc4514_string()[:200]!a} may not issue such certificates")


def _revocable(certificate: x509.Certificate) -> bool:
    oids = {extension.oid for extension in certificate.extensions}
    return bool(oids & {ExtensionOID.AUTHORITY_INFORMATION_ACCESS, ExtensionOID.CRL_DISTRIBUTION_POINTS})


def _check_signature(leaf: x509.Certificate, algorithm: str, signature: bytes, signed: bytes) -> None:
    key = leaf.public_key()
    match key:
        case rsa.RSAPublicKey() if key.key_size in (2048, 3072, 4096):
            bits = {2048: "256", 3072: "384", 4096: "512"}[key.key_size]
            wanted, chosen = f"PS{bits}", _HASHES[bits]
            salted = padding.PSS(padding.MGF1(chosen), chosen.digest_size)
            if algorithm == wanted:
                return key.verify(signature, signed, salted, chosen)
        case ec.EllipticCurvePublicKey() if key.curve.name in ("secp256r1", "secp384r1", "secp521r1"):
            bits = {"secp256r1": "256", "secp384r1": "384", "secp521r1": "512"}[key.curve.name]
            wanted, half = f"ES{bits}", (key.key_size + 7) // 8
            if algorithm == wanted and len(signature) == 2 * half:
                r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
                return key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(_HASHES[bits]))
        case _:
            raise NotProven("its key is neither RSA of 2048, 3072 or 4096 bits nor on a curve of NIST")
    raise NotProven(f"its algorithm {algorithm[:20]!a} does not fit its key, which wants {wanted}")


def _unpadded(text: str) -> bytes:
    if "=" in text:
        raise ValueError("padding in base64url")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as problem:
        raise ValueError(str(problem)) from problem
