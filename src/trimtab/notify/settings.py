"""The settings of a Provider, from its spec and the Secrets it names, all of its own namespace. Does I/O."""

import base64
import binascii
from collections.abc import Mapping

import msgspec

from trimtab.api.meta import LocalRef
from trimtab.api.notification import Provider
from trimtab.base.errors import Transient, TrimtabError
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound, Unreachable
from trimtab.manifests.refs import Gvk
from trimtab.manifests.yaml import load
from trimtab.notify.provider import Misconfigured, Settings
from trimtab.remotes import proxy as proxies

_SECRET = Gvk("", "v1", "Secret")
_MOST_HEADERS = 32
_LONGEST = 8192


async def read(client: Client, provider: Provider) -> Settings:
    """What is written in `provider` and its Secrets, read now. Raises Misconfigured and Transient."""
    spec, namespace = provider.spec, provider.metadata.namespace
    if spec.service_account_name:
        raise Misconfigured(
            "spec.serviceAccountName asks for the identity of a cloud, which this version does not serve: "
            "name a Secret in spec.secretRef"
        )
    secret = await _secret(client, namespace, spec.secret_ref, "spec.secretRef")
    certificates = await _secret(client, namespace, spec.cert_secret_ref, "spec.certSecretRef")
    if spec.cert_secret_ref is not None and not {"ca.crt", "tls.crt", "tls.key", "caFile"} & certificates.keys():
        raise Misconfigured(
            f"Secret {namespace}/{spec.cert_secret_ref.name} of spec.certSecretRef has neither ca.crt nor tls.crt and "
            "tls.key"
        )
    proxy = ""
    if spec.proxy_secret_ref is not None:
        data = await _secret(client, namespace, spec.proxy_secret_ref, "spec.proxySecretRef")
        proxy = str(
            proxies.from_secret(data, f"Secret {namespace}/{spec.proxy_secret_ref.name} of spec.proxySecretRef")
        )
    elif "proxy" in secret or spec.proxy:
        raise Misconfigured(
            "a proxy is named by spec.proxySecretRef: spec.proxy and `proxy` in the Secret have no meaning"
        )
    return _composed(provider, secret, certificates, proxy)


def _composed(
    provider: Provider, secret: Mapping[str, bytes], certificates: Mapping[str, bytes], proxy: str
) -> Settings:
    spec = provider.spec
    try:
        timeout_s = spec.timeout_s
    except ValueError as failure:
        raise Misconfigured(f"spec.timeout: {failure}") from failure
    return Settings(
        type=spec.type,
        namespace=provider.metadata.namespace,
        name=provider.metadata.name,
        uid=provider.metadata.uid,
        address=_text(secret, "address") or spec.address,
        channel=spec.channel,
        username=_text(secret, "username") or spec.username,
        token=_text(secret, "token"),
        password=_text(secret, "password"),
        headers=_headers(secret),
        ca=certificates.get("ca.crt", b"") or certificates.get("caFile", b""),
        certificate=certificates.get("tls.crt", b""),
        key=certificates.get("tls.key", b""),
        proxy=proxy,
        timeout_s=timeout_s,
        commit_status_expr=spec.commit_status_expr,
        secret=secret,
    )


async def _secret(client: Client, namespace: str, reference: LocalRef | None, field: str) -> dict[str, bytes]:
    if reference is None:
        return {}
    try:
        body = await client.get(await client.discovery.find(_SECRET), reference.name, namespace)
    except NotFound:
        raise Misconfigured(f"Secret {namespace}/{reference.name} of {field} does not exist: create it") from None
    except (ApiError, Unreachable) as failure:
        raise Transient("ReadFailed", f"Secret {namespace}/{reference.name} of {field}: {failure}") from failure
    try:
        return {key: base64.b64decode(value) for key, value in (body.get("data") or {}).items()}
    except (binascii.Error, TypeError, ValueError):
        raise Misconfigured(f"Secret {namespace}/{reference.name} of {field} cannot be read") from None


def _text(secret: Mapping[str, bytes], name: str) -> str:
    try:
        text = secret.get(name, b"").decode("utf-8").strip()
    except UnicodeDecodeError:
        raise Misconfigured(f"`{name}` in the Secret of spec.secretRef is not text") from None
    if len(text) > _LONGEST or (any(char in text for char in "\r\n\0") and name != "token"):
        raise Misconfigured(f"`{name}` in the Secret of spec.secretRef is too long, or has line breaks")
    return text


def _headers(secret: Mapping[str, bytes]) -> dict[str, str]:
    """The headers of the Secret, a mapping in YAML as in Flux."""
    if not (data := secret.get("headers", b"")).strip():
        return {}
    wrong = "`headers` in the Secret of spec.secretRef is not a mapping of texts to texts in YAML"
    try:
        documents = load(data, "headers")
        headers = msgspec.convert(documents[0].value if documents else {}, dict[str, str])
    except (TrimtabError, msgspec.ValidationError):
        raise Misconfigured(wrong) from None
    if len(headers) > _MOST_HEADERS or any(len(name) + len(value) > _LONGEST for name, value in headers.items()):
        raise Misconfigured(f"`headers` in the Secret of spec.secretRef: {_MOST_HEADERS} at most, none too long")
    return headers
