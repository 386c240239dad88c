"""How the server of a HelmRepository is reached, from the Secrets that the object names."""

from collections.abc import Mapping

import msgspec

from trimtab.api.helm import HelmRepository
from trimtab.base.errors import Transient
from trimtab.controllers import ways
from trimtab.controllers.credentials import secret
from trimtab.kube.client import Client
from trimtab.remotes.oci.reference import Repository
from trimtab.sources import helm, oci

_CONFIG = ".dockerconfigjson"


async def of_web_server(client: Client, item: HelmRepository) -> helm.Access:
    """For `type: default`. Raises Transient (AuthenticationFailed)."""
    username, password = "", ""
    if item.spec.secret_ref is not None:
        username, password = _pair(item, await _credentials(client, item))
    return helm.Access(
        username=username,
        password=password,
        pass_credentials=item.spec.pass_credentials,
        timeout_s=item.spec.timeout_s,
        **await _certificates(client, item),
    )


async def of_registry(client: Client, item: HelmRepository, repository: Repository) -> oci.Access:
    """For `type: oci`: the Secret may be one for images, or hold a name and a password for this one registry."""
    logins = oci.Logins()
    if item.spec.secret_ref is not None:
        data = await _credentials(client, item)
        config = data.get(_CONFIG)
        if config is None:
            username, password = _pair(item, data)
            entry = {"username": username, "password": password}
            config = msgspec.json.encode({"auths": {repository.origin.raw_authority: entry}})
        logins = oci.Logins.parse(config)
    return oci.Access(logins=logins, timeout_s=item.spec.timeout_s, **await _certificates(client, item))


async def _credentials(client: Client, item: HelmRepository) -> Mapping[str, bytes]:
    assert item.spec.secret_ref is not None  # noqa: S101 - the callers have looked
    return await secret(client, item.metadata.namespace, item.spec.secret_ref.name, "spec.secretRef")


async def _certificates(client: Client, item: HelmRepository) -> ways.Certificates:
    return await ways.certificates(client, item.metadata.namespace, item.spec.cert_secret_ref, "spec.certSecretRef")


def _pair(item: HelmRepository, data: Mapping[str, bytes]) -> tuple[str, str]:
    assert item.spec.secret_ref is not None  # noqa: S101 - the callers have looked
    name = f"Secret {item.metadata.namespace}/{item.spec.secret_ref.name} of spec.secretRef"
    if "username" not in data or "password" not in data:
        way_out = "; certificates belong into a Secret of spec.certSecretRef" if "caFile" in data else ""
        raise Transient("AuthenticationFailed", f"{name} has not both username and password{way_out}")
    try:
        return data["username"].decode(), data["password"].decode()
    except UnicodeDecodeError:
        raise Transient("AuthenticationFailed", f"{name}: username and password have to be UTF-8") from None
