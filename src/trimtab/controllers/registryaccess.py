"""The way to a registry that an object names, from what else it names: logins, certificates and a proxy."""

from typing import Protocol

from trimtab.api import names
from trimtab.api.meta import LocalRef, ObjectMeta
from trimtab.base.errors import Transient
from trimtab.controllers import ways
from trimtab.controllers.credentials import secret
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.manifests.refs import Gvk
from trimtab.remotes.oci.credentials import Logins, from_secret
from trimtab.remotes.oci.wire import Access

_ACCOUNT = Gvk("", "v1", "ServiceAccount")


class _Spec(Protocol):
    @property
    def secret_ref(self) -> LocalRef | None: ...
    @property
    def service_account_name(self) -> str: ...
    @property
    def cert_secret_ref(self) -> LocalRef | None: ...
    @property
    def proxy_secret_ref(self) -> LocalRef | None: ...


class Reading(Protocol):
    """An object that reads a registry: an OCIRepository, or an ImageRepository."""

    @property
    def metadata(self) -> ObjectMeta: ...
    @property
    def spec(self) -> _Spec: ...


async def of(client: Client, item: Reading, timeout_s: float) -> Access:
    """How `item` reaches its registry. Raises Transient (AuthenticationFailed) and ApiError."""
    namespace, wanted = item.metadata.namespace, item.spec
    return Access(
        logins=await _logins(client, item),
        proxy=await ways.proxy(client, namespace, wanted.proxy_secret_ref),
        timeout_s=timeout_s,
        **await ways.certificates(client, namespace, wanted.cert_secret_ref, "spec.certSecretRef"),
    )


async def _logins(client: Client, item: Reading) -> Logins:
    """Those of the Secret, then those of the account; both, as in Flux."""
    namespace = item.metadata.namespace
    configs: list[bytes] = []
    if (reference := item.spec.secret_ref) is not None:
        configs.append(from_secret(await secret(client, namespace, reference.name, "spec.secretRef")))
    if account := item.spec.service_account_name:
        try:
            body = await client.get(await client.discovery.find(_ACCOUNT), account, namespace)
        except NotFound:
            raise Transient(
                names.Reason.AUTHENTICATION_FAILED,
                f"ServiceAccount {namespace}/{account} does not exist: create it, or change spec.serviceAccountName",
            ) from None
        for pull_secret in body.get("imagePullSecrets") or ():
            if name := pull_secret.get("name"):
                field = f"imagePullSecrets of ServiceAccount {account}"
                configs.append(from_secret(await secret(client, namespace, name, field)))
    return Logins.parse(*configs)
