"""The keys that one app may use, and how they open what a file says of itself."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from trimtab.sops import age as age_keys
from trimtab.sops import openpgp as openpgp_keys
from trimtab.sops.age import Identity
from trimtab.sops.cipher import KEY_BYTES
from trimtab.sops.errors import BadKeys, Locked
from trimtab.sops.metadata import Metadata, Wrapped
from trimtab.sops.openpgp_keys import SecretKey, secret_keys
from trimtab.sops.shamir import combine

AGE_SUFFIX: Final = ".agekey"
OPENPGP_SUFFIX: Final = ".asc"
_AT_HAND: Final = ("age", "pgp")
_NEVER: Mapping[str, str] = {
    "hckms": "this version does not ask Huawei Cloud KMS",
}
_MISSING: Mapping[str, str] = {
    "hc_vault": "there is no token for a Vault (sops.vault-token)",
    "kms": "there are no credentials for AWS KMS (sops.aws-kms)",
    "gcp_kms": "there are no credentials for GCP KMS (sops.gcp-kms)",
    "azure_kv": "there are no credentials for Azure Key Vault (sops.azure-kv)",
}
_MOST_TOLD: Final = 5
_ALL_S: Final = 60.0
"""For all the servers of keys that one file names."""


class KeyService(Protocol):
    """A server that decrypts with a key that it never gives away."""

    async def unlock(self, wrapped: Wrapped) -> bytes:
        """The data key. Raises Locked."""
        ...


@dataclass(frozen=True, slots=True)
class Keyring:
    """What can decrypt. `digest` moves with every part of it; `services` are asked for a kind of key each."""

    digest: str = field(repr=False)
    age: tuple[Identity, ...] = field(default=(), repr=False)
    openpgp: tuple[SecretKey, ...] = field(default=(), repr=False)
    services: Mapping[str, KeyService] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, entries: Mapping[str, bytes], services: Mapping[str, KeyService] | None = None) -> "Keyring":
        """Read `*.agekey` and `*.asc`; other entries are somebody else's. Raises BadKeys naming the entry.

        One that cannot be read spoils all: whoever put it there meant it to count.
        """
        identities: list[Identity] = []
        keys: list[SecretKey] = []
        for name in sorted(entries):
            try:
                if name.endswith(AGE_SUFFIX):
                    identities += age_keys.identities(entries[name])
                elif name.endswith(OPENPGP_SUFFIX):
                    keys += secret_keys(entries[name])
            except BadKeys as failure:
                raise BadKeys(f"{name}: {failure}") from None
        return cls(digest_of(entries), tuple(identities), tuple(keys), services or {})

    async def data_key(self, metadata: Metadata) -> bytes:
        """The key of the values of a file. Raises Damaged, and Locked with every key that was tried."""
        try:
            async with asyncio.timeout(_ALL_S):
                return await self._data_key(metadata)
        except TimeoutError:
            raise Locked(f"asking for its keys took longer than {_ALL_S:g} s", passing=True) from None

    async def _data_key(self, metadata: Metadata) -> bytes:
        refusals: list[str] = []
        passing = False
        parts: list[bytes] = []
        for group in metadata.groups:
            for wrapped in sorted(group, key=lambda one: one.kind not in _AT_HAND):
                try:
                    parts.append(await self._unlock(wrapped))
                    break
                except Locked as failure:
                    refusals.append(f"{wrapped}: {failure}")
                    passing = passing or failure.passing
            if len(parts) == metadata.threshold:
                break
        if len(parts) < metadata.threshold:
            more = f"; and {len(refusals) - _MOST_TOLD} more" if len(refusals) > _MOST_TOLD else ""
            raise Locked("; ".join(refusals[:_MOST_TOLD]) + more, passing=passing)
        key = parts[0] if len(metadata.groups) == 1 else combine(parts)
        if len(key) != KEY_BYTES:
            raise Locked(f"what they hold has {len(key)} bytes, and a data key has {KEY_BYTES}")
        return key

    async def _unlock(self, wrapped: Wrapped) -> bytes:
        match wrapped.kind:
            case "age":
                return await asyncio.to_thread(age_keys.unlock, wrapped, self.age)
            case "pgp":
                return await asyncio.to_thread(openpgp_keys.unlock, wrapped, self.openpgp)
        service = self.services.get(wrapped.kind)
        if service is None:
            raise Locked(_NEVER.get(wrapped.kind) or _MISSING[wrapped.kind])
        return await service.unlock(wrapped)


def digest_of(entries: Mapping[str, bytes]) -> str:
    """Another one for other entries. It is of keys, so it stays in memory."""
    digest = hashlib.sha256()
    for name in sorted(entries):
        digest.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(entries[name]).digest())
    return digest.hexdigest()
