"""The Secrets that objects name, with what lets in where they go."""

import base64

from trimtab.api import names
from trimtab.base.errors import Transient
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.manifests.refs import Gvk

_SECRET = Gvk("", "v1", "Secret")


async def secret(client: Client, namespace: str, name: str, field_: str) -> dict[str, bytes]:
    """The decoded data of a Secret that `field_` of an object names. Raises Transient (AuthenticationFailed)."""
    resource = await client.discovery.find(_SECRET)
    try:
        body = await client.get(resource, name, namespace)
    except NotFound:
        raise Transient(
            names.Reason.AUTHENTICATION_FAILED,
            f"Secret {namespace}/{name} does not exist: create it, or change {field_}",
        ) from None
    return {key: base64.b64decode(value) for key, value in (body.get("data") or {}).items()}
