"""Signatures of artifacts in a registry: where they lie, and whom somebody demands to have made them.

Whatever cannot be fetched or read is an error, and an error is never a yes.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from trimtab.crypto import cosign, keyless, notation
from trimtab.crypto.identity import Identity
from trimtab.remotes.oci.manifest import Descriptor, Index
from trimtab.remotes.oci.reference import Repository
from trimtab.remotes.oci.registry import Registry
from trimtab.remotes.oci.wire import Access, NotThere

_MAX_PAYLOAD = 1 << 20
_MAX_SIGNATURES = 64
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Keys:
    """A signature by one of these public keys, in PEM, by their names."""

    pems: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """Changes when somebody else is trusted."""
        return _digest("keys", sorted(self.pems.items()))


@dataclass(frozen=True, slots=True)
class Identities:
    """A signature without a key by one of these. `trusted_root` is None for the public instance of Sigstore."""

    identities: tuple[Identity, ...]
    trusted_root: bytes | None = None

    @property
    def digest(self) -> str:
        """Changes when somebody else is trusted."""
        return _digest("identities", [(one.issuer, one.subject) for one in self.identities], self.trusted_root)


@dataclass(frozen=True, slots=True)
class Notary:
    """A signature that this policy of the Notary Project accepts."""

    policy: notation.Policy

    @property
    def digest(self) -> str:
        """Changes when somebody else is trusted."""
        return _digest("notary", self.policy.digest)


Demand: TypeAlias = Keys | Identities | Notary


class Unproven(Exception):
    """Nobody who is trusted signed it; the words say what was found instead."""


async def verify(
    registry: Registry, repository: Repository, access: Access, digest: str, demand: Demand, now: datetime
) -> str:
    """Who signed the manifest `digest`, in words. Raises Unproven, and what Registry raises."""
    store = _Store(registry, repository, access, digest)
    match demand:
        case Keys():
            return await _by_key(store, demand)
        case Identities():
            return await _by_identity(store, demand)
        case Notary():
            return await _by_policy(store, demand, now)


@dataclass(frozen=True, slots=True)
class _Store:
    """Where the signatures of one manifest are."""

    registry: Registry
    repository: Repository
    access: Access
    digest: str

    @property
    def tag(self) -> str:
        """The tag of cosign's older layout."""
        return self.digest.replace(":", "-") + ".sig"

    async def simple(self) -> list[Descriptor]:
        """The layers of the older layout; none where there is no such tag."""
        try:
            signatures = await self.registry.manifest(self.repository, self.access, self.tag)
        except NotThere:
            return []
        if isinstance(signatures, Index):
            raise Unproven(f"the tag {self.tag} is an index, which holds no signatures")
        layers = [layer for layer in signatures.layers if layer.media_type == cosign.PAYLOAD]
        if len(layers) > _MAX_SIGNATURES:
            raise Unproven(f"{len(layers)} signatures under the tag {self.tag}; the limit is {_MAX_SIGNATURES}")
        return layers

    async def attached(self, artifact_type: str, media_type: str) -> AsyncIterator[bytes]:
        """What was attached to the manifest, one content each."""
        referring = await self.registry.referrers(self.repository, self.access, self.digest, artifact_type)
        if len(referring) > _MAX_SIGNATURES:
            raise Unproven(f"{len(referring)} signatures refer to it; the limit is {_MAX_SIGNATURES}")
        for one in referring:
            found = await self.registry.manifest(self.repository, self.access, one.digest)
            layers = () if isinstance(found, Index) else found.layers
            for layer in layers[:1]:
                if layer.media_type == media_type:
                    yield await self.content(layer)

    async def content(self, wanted: Descriptor) -> bytes:
        with tempfile.SpooledTemporaryFile(max_size=_MAX_PAYLOAD) as file:
            await self.registry.blob(self.repository, self.access, wanted, file, _MAX_PAYLOAD)
            file.seek(0)
            return file.read()


async def _by_key(store: _Store, demand: Keys) -> str:
    loaded: dict[str, cosign.PublicKey] = {}
    for name, pem in demand.pems.items():
        try:
            loaded[name] = cosign.load_key(pem)
        except cosign.BadKey as problem:
            raise Unproven(f"the key {name} of the Secret cannot be used: {problem}") from problem
    if not loaded:
        raise Unproven("the Secret of spec.verify.secretRef has no public key (a key *.pub)")
    seen = 0
    for layer in await store.simple():
        seen += 1
        signature, payload = layer.annotations.get(cosign.SIGNATURE, ""), await store.content(layer)
        for name, key in loaded.items():
            if signature and cosign.verified(payload, signature, store.digest, key):
                return f"the key {name}"
    async for bundle in store.attached(cosign.BUNDLE, cosign.BUNDLE):
        seen += 1
        for name, key in loaded.items():
            if cosign.verified_bundle(bundle, store.digest, key):
                return f"the key {name}"
    raise _nobody(store, seen, f"is by {' or '.join(sorted(loaded))} and for this digest")


async def _by_identity(store: _Store, demand: Identities) -> str:
    try:
        judge = await asyncio.to_thread(keyless.Judge.of, demand.trusted_root)
    except keyless.BadRoot as problem:
        raise Unproven(f"the Secret of spec.verify.trustedRootSecretRef: {problem}") from problem
    causes: list[str] = []
    async for bundle in store.attached(cosign.BUNDLE, cosign.BUNDLE):
        try:
            return await asyncio.to_thread(judge.bundle, bundle, store.digest, demand.identities)
        except keyless.NotProven as problem:
            causes.append(str(problem))
    for layer in await store.simple():
        said = layer.annotations
        names = (cosign.SIGNATURE, cosign.CERTIFICATE, cosign.LOG_ENTRY)
        signature = keyless.Simple(await store.content(layer), *(said.get(name, "") for name in names))
        try:
            return await asyncio.to_thread(judge.simple, signature, store.digest, demand.identities)
        except keyless.NotProven as problem:
            causes.append(str(problem))
    raise _nobody(store, len(causes), f"is by {' or '.join(map(str, demand.identities))}", causes)


async def _by_policy(store: _Store, demand: Notary, now: datetime) -> str:
    causes: list[str] = []
    async for envelope in store.attached(notation.ARTIFACT_TYPE, notation.JWS):
        try:
            return await asyncio.to_thread(demand.policy.judge, envelope, store.digest, now)
        except notation.NotProven as problem:
            causes.append(str(problem))
    raise _nobody(store, len(causes), f"is accepted by the policy {demand.policy.name[:60]!a}", causes)


def _nobody(store: _Store, seen: int, wanted: str, causes: list[str] | None = None) -> Unproven:
    if not seen:
        return Unproven(f"it is not signed: there is no tag {store.tag}, and nothing of the kind refers to it")
    said = f": {'; '.join(dict.fromkeys(causes[:_SHOWN]))}" if causes else ""
    return Unproven(f"none of its {seen} signatures {wanted}{said}")


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
