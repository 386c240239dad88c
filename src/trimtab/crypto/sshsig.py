"""SSH signatures of files, as `ssh-keygen -Y sign` and git make them (OpenSSH's PROTOCOL.sshsig)."""

import base64
import binascii
import hashlib
from typing import NamedTuple

from trimtab.crypto.sshkeys import SshKey
from trimtab.crypto.sshwire import Malformed, Reader, string
from trimtab.crypto.trust import BadKeys, BadSignature

BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
NAMESPACE = "git"
MAX_BYTES = 64 << 10
_MAGIC = b"SSHSIG"
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}


class SshSignature(NamedTuple):
    """A signature, read and not yet believed."""

    key: SshKey
    namespace: str
    reserved: bytes
    algorithm: str
    signature: bytes

    def check(self, payload: bytes) -> None:
        """Raise BadSignature unless the key signed `payload`, for git."""
        if self.namespace != NAMESPACE:
            raise BadSignature(
                f"the signature by key {self.key.fingerprint} was made for {self.namespace[:60]!a}, not for git"
            )
        digest = _HASHES[self.algorithm](payload).digest()
        parts = (self.namespace.encode(), self.reserved, self.algorithm.encode(), digest)
        self.key.check(self.signature, _MAGIC + b"".join(string(part) for part in parts))


def parse(armored: bytes) -> SshSignature:
    """Read a signature in its armor. Raises BadSignature."""
    reader = Reader(_unarmored(armored))
    try:
        if reader.take(len(_MAGIC)) != _MAGIC:
            raise Malformed("it does not begin as one")
        version = reader.uint32()
        if version != 1:
            raise Malformed(f"it is of version {version}, which is not known")
        key = SshKey.from_blob(reader.string())
        namespace, reserved, algorithm = reader.text(), reader.string(), reader.text()
        if algorithm not in _HASHES:
            raise Malformed(f"its hash {algorithm[:60]!a} is not trusted")
        signature = reader.string()
        reader.end()
    except (Malformed, BadKeys) as problem:
        raise BadSignature(f"the SSH signature cannot be read: {problem}") from problem
    return SshSignature(key, namespace, reserved, algorithm, signature)


def _unarmored(armored: bytes) -> bytes:
    if len(armored) > MAX_BYTES:
        raise BadSignature(f"the signature has {len(armored)} bytes; none is that long")
    lines = armored.decode("ascii", errors="replace").removesuffix("\n").split("\n")
    if lines[0] != BEGIN:
        raise BadSignature("the signature does not begin as an SSH signature")
    if END not in lines:
        raise BadSignature("the signature is cut off: its last line is missing")
    if lines.index(END) != len(lines) - 1:
        raise BadSignature("something follows the end of the signature")
    try:
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except (binascii.Error, ValueError) as problem:
        raise BadSignature("the signature is not base64") from problem
