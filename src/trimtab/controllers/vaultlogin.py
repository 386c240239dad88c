"""Service accounts that sign in to a Vault, as Flux has it: the address is the audience, the role `namespace_name`."""

from dataclasses import replace

from yarl import URL

from trimtab.api.names import Reason
from trimtab.base.errors import Transient
from trimtab.controllers.access import account as acting
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound
from trimtab.manifests import codec
from trimtab.manifests.refs import Gvk, Key
from trimtab.manifests.yaml import YamlError, load
from trimtab.remotes.outbound import Outbound
from trimtab.sops.errors import Locked
from trimtab.sops.keyring import Keyring
from trimtab.sops.services import ask, origin
from trimtab.sops.vault import Vault, is_path

_CONFIG_MAP = Gvk("", "v1", "ConfigMap")
_FIELD = "config.yaml"
_LASTS_S = 600


class VaultLogin:
    """Reads which Vaults there are from a ConfigMap of the administrator's, and trades tokens with them."""

    def __init__(self, client: Client, out: Outbound, config: Key) -> None:
        self._client = client
        self._out = out
        self._config = config

    async def joined(self, keyring: Keyring, account: Key) -> Keyring:
        """`keyring` with a Vault that `account` signs in to when a file needs it. Raises Transient (BuildFailed)."""
        paths = await self._paths()
        known: dict[str, str] = {}

        async def token(address: str) -> str:
            if address not in known:
                known[address] = await self._sign_in(address, paths[address], account)
            return known[address]

        digest = codec.digest([keyring.digest, str(account), paths])
        vault = Vault(self._out, frozenset(paths), token)
        return replace(keyring, digest=digest, services={**keyring.services, "hc_vault": vault})

    async def _sign_in(self, address: str, path: str, account: Key) -> str:
        body = {"role": f"{account.namespace}_{account.name}", "jwt": await self._issue(account, address)}
        headers = {"Content-Type": "application/json", "X-Vault-Request": "true"}
        answer = await ask(self._out, URL(f"{address}/v1/{path}", encoded=True), headers, codec.encode(body))
        granted = answer.body.get("auth")
        token = granted.get("client_token") if isinstance(granted, dict) else None
        if answer.status != 200 or not isinstance(token, str) or not token:
            raise Locked(
                f"the Vault at {address} does not let ServiceAccount {account} in at {path} ({answer.status})",
                passing=answer.passing,
            )
        return token

    async def _issue(self, account: Key, audience: str) -> str:
        """A token of the account, for that Vault alone, that the account asks for itself: we have no right to it."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": _LASTS_S},
        }
        path = f"/api/v1/namespaces/{account.namespace}/serviceaccounts/{account.name}/token"
        try:
            answer = codec.decode(await acting(self._client, account).request("POST", path, body=codec.encode(body)))
        except ApiError as failure:
            raise Locked(
                f"ServiceAccount {account} gets no token for it: {failure}; bind it a Role that lets it create "
                "serviceaccounts/token of its own name",
                passing=True,
            ) from failure
        return str(answer.get("status", {}).get("token", ""))

    async def _paths(self) -> dict[str, str]:
        """Where to sign in, by address."""
        resource = await self._client.discovery.find(_CONFIG_MAP)
        where = f"ConfigMap {self._config} of --sops-vault-configmap"
        try:
            body = await self._client.get(resource, self._config.name, self._config.namespace)
        except NotFound:
            raise Transient(Reason.BUILD_FAILED, f"{where} does not exist: create it") from None
        except ApiError as failure:
            raise Transient(Reason.BUILD_FAILED, f"{where} cannot be read: {failure}") from failure
        try:
            return _parsed(str((body.get("data") or {}).get(_FIELD, "")))
        except (ValueError, YamlError) as failure:
            raise Transient(Reason.BUILD_FAILED, f"{where}: {_FIELD}: {failure}", hopeless=True) from failure


def _parsed(text: str) -> dict[str, str]:
    documents = load(text.encode(), _FIELD, dialect="kubernetes")
    value = documents[0].value if documents else None
    instances = value.get("instances") if isinstance(value, dict) else None
    if not isinstance(instances, list) or not all(isinstance(one, dict) for one in instances):
        raise ValueError("it has to hold a list of instances, each with address and loginPath")
    found: dict[str, str] = {}
    for one in instances:
        path = str(one.get("loginPath") or "")
        if not is_path(path):
            raise ValueError("a loginPath is not one, such as auth/kubernetes/login")
        found[origin(str(one.get("address") or "").rstrip("/"))] = path
    return found
