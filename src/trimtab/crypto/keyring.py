"""The keys that one GitRepository trusts, of both families, as they come in a Secret."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from trimtab.crypto import openpgp, sshsig
from trimtab.crypto.allowed_signers import AllowedSigner, parse_allowed_signers, parse_public_keys
from trimtab.crypto.openpgp import Certificate, parse_certificates
from trimtab.crypto.trust import BadKeys, BadSignature, Signer

ALLOWED_SIGNERS = "allowed_signers"


@dataclass(frozen=True, slots=True)
class Keyring:
    """Whom to believe. `digest` moves when the keys do."""

    digest: str
    _ssh: tuple[AllowedSigner, ...] = field(repr=False)
    _openpgp: tuple[Certificate, ...] = field(repr=False)

    @classmethod
    def from_secret(cls, data: Mapping[str, bytes]) -> "Keyring":
        """Read `*.asc`, `*.sshpub` and `allowed_signers`; other entries are somebody else's.

        Raises BadKeys naming the entry: one that cannot be read spoils the Secret, since whoever wrote it meant it to
        count.
        """
        ssh: list[AllowedSigner] = []
        certificates: list[Certificate] = []
        digest = hashlib.sha256()
        for name in sorted(data):
            content = data[name]
            try:
                if name == ALLOWED_SIGNERS:
                    ssh += parse_allowed_signers(content)
                elif name.endswith(".sshpub"):
                    ssh += parse_public_keys(content)
                elif name.endswith(".asc"):
                    certificates += parse_certificates(content)
                else:
                    continue
            except BadKeys as problem:
                raise BadKeys(f"{name}: {problem}") from problem
            digest.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
        if not ssh and not certificates:
            there = ", ".join(sorted(data)[:10]) or "nothing"
            raise BadKeys(f"no keys in it: it has {there}; put in *.asc (OpenPGP), *.sshpub (SSH) or {ALLOWED_SIGNERS}")
        return cls(digest.hexdigest()[:32], tuple(ssh), tuple(certificates))

    def judge(self, payload: bytes, signature: bytes, seen: datetime) -> Signer:
        """Who signed `payload`, which came at the moment `seen`. Raises BadSignature."""
        begin = signature.partition(b"\n")[0].rstrip().decode("ascii", errors="replace")
        if not signature.strip():
            raise BadSignature("the signature is empty")
        if begin == sshsig.BEGIN:
            return self._by_ssh(payload, signature, seen)
        if begin == openpgp.BEGIN:
            if not self._openpgp:
                raise BadSignature("it is signed with OpenPGP, and only SSH keys are trusted")
            return openpgp.judge([*self._openpgp], payload, signature, seen)
        raise BadSignature(f"the signature is neither of SSH nor of OpenPGP: it begins with {begin[:60]!a}")

    def _by_ssh(self, payload: bytes, signature: bytes, seen: datetime) -> Signer:
        if not self._ssh:
            raise BadSignature("it is signed with SSH, and only OpenPGP keys are trusted")
        made = sshsig.parse(signature)
        lines = [line for line in self._ssh if line.key == made.key]
        if not lines:
            raise BadSignature(f"the key {made.key.fingerprint} is not among the trusted ones")
        made.check(payload)
        refusals = [line.refusal(seen) for line in lines]
        good = [line for line, refusal in zip(lines, refusals, strict=True) if refusal is None]
        if not good:
            raise BadSignature(f"the key {made.key.fingerprint} does not count: {refusals[0]}")
        names = tuple(name for line in good for name in line.principals)
        return Signer(made.key.fingerprint, ",".join(names) or good[0].comment, patterns=names)
