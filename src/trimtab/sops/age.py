"""age: the data key behind X25519 and SSH keys, by pyrage (the Rust implementation), and behind hybrid ones."""

import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import pyrage  # type: ignore[import-untyped]

from trimtab.sops.age_hybrid import PREFIX, Hybrid, decrypt
from trimtab.sops.errors import BadKeys, Locked
from trimtab.sops.metadata import Wrapped

Identity: TypeAlias = Any
"""An identity of pyrage, which has no types, or a Hybrid."""
_NATIVE: Final = "AGE-SECRET-KEY-1"
_QUANTUM: Final = PREFIX + "1"
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
    hybrid = [one for one in known if isinstance(one, Hybrid)]
    others = [one for one in known if not isinstance(one, Hybrid)]
    try:
        found = decrypt(wrapped.enc, hybrid) if hybrid else None
        if found is None and others:
            found = bytes(pyrage.decrypt(wrapped.enc.encode(), others))
    except (pyrage.DecryptError, ValueError) as failure:
        if "No matching keys" in str(failure):
            raise Locked("none of the age keys is its") from None
        raise Locked("what was encrypted for it is damaged, or of a kind of age key that is not served") from None
    if found is None:
        raise Locked("none of the age keys is its")
    return found


def _native(line: str, number: int) -> Identity:
    if line.startswith(_NATIVE):
        try:
            return pyrage.x25519.Identity.from_str(line)
        except pyrage.IdentityError:
            raise BadKeys(f"line {number} is not a whole key of age") from None
    if line.startswith(_QUANTUM):
        try:
            return Hybrid(line)
        except ValueError:
            raise BadKeys(f"line {number} is not a whole post-quantum key of age") from None
    if line.startswith(_PLUGIN):
        raise BadKeys(f"line {number} is a key of a plugin of age; no plugin is started, use a key of age itself")
    raise BadKeys(f"line {number} is not a key of age")


def _ssh(pem: str) -> Identity:
    try:
        return pyrage.ssh.Identity.from_buffer(pem.encode())
    except pyrage.IdentityError:
        raise BadKeys("a private key of SSH in it cannot be used: ed25519 and rsa can, without a passphrase") from None
