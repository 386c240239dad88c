"""A double of the public services of Sigstore: an authority, a log of certificates and a log of signatures.

All keys are made here, and everything is signed as the real services sign it; there is no network in it. What it gives
out is judged by the real verifier.
"""

import base64
import hashlib
import json
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.registry.server import RegistryServer, descriptor, digest
from trimtab.crypto import cosign

EMPTY = "application/vnd.oci.empty.v1+json"
ISSUER = "https://token.actions.example"
SUBJECT = "https://github.example/team/shop/.github/workflows/release.yaml@refs/heads/main"
SCTS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
VALID = timedelta(minutes=10)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def der(tag: int, data: bytes) -> bytes:
    size = len(data)
    length = bytes([size]) if size < 128 else bytes([0x81, size]) if size < 256 else b"\x82" + struct.pack(">H", size)
    return bytes([tag]) + length + data


class Log:
    """A log's key."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.public = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.id = hashlib.sha256(self.public).digest()

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))

    def entry(self, url: str) -> dict[str, Any]:
        return {
            "baseUrl": url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": b64(self.public),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": "2020-01-01T00:00:00Z"},
            },
            "logId": {"keyId": b64(self.id)},
        }


class Instance:
    """One instance of Sigstore."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.certificates, self.signatures = Log(), Log()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a double of fulcio")])
        self.root = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(usage(key_cert_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA384())
        )

    def trusted_root(self) -> bytes:
        authority = {
            "subject": {"organization": "double", "commonName": "a double of fulcio"},
            "uri": "https://fulcio.double.example",
            "certChain": {"certificates": [{"rawBytes": b64(self.root.public_bytes(Encoding.DER))}]},
            "validFor": {"start": "2020-01-01T00:00:00Z"},
        }
        document = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self.signatures.entry("https://rekor.double.example")],
            "certificateAuthorities": [authority],
            "ctlogs": [self.certificates.entry("https://ctfe.double.example")],
            "timestampAuthorities": [],
        }
        return json.dumps(document).encode()

    def certificate(
        self, key: Any, subject: str = SUBJECT, issuer: str = ISSUER, at: datetime | None = None, log: Log | None = None
    ) -> x509.Certificate:
        """A certificate of ten minutes. `log` is the one that has seen it, if another has than the right one."""
        start = (at or datetime.now(UTC)).replace(microsecond=0)
        name = x509.RFC822Name(subject) if "://" not in subject else x509.UniformResourceIdentifier(subject)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + VALID)
            .add_extension(usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), issuer.encode()),
                critical=False,
            )
            .add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8"), der(0x0C, issuer.encode())),
                critical=False,
            )
        )
        seen = self._seen(builder.sign(self.key, hashes.SHA384()), start, log or self.certificates)
        extension = x509.UnrecognizedExtension(SCTS, der(0x04, seen))
        return builder.add_extension(extension, critical=False).sign(self.key, hashes.SHA384())

    def _seen(self, pre: x509.Certificate, at: datetime, log: Log) -> bytes:
        """The list of what logs promise, which is one promise (RFC 6962)."""
        issuer = self.root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        body = pre.tbs_certificate_bytes
        when = int(at.timestamp() * 1000)
        entry = hashlib.sha256(issuer).digest() + len(body).to_bytes(3, "big") + body
        signature = log.sign(struct.pack(">BBQH", 0, 0, when, 1) + entry + b"\0\0")
        promise = b"\0" + log.id + struct.pack(">QHBBH", when, 0, 4, 3, len(signature)) + signature
        return struct.pack(">HH", len(promise) + 2, len(promise)) + promise


def usage(**wanted: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    every = (*names, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: wanted.get(name, False) for name in every})


class KeylessSigner:
    """What `cosign sign` does for one who signed in as `subject`."""

    def __init__(self, instance: Instance, **certificate: Any) -> None:
        self.instance = instance
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.at = certificate.get("at") or datetime.now(UTC)
        self.certificate = instance.certificate(self.key, **certificate)
        self.logged_at = self.at + timedelta(seconds=1)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))

    def promise(self, body: bytes) -> tuple[dict[str, Any], bytes]:
        log = self.instance.signatures
        said = {
            "body": b64(body),
            "integratedTime": int(self.logged_at.timestamp()),
            "logID": log.id.hex(),
            "logIndex": 7,
        }
        return said, log.sign(json.dumps(said, sort_keys=True, separators=(",", ":")).encode())

    def bundle(self, of: str, predicate: str = "https://sigstore.dev/cosign/sign/v1", **change: Any) -> dict[str, Any]:
        """A bundle, as cosign 3 makes it."""
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "", "digest": {"sha256": of.removeprefix("sha256:")}}],
            "predicateType": predicate,
            "predicate": {},
        }
        payload, kind = json.dumps(statement).encode(), "application/vnd.in-toto+json"
        signature = self.sign(f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload)
        envelope = {"payload": b64(payload), "payloadType": kind, "signatures": [{"sig": b64(signature)}]}
        body = json.dumps(
            {
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
                    "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
                    "signatures": [{"signature": b64(signature), "verifier": b64(self.pem)}],
                },
            }
        ).encode()
        said, promised = self.promise(body)
        log, leaf = self.instance.signatures, hashlib.sha256(b"\0" + body).digest()
        note = f"rekor.double.example - 1\n1\n{b64(leaf)}\n"
        checkpoint = f"{note}\n\u2014 rekor.double.example {b64(log.id[:4] + log.sign(note.encode()))}\n"
        entry = {
            "logIndex": "7",
            "logId": {"keyId": b64(log.id)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(said["integratedTime"]),
            "inclusionPromise": {"signedEntryTimestamp": b64(promised)},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": b64(leaf),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": b64(body),
        }
        material = {
            "certificate": {"rawBytes": b64(self.certificate.public_bytes(Encoding.DER))},
            "tlogEntries": [entry],
            "timestampVerificationData": {"rfc3161Timestamps": []},
        }
        return {"mediaType": cosign.BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope, **change}

    def simple(self, payload: bytes) -> dict[str, str]:
        """The annotations of a signature as cosign 2 makes it."""
        signature = self.sign(payload)
        body = json.dumps(
            {
                "apiVersion": "0.0.1",
                "kind": "hashedrekord",
                "spec": {
                    "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()}},
                    "signature": {"content": b64(signature), "publicKey": {"content": b64(self.pem)}},
                },
            }
        ).encode()
        said, promised = self.promise(body)
        return {
            cosign.SIGNATURE: b64(signature),
            cosign.CERTIFICATE: self.pem.decode(),
            cosign.LOG_ENTRY: json.dumps({"SignedEntryTimestamp": b64(promised), "Payload": said}),
        }


def attach(
    server: RegistryServer, name: str, of: str, *contents: bytes, kind: str = cosign.BUNDLE, layer: str = ""
) -> None:
    """Attach contents to a manifest, under the tag that stands in for the API of referrers."""
    server.blob(name, b"{}")
    entries = []
    for content in contents:
        server.blob(name, content)
        body = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": kind,
                "config": descriptor(b"{}", EMPTY),
                "layers": [descriptor(content, layer or kind)],
                "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": of, "size": 1},
            }
        ).encode()
        server.tag(name, digest(body), body)
        entries.append(descriptor(body, "application/vnd.oci.image.manifest.v1+json", artifactType=kind))
    index: Mapping[str, Any] = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    }
    server.tag(name, of.replace(":", "-"), json.dumps(index).encode(), "application/vnd.oci.image.index.v1+json")
