"""The keys that an app may decrypt with: its own Secret, else the one for the whole installation, and never more."""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from trimtab.api.kustomize import Decryption, Kustomization
from trimtab.api.names import Reason
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.controllers.vaultlogin import VaultLogin
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound
from trimtab.manifests.refs import Gvk, Key
from trimtab.remotes.outbound import Outbound
from trimtab.sops.awskms import AwsKms
from trimtab.sops.azurekv import AzureKeyVault
from trimtab.sops.errors import BadKeys
from trimtab.sops.gcpkms import GcpKms
from trimtab.sops.keyring import AGE_SUFFIX, Keyring, KeyService, digest_of
from trimtab.sops.vault import Vault

_SECRET = Gvk("", "v1", "Secret")
_PROVIDER = "sops"
_MOST_REMEMBERED = 100


@dataclass(frozen=True, slots=True)
class Decrypting:
    """Reads keys, anew in every pass: one Secret is one request, and a changed one counts at the next pass.

    `shared` is a Secret with age keys for the apps that name none; `vaults` signs service accounts in to the Vaults
    that the administrator has listed.
    """

    client: Client
    out: Outbound
    clock: Clock
    shared: Key | None = None
    vaults: VaultLogin | None = None
    _known: dict[str, Keyring] = field(default_factory=dict, repr=False)

    async def keys(self, ks: Kustomization) -> Keyring | None:
        """The keys of `ks`; None if nothing of it is to be decrypted. Raises Transient and Terminal (BuildFailed)."""
        spec = ks.spec.decryption
        if spec is None:
            return None
        _check(spec, signs_in=self.vaults is not None)
        entries: Mapping[str, bytes] = {}
        where = "spec.decryption"
        if spec.secret_ref is not None:
            key, where = Key(ks.metadata.namespace, spec.secret_ref.name), "spec.decryption.secretRef"
            entries = await self._read(key, where)
        elif self.shared is not None:
            key, where = self.shared, "--sops-age-secret"
            entries = {name: data for name, data in (await self._read(key, where)).items() if name.endswith(AGE_SUFFIX)}
        else:
            key = ks.key
        try:
            keyring = await self._keyring(entries)
        except BadKeys as failure:
            raise Transient(Reason.BUILD_FAILED, f"Secret {key} of {where}: {failure}", hopeless=True) from None
        if self.vaults is not None and spec.service_account_name and "hc_vault" not in keyring.services:
            return await self.vaults.joined(keyring, Key(ks.metadata.namespace, spec.service_account_name))
        return keyring

    async def _keyring(self, entries: Mapping[str, bytes]) -> Keyring:
        """The keys in `entries`; to read those of OpenPGP takes long, so the last ones are remembered."""
        services, digest = self._services(entries), digest_of(entries)
        known = self._known.get(digest)
        if known is None:
            while len(self._known) >= _MOST_REMEMBERED:
                self._known.pop(next(iter(self._known)))
            known = self._known[digest] = await asyncio.to_thread(Keyring.of, entries)
        return replace(known, services=services)

    def _services(self, entries: Mapping[str, bytes]) -> Mapping[str, KeyService]:
        found: dict[str, KeyService | None] = {
            "hc_vault": Vault.of(self.out, entries),
            "kms": AwsKms.of(self.out, self.clock, entries),
            "gcp_kms": GcpKms.of(self.out, self.clock, entries),
            "azure_kv": AzureKeyVault.of(self.out, self.clock, entries),
        }
        return {kind: service for kind, service in found.items() if service is not None}

    async def _read(self, key: Key, where: str) -> Mapping[str, bytes]:
        try:
            body = await self.client.get(await self.client.discovery.find(_SECRET), key.name, key.namespace)
        except NotFound:
            raise Transient(
                Reason.BUILD_FAILED, f"Secret {key} of {where} does not exist: create it with the keys", hopeless=True
            ) from None
        except ApiError as failure:
            raise Transient(Reason.BUILD_FAILED, f"Secret {key} of {where} cannot be read: {failure}") from failure
        try:
            data = body.get("data") or {}
            return {name: base64.b64decode(value, validate=True) for name, value in data.items()}
        except binascii.Error:
            raise Transient(Reason.BUILD_FAILED, f"Secret {key} of {where}: an entry is not base64") from None


def _check(spec: Decryption, *, signs_in: bool) -> None:
    found = []
    if spec.provider != _PROVIDER:
        found.append(f"spec.decryption.provider {spec.provider}")
    if spec.service_account_name and not signs_in:
        found.append("spec.decryption.serviceAccountName (the identity of a cloud; for Vault: --sops-vault-configmap)")
    if found:
        raise Terminal(
            Reason.FEATURE_GATE_DISABLED,
            f"this version of Trimtab does not serve {' and '.join(found)} of a Kustomization: nothing is applied "
            "without it. Remove it, or suspend the object",
        )
