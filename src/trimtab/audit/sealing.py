"""Digests that only the key beside the ledger can make.

An object may contain what nobody may know: a Secret, and whatever was filled with one. A plain digest of it could be
tried out by whoever can guess the rest. These are HMACs: equal values have equal digests, which is what the ledger is
for, and without the key they say nothing. Whoever has the key can show that a given object is the one in the ledger.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

_BYTES: Final = 32
_SHOWN: Final = 32  # hex digits: half of SHA-256 is enough to tell values apart


class Seal:
    """Makes digests by a key. `id` tells keys apart, and nothing about them."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.id = hashlib.sha256(b"trimtab ledger key\0" + key).hexdigest()[:16]

    def digest(self, value: str) -> str:
        """What stands for `value`; empty for nothing."""
        return hmac.new(self._key, value.encode(), hashlib.sha256).hexdigest()[:_SHOWN] if value else ""

    @classmethod
    def of(cls, path: Path) -> "Seal":
        """The one whose key is the file `path`, which is made where there is none; blocks. Raises OSError."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (key := _read(path)) is not None:
            return cls(key)
        # made whole beside it and then named, so that a crash leaves no half of a key
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was faster, and its key is the key
                path.hardlink_to(draft)
        finally:
            draft.unlink(missing_ok=True)
        key = _read(path)
        if key is None:
            raise OSError(f"{path} is no key of {_BYTES} bytes: remove it, and a new one is made")
        return cls(key)

    @classmethod
    def passing(cls) -> "Seal":
        """One whose key is nowhere: its digests can be compared within one run only."""
        return cls(secrets.token_bytes(_BYTES))


def _read(path: Path) -> bytes | None:
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return None
    return key if len(key) == _BYTES else None
