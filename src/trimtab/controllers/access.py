"""Who may refer to what, and in whose name an app acts (DESIGN.md §5)."""

import re
from enum import StrEnum

from trimtab.api.kustomize import Kustomization
from trimtab.api.names import SHARED_SOURCES_LABEL
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.controllers.place import Place
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound, Unreachable
from trimtab.manifests.refs import Gvk, Key

REMEMBER_S = 60.0
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", re.ASCII)
_FAILED = "ReconciliationFailed"
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
    `default_account` is a name in the app's own namespace and comes first. In another cluster an app that has neither
    acts with the rights of its kubeconfig.
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
        self._accounts: dict[tuple[str, Key], float] = {}
        self._shared: dict[str, tuple[float, bool]] = {}

    async def client_for(self, ks: Kustomization, place: Place, *, within: float = REMEMBER_S) -> Client:
        """The client that acts for `ks` in `place`, whose account was seen there `within` so many seconds.

        The server takes any name for impersonation, so it is we who look. Raises Transient for an account that is
        missing or cannot be looked at, Terminal for a name that none can have; never this process's own rights.
        """
        name = ks.spec.service_account_name or self._default_account
        key = Key(ks.metadata.namespace, name) if name else self._applier if place.home else None
        if key is None:
            return place.client
        if not _NAME.fullmatch(key.name):
            raise Terminal(
                _FAILED, f"{key.name!r} cannot be the name of a ServiceAccount: change spec.serviceAccountName"
            )
        known = self._accounts.get((place.cluster, key))
        if known is None or self._clock.monotonic() - known > within:
            await self._look(ks, place, key)
        return account(place.client, key)

    async def _look(self, ks: Kustomization, place: Place, key: Key) -> None:
        asked = self._clock.monotonic()
        where = "" if place.home else f" in the cluster at {place.client.server}"
        self._accounts.pop((place.cluster, key), None)
        try:
            await place.client.get(await place.client.discovery.find(_ACCOUNT), key.name, key.namespace)
        except NotFound:
            named = "spec.serviceAccountName" if ks.spec.service_account_name else "the controller's default"
            raise Transient(
                _FAILED,
                f"ServiceAccount {key} does not exist{where}: create it, or change spec.serviceAccountName ({named} "
                "names it). Nothing is applied or deleted without it",
            ) from None
        except ApiError as failure:
            raise Transient(_FAILED, f"ServiceAccount {key} cannot be looked at{where}: {failure}") from failure
        except Unreachable as failure:
            if place.home:
                raise
            raise Transient(_FAILED, f"ServiceAccount {key} cannot be looked at{where}: {failure}") from failure
        self._accounts[place.cluster, key] = asked

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
        if known is not None and self._clock.monotonic() - known[0] < REMEMBER_S:
            return known[1]
        try:
            body = await self._client.get(await self._client.discovery.find(_NAMESPACE), namespace)
            shared = (body["metadata"].get("labels") or {}).get(SHARED_SOURCES_LABEL) == "true"
        except NotFound:
            shared = False
        self._shared[namespace] = (self._clock.monotonic(), shared)
        return shared
