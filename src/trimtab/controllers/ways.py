"""The way to a server that a source names, from the Secrets it names: certificates and a proxy."""

from collections.abc import Mapping
from typing import TypedDict

from yarl import URL

from trimtab.api import names
from trimtab.api.meta import LocalRef
from trimtab.base.errors import Transient
from trimtab.controllers.credentials import secret
from trimtab.kube.client import Client
from trimtab.remotes.proxy import from_secret


class Certificates(TypedDict):
    """What a Way trusts and shows, in PEM."""

    ca: bytes
    certificate: bytes
    key: bytes


async def certificates(client: Client, namespace: str, reference: LocalRef | None, field: str) -> Certificates:
    """The certificates of the Secret that `field` of a source names. Raises Transient (AuthenticationFailed)."""
    data: Mapping[str, bytes] = {}
    if reference is not None:
        data = await secret(client, namespace, reference.name, field)
        if not {"ca.crt", "tls.crt", "tls.key"} & data.keys():
            raise Transient(
                names.Reason.AUTHENTICATION_FAILED,
                f"Secret {namespace}/{reference.name} of {field} has neither ca.crt nor tls.crt and tls.key",
            )
    return Certificates(ca=data.get("ca.crt", b""), certificate=data.get("tls.crt", b""), key=data.get("tls.key", b""))


async def proxy(client: Client, namespace: str, reference: LocalRef | None) -> URL | None:
    """The proxy of the Secret that `spec.proxySecretRef` names. Raises Transient (AuthenticationFailed)."""
    if reference is None:
        return None
    data = await secret(client, namespace, reference.name, "spec.proxySecretRef")
    return from_secret(data, f"Secret {namespace}/{reference.name} of spec.proxySecretRef")
