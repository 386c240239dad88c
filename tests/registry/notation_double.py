"""Envelopes as `notation sign` makes them, with authorities and keys that are made in the test."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.registry.sigstore_double import usage

NAMES = {"C": NameOID.COUNTRY_NAME, "ST": NameOID.STATE_OR_PROVINCE_NAME, "O": NameOID.ORGANIZATION_NAME}
ALL = {**NAMES, "CN": NameOID.COMMON_NAME}


def url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def name(**parts: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(ALL[key], value) for key, value in parts.items()])


class Issued:
    """A certificate, its key, and the certificates above it."""

    def __init__(self, key: Any, certificate: x509.Certificate, above: "Issued | None") -> None:
        self.key, self.certificate, self.above = key, certificate, above

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def chain(self) -> list[x509.Certificate]:
        return [self.certificate, *(self.above.chain if self.above else [])]

    @classmethod
    def create(
        cls,
        above: "Issued | None" = None,
        *,
        key: Any = None,
        ca: bool = False,
        path_length: int | None = None,
        purposes: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.CODE_SIGNING,),
        start: datetime | None = None,
        days: float = 30,
        crl: bool = False,
        key_usage: x509.KeyUsage | None = None,
        **subject: str,
    ) -> "Issued":
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = subject or {"C": "DE", "ST": "HH", "O": "Team", "CN": "authority" if ca else "signer"}
        own = name(**subject)
        start = start or datetime.now(UTC) - timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(own)
            .issuer_name(above.certificate.subject if above else own)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
            .add_extension(
                key_usage or (usage(key_cert_sign=True) if ca else usage(digital_signature=True)), critical=True
            )
        )
        if purposes and not ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if crl:
            point = x509.DistributionPoint([x509.UniformResourceIdentifier("http://127.0.0.2:1/crl")], None, None, None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        return cls(key, builder.sign(above.key if above else key, hashes.SHA256()), above)

    def sign(self, data: bytes) -> tuple[str, bytes]:
        """The algorithm that fits the key, and the signature in the form of JWS."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            bits = {2048: "256", 3072: "384"}.get(self.key.key_size, "512")
            chosen = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[bits]
            salted = padding.PSS(padding.MGF1(chosen), chosen.digest_size)
            return f"PS{bits}", self.key.sign(data, salted, chosen)
        bits = {256: "256", 384: "384", 521: "512"}[self.key.key_size]
        chosen = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[bits]
        size = (self.key.key_size + 7) // 8
        r, s = decode_dss_signature(self.key.sign(data, ec.ECDSA(chosen)))
        return f"ES{bits}", r.to_bytes(size, "big") + s.to_bytes(size, "big")


def envelope(
    signer: Issued,
    of: str,
    *,
    protected: dict[str, Any] | None = None,
    chain: list[x509.Certificate] | None = None,
    header: dict[str, Any] | None = None,
) -> bytes:
    target = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": of, "size": 1}
    payload = url64(json.dumps({"targetArtifact": target}).encode())
    algorithm, _ = signer.sign(b"")
    said = {
        "alg": algorithm,
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "crit": ["io.cncf.notary.signingScheme"],
        "io.cncf.notary.signingScheme": "notary.x509",
        "io.cncf.notary.signingTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **(protected or {}),
    }
    head = url64(json.dumps({key: value for key, value in said.items() if value is not None}).encode())
    certificates = [base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in chain or signer.chain]
    body = {
        "payload": payload,
        "protected": head,
        "header": {"x5c": certificates, "io.cncf.notary.signingAgent": "double/1", **(header or {})},
        "signature": url64(signer.sign(f"{head}.{payload}".encode())[1]),
    }
    return json.dumps(body).encode()


def policy(
    *identities: str, scope: str = "*", level: str = "strict", override: dict[str, str] | None = None, **change: Any
) -> bytes:
    statement = {
        "name": "team",
        "registryScopes": [scope],
        "signatureVerification": {"level": level, **({"override": override} if override else {})},
        "trustStores": ["ca:team"],
        "trustedIdentities": list(identities) or ["*"],
        **change,
    }
    return json.dumps({"version": "1.0", "trustPolicies": [statement]}).encode()
