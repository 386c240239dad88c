"""age: the data key behind X25519 and SSH keys, by pyrage (the Rust implementation)."""

import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import pyrage  # type: ignore[import-untyped]

from trimtab.sops.errors import BadKeys, Locked
from trimtab.sops.metadata import Wrapped

Identity: TypeAlias = Any
"""An identity of pyrage, which has no types."""
_NATIVE: Final = "AGE-SECRET-KEY-1"
_QUANTUM: Final = "AGE-SECRET-KEY-PQ-1"
_PLUGIN: Final = "AGE-PLUGIN-"
_PEM = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----\n?", re.DOTALL)
_MOST: Final = 100
"""Identities of one entry: each is tried with each file."""


def identities(data: bytes) -> list[Identity]:
    """The identities in a key file: lines of age, private keys of SSH. Raises BadKeys, which never quotes one."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise BadKeys("it is not text") from None
    found: list[Identity] = [_ssh(match[0]) for match in _PEM.finditer(text)]
    for number, line in enumerate(_PEM.sub("", text).splitlines(), start=1):
        line = line.strip()
        if line and not line.startswith("#"):
            found.append(_native(line, number))
    if not found:
        raise BadKeys("there is no key in it: put in the lines that age-keygen wrote, or a private key of SSH")
    if len(found) > _MOST:
        raise BadKeys(f"there are more than {_MOST} keys in it")
    return found


def unlock(wrapped: Wrapped, known: Sequence[Identity]) -> bytes:
    """The data key, by one of `known`. Raises Locked."""
    if not known:
        raise Locked("there is no age key")
    try:
        return bytes(pyrage.decrypt(wrapped.enc.encode(), list(known)))
    except pyrage.DecryptError as failure:
        if "No matching keys" in str(failure):
            raise Locked("none of the age keys is its") from None
        raise Locked("what was encrypted for it is damaged, or of a kind of age key that is not served") from None


def _native(line: str, number: int) -> Identity:
    if line.startswith(_NATIVE):
        try:
            return pyrage.x25519.Identity.from_str(line)
        except pyrage.IdentityError:
            raise BadKeys(f"line {number} is not a whole key of age") from None
    if line.startswith(_QUANTUM):
        raise BadKeys(f"line {number} is a post-quantum key of age, which this version does not read")
    if line.startswith(_PLUGIN):
        raise BadKeys(f"line {number} is a key of a plugin of age; no plugin is started, use a key of age itself")
    raise BadKeys(f"line {number} is not a key of age")


def _ssh(pem: str) -> Identity:
    try:
        return pyrage.ssh.Identity.from_buffer(pem.encode())
    except pyrage.IdentityError:
        raise BadKeys("a private key of SSH in it cannot be used: ed25519 and rsa can, without a passphrase") from None
