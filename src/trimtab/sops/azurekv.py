"""Azure Key Vault: the data key behind a key of a vault, asked for with the secret of a client.

A file says itself which vault its key is in. A token is shown only to names of Microsoft's vaults, and only to those of
the cloud that the owner of the credentials signs in to: clouds of other countries are other operators'. The identity of
the machine is never used.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from yarl import URL

from trimtab.base.clock import Clock
from trimtab.manifests.yaml import YamlError, load
from trimtab.remotes.outbound import Outbound
from trimtab.sops.bearer import FORM, Bearer, To, as_written, code
from trimtab.sops.errors import BadKeys, Locked
from trimtab.sops.metadata import Wrapped
from trimtab.sops.services import Answer, ask

CREDENTIALS: Final = "sops.azure-kv"
API: Final = "7.4"
PUBLIC: Final = "login.microsoftonline.com"
_CLOUDS: Mapping[str, str] = {
    PUBLIC: "vault.azure.net",
    "login.microsoftonline.us": "vault.usgovcloudapi.net",
    "login.chinacloudapi.cn": "vault.azure.cn",
    "login.partner.microsoftonline.cn": "vault.azure.cn",
}
"""Where one signs in, and the domain of the vaults there."""
_VAULT = re.compile(r"https://([a-z0-9][a-z0-9-]{0,62})\.([a-z.]{1,64})/?", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9-]{1,127}", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9]{1,64}", re.ASCII)
_ENC = re.compile(r"[A-Za-z0-9_-]{1,4096}", re.ASCII)
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,254}", re.ASCII)
_CLIENT = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_SECRET = re.compile(r"[\x21-\x7e]{1,4096}", re.ASCII)
_AS_FLUX: Final = ("tenantId", "clientId", "clientSecret")
_AS_AZ: Final = ("tenant", "appId", "password")


class _Account(NamedTuple):
    """A client of a tenant; `authority` is the host where it signs in."""

    authority: str
    tenant: str
    client: str
    secret: str


@dataclass(frozen=True, slots=True)
class AzureKeyVault:
    """Asks the vaults under `domain`."""

    out: Outbound
    bearer: Bearer
    domain: str
    to: To = as_written

    @classmethod
    def of(
        cls, out: Outbound, clock: Clock, entries: Mapping[str, bytes], to: To = as_written
    ) -> "AzureKeyVault | None":
        """What a Secret has for it; None if there are no credentials. Raises BadKeys."""
        if CREDENTIALS not in entries:
            return None
        account = _account(entries[CREDENTIALS])
        domain = _CLOUDS[account.authority]

        async def sign_in() -> Answer:
            url = URL(f"https://{account.authority}/{account.tenant}/oauth2/v2.0/token", encoded=True)
            form = {
                "client_id": account.client,
                "client_secret": account.secret,
                "grant_type": "client_credentials",
                "scope": f"https://{domain}/.default",
            }
            return await ask(out, to(url), FORM, urlencode(form).encode())

        return cls(out, Bearer(clock, account.authority, sign_in), domain, to)

    async def unlock(self, wrapped: Wrapped) -> bytes:
        """The data key. Raises Locked."""
        vault = self._checked(wrapped.details.get("vault_url"))
        version = wrapped.details.get("version")
        if not _KEY.fullmatch(wrapped.name) or not isinstance(version, str) or not _VERSION.fullmatch(version):
            raise Locked("its name and version are not those of a key")
        if not _ENC.fullmatch(wrapped.enc):
            raise Locked("what is locked with it is not base64url")
        url = URL(f"{vault}/keys/{wrapped.name}/{version}/decrypt?api-version={API}", encoded=True)
        body = msgspec.json.encode({"alg": "RSA-OAEP-256", "value": wrapped.enc})
        headers = await self.bearer.headers()
        answer = await ask(self.out, self.to(url), headers, body)
        if answer.status != 200:
            raise Locked(f"{vault} answers {answer.status} {_said(answer.body)}".rstrip(), passing=answer.passing)
        value = answer.body.get("value")
        if not isinstance(value, str) or not _ENC.fullmatch(value):
            raise Locked(f"{vault} answers with something that is no key")
        try:
            return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
        except ValueError:
            raise Locked(f"{vault} answers with something that is no key") from None

    def _checked(self, written: Any) -> str:
        """The address of a vault, without a slash at its end. Raises Locked."""
        match = _VAULT.fullmatch(written.lower()) if isinstance(written, str) and written.isascii() else None
        if match is None or match[2] != self.domain:
            raise Locked(
                f"its vault_url is not https://NAME.{self.domain}, and no other server is shown a token; for the cloud "
                f"of another country authorityHost in {CREDENTIALS} has to name where one signs in there"
            )
        return f"https://{match[1]}.{self.domain}"


def _account(data: bytes) -> _Account:
    try:
        documents = load(data, CREDENTIALS, dialect="kubernetes")
    except YamlError:
        documents = []
    written = documents[0].value if len(documents) == 1 else None
    if not isinstance(written, dict):
        raise BadKeys(f"{CREDENTIALS}: it has to be YAML or JSON in UTF-8 with {', '.join(_AS_FLUX)}")
    names = _AS_AZ if written.get("password") and not written.get("clientSecret") else _AS_FLUX
    if not written.get(names[2]):
        raise BadKeys(f"{CREDENTIALS}: {_lacking(written)}")
    tenant, client, secret = found = [written.get(name) for name in names]
    for name, text, pattern in zip(names, found, (_TENANT, _CLIENT, _SECRET), strict=True):
        if not isinstance(text, str) or not pattern.fullmatch(text):
            raise BadKeys(f"{CREDENTIALS}: {name} is missing, is not text, or has characters that cannot be sent")
    return _Account(_authority(written.get("authorityHost")), str(tenant), str(client), str(secret))


def _lacking(written: Mapping[str, Any]) -> str:
    """What to say of credentials without a secret."""
    if written.get("clientCertificate"):
        return "clientCertificate is not served by this version: give the client a secret (clientSecret)"
    if written.get("clientId") and not written.get("tenantId"):
        return f"a clientId alone is a managed identity, which is not served: it needs {', '.join(_AS_FLUX)}"
    return f"it needs {', '.join(_AS_FLUX)}, or {', '.join(_AS_AZ)} as az prints them"


def _authority(written: Any) -> str:
    if not written:
        return PUBLIC
    match = re.fullmatch(r"https://([a-z.]{1,64})/?", written) if isinstance(written, str) else None
    if match is None or match[1] not in _CLOUDS:
        raise BadKeys(f"{CREDENTIALS}: authorityHost has to be https:// and one of {', '.join(_CLOUDS)}")
    return match[1]


def _said(body: Mapping[str, Any]) -> str:
    """The codes of an error: the general one, and the one inside it."""
    error = body.get("error")
    if not isinstance(error, dict):
        return ""
    inner = error.get("innererror")
    found = (code(error.get("code")), code(inner.get("code")) if isinstance(inner, dict) else "")
    return " ".join(filter(None, found))
