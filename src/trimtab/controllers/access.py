"""Who may refer to what, and in whose name an app acts (DESIGN.md §5)."""

from enum import StrEnum

from trimtab.api.kustomize import Kustomization
from trimtab.api.names import SHARED_SOURCES_LABEL
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.manifests.refs import Gvk, Key

_REMEMBER_S = 60.0
_ACCOUNT = Gvk("", "v1", "ServiceAccount")
_NAMESPACE = Gvk("", "v1", "Namespace")


def account(client: Client, key: Key) -> Client:
    """`client`, acting in the name of a ServiceAccount."""
    return client.acting_as(f"system:serviceaccount:{key.namespace}:{key.name}")


class CrossNamespace(StrEnum):
    """Which references across namespaces are followed."""

    ALL = "all"
    PLATFORM = "platform"  # into the install namespace and namespaces that say so
    NONE = "none"


class Access:
    """Decides by what the cluster says, remembered for a minute.

    `applier` is the account for apps that name none, as namespace and name; without one they act as this process does.
    `default_account` is a name in the app's own namespace and comes first.
    """

    def __init__(
        self,
        client: Client,
        clock: Clock,
        *,
        namespace: str,
        cross_namespace: CrossNamespace = CrossNamespace.PLATFORM,
        default_account: str = "",
        applier: Key | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._namespace = namespace
        self._cross_namespace = cross_namespace
        self._default_account = default_account
        self._applier = applier
        self._accounts: dict[Key, tuple[float, Client]] = {}
        self._shared: dict[str, tuple[float, bool]] = {}

    async def client_for(self, ks: Kustomization) -> Client:
        """The client that acts for `ks`. A missing account is an error, never this process's own rights."""
        name = ks.spec.service_account_name or self._default_account
        known_as = Key(ks.metadata.namespace, name) if name else self._applier
        if known_as is None:
            return self._client
        known = self._accounts.get(known_as)
        if known is not None and self._clock.monotonic() - known[0] < _REMEMBER_S:
            return known[1]
        try:
            await self._client.get(await self._client.discovery.find(_ACCOUNT), known_as.name, known_as.namespace)
        except NotFound:
            self._accounts.pop(known_as, None)
            raise Transient(
                "ReconciliationFailed",
                f"ServiceAccount {known_as} does not exist: create it, or change spec.serviceAccountName",
            ) from None
        view = account(self._client, known_as)
        self._accounts[known_as] = (self._clock.monotonic(), view)
        return view

    async def check_source(self, own: str, other: str) -> None:
        """Raise Terminal if an object in the namespace `own` may not refer to a source in `other`."""
        if self._cross_namespace is CrossNamespace.ALL:
            return
        if self._cross_namespace is CrossNamespace.PLATFORM and (
            other == self._namespace or await self._is_shared(other)
        ):
            return
        raise Terminal(
            "AccessDenied",
            f"sources of namespace {other} may not be used from namespace {own}: label that namespace "
            f'{SHARED_SOURCES_LABEL}: "true", or move the source',
        )

    async def _is_shared(self, namespace: str) -> bool:
        known = self._shared.get(namespace)
        if known is not None and self._clock.monotonic() - known[0] < _REMEMBER_S:
            return known[1]
        try:
            body = await self._client.get(await self._client.discovery.find(_NAMESPACE), namespace)
            shared = (body["metadata"].get("labels") or {}).get(SHARED_SOURCES_LABEL) == "true"
        except NotFound:
            shared = False
        self._shared[namespace] = (self._clock.monotonic(), shared)
        return shared
