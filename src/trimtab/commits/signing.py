"""Signatures of commits, made in memory from the bytes of a key: SSH (OpenSSH's PROTOCOL.sshsig) and OpenPGP.

There is no signer without a key that works, so that nothing can fall back to not signing.
"""

import base64
import hashlib
import textwrap
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import pysequoia
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from trimtab.commits.errors import SigningFailed
from trimtab.crypto.sshkeys import SshKey
from trimtab.crypto.sshsig import BEGIN, END, NAMESPACE, parse
from trimtab.crypto.sshwire import string
from trimtab.crypto.trust import BadKeys, BadSignature

MAX_KEY_BYTES: Final = 1 << 20
_MAGIC: Final = b"SSHSIG"
_HASH: Final = "sha512"
_PGP: Final = b"-----BEGIN PGP PRIVATE KEY BLOCK-----"
_ENCRYPTED: Final = (b"ENCRYPTED", b"bcrypt")

_Private: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Signer(Protocol):
    """Signs what git signs."""

    @property
    def fingerprint(self) -> str:
        """The key, as its own tools name it."""
        ...

    def sign(self, payload: bytes) -> bytes:
        """The signature of `payload`, in its armor. Takes milliseconds. Raises SigningFailed."""
        ...


def signing_key(data: bytes, passphrase: bytes = b"", *, where: str = "the signing key") -> Signer:
    """The signer of a private key: of OpenPGP in its armor, or of SSH. `where` names it in messages.

    Raises SigningFailed if it cannot sign, also for a passphrase that is wrong or missing, and quotes nothing of it.
    """
    if not data.strip():
        raise SigningFailed(f"{where} is empty; nothing is committed without a signature")
    if len(data) > MAX_KEY_BYTES:
        raise SigningFailed(f"{where} has {len(data)} bytes; no key is that long")
    if _PGP in data:
        return _openpgp(data, passphrase, where)
    return _ssh(data, passphrase, where)


@dataclass(frozen=True, slots=True)
class _Ssh:
    key: SshKey
    private: _Private = field(repr=False)
    where: str

    @property
    def fingerprint(self) -> str:
        return self.key.fingerprint

    def sign(self, payload: bytes) -> bytes:
        digest = hashlib.new(_HASH, payload).digest()
        meant = (NAMESPACE.encode(), b"", _HASH.encode())
        signature = _raw(self.private, self.key.kind, _MAGIC + b"".join(map(string, (*meant, digest))))
        packed = _MAGIC + (1).to_bytes(4, "big") + b"".join(map(string, (self.key.blob, *meant, signature)))
        lines = textwrap.wrap(base64.b64encode(packed).decode(), 70)
        armored = "\n".join([BEGIN, *lines, END, ""]).encode()
        try:
            parse(armored).check(payload)
        except BadSignature as problem:
            raise SigningFailed(f"{self.where} made a signature that does not fit: {problem}") from problem
        return armored


def _ssh(data: bytes, passphrase: bytes, where: str) -> Signer:
    text = data.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
    private = _loaded(text, passphrase, where)
    try:
        if not isinstance(private, _Private):
            raise BadKeys("its kind is not supported; use ed25519, ecdsa or rsa")
        public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        kind, encoded = public.decode().split(" ")[:2]
        return _Ssh(SshKey.from_words(kind, encoded), private, where)
    except BadKeys as problem:
        raise SigningFailed(f"{where} cannot be used: {problem}") from problem


def _loaded(data: bytes, passphrase: bytes, where: str) -> object:
    load = serialization.load_ssh_private_key if b"OPENSSH" in data[:100] else serialization.load_pem_private_key
    try:
        return load(data, passphrase or None)
    except TypeError:
        # One of the two, and which is all that the library says of it.
        if not passphrase:
            raise SigningFailed(f"{where} is locked by a passphrase, and there is none") from None
    except (ValueError, UnsupportedAlgorithm) as problem:
        if passphrase:
            raise SigningFailed(f"{where} cannot be opened: it is damaged, or the passphrase is wrong") from problem
        raise SigningFailed(
            f"{where} cannot be read: it is no private key of SSH (OpenSSH or PEM) and none of OpenPGP "
            "(gpg --armor --export-secret-keys)"
        ) from problem
    # A passphrase for a key that is not locked: as ssh-keygen, it is not needed.
    return _loaded(data, b"", where)


def _raw(private: _Private, kind: str, data: bytes) -> bytes:
    """A signature in the wire format."""
    match private:
        case ed25519.Ed25519PrivateKey():
            return string(kind.encode()) + string(private.sign(data))
        case rsa.RSAPrivateKey():
            return string(b"rsa-sha2-512") + string(private.sign(data, padding.PKCS1v15(), hashes.SHA512()))
        case _:
            digest = {256: hashes.SHA256(), 384: hashes.SHA384()}.get(private.curve.key_size, hashes.SHA512())
            r, s = utils.decode_dss_signature(private.sign(data, ec.ECDSA(digest)))
            return string(kind.encode()) + string(_mpint(r) + _mpint(s))


def _mpint(number: int) -> bytes:
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


@dataclass(frozen=True, slots=True)
class _OpenPgp:
    fingerprint: str
    signer: pysequoia.PySigner = field(repr=False)
    where: str

    def sign(self, payload: bytes) -> bytes:
        try:
            return bytes(pysequoia.sign(self.signer, payload, mode=pysequoia.SignatureMode.DETACHED))
        except RuntimeError as problem:
            raise SigningFailed(f"{self.where} cannot sign: {_first_line(problem)}") from problem


def _openpgp(data: bytes, passphrase: bytes, where: str) -> Signer:
    try:
        key = pysequoia.Tsk.from_bytes(data)
        fingerprint = key.extract_certificate().fingerprint.upper()
    except RuntimeError as problem:
        raise SigningFailed(f"{where} is no private key of OpenPGP: {_first_line(problem)}") from problem
    try:
        try:
            signer = key.signer()
        except RuntimeError:
            if not passphrase:
                raise
            signer = key.signer(passphrase.decode())
    except (RuntimeError, UnicodeDecodeError) as problem:
        why = "it is damaged, or the passphrase is wrong" if passphrase else "it is locked, and there is no passphrase"
        raise SigningFailed(
            f"{where} ({fingerprint}) cannot sign: {why}, or it expired or has no part that may sign"
        ) from problem
    made = _OpenPgp(fingerprint, signer, where)
    made.sign(b"")  # what is wrong with it is to be known before anything is written
    return made


def _first_line(problem: Exception) -> str:
    return str(problem).partition("\n")[0][:200]
