"""The words that both families of signatures share."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple


class BadKeys(Exception):
    """A file of keys that cannot be trusted as it is. The message names the line and never the content."""


class BadSignature(Exception):
    """A signature that proves nothing. The message says why, and which key made it where that is known."""


class Signer(NamedTuple):
    """Who signed: the key, and what the file of trusted keys says of its owner; a bare key has no owner."""

    fingerprint: str
    name: str = ""
    patterns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    def is_(self, address: str) -> bool:
        """Whether the owner of the key is the one with this mail address."""
        return bool(address) and (address in self.addresses or matches(self.patterns, address))

    def __str__(self) -> str:
        return f"{self.name} ({self.fingerprint})" if self.name else self.fingerprint


def matches(patterns: Iterable[str], text: str) -> bool:
    """Whether a list of patterns admits `text` (ssh_config(5), PATTERNS): one matches, and none with `!` does."""
    admitted = False
    for pattern in patterns:
        # Brackets mean nothing to ssh.
        if fnmatchcase(text, pattern.removeprefix("!").replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            admitted = True
    return admitted
