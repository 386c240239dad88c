"""Who may refer to what, and in whose name an app acts (DESIGN.md §5)."""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from trimtab.api.helm import AccessFrom
from trimtab.api.kustomize import Kustomization
from trimtab.api.names import SHARED_SOURCES_LABEL
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.controllers.acting import Acting
from trimtab.controllers.allowance import Allowance
from trimtab.controllers.dependencies import needs
from trimtab.controllers.place import Place
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound, StaleGroup, UnknownKind, Unreachable
from trimtab.manifests.refs import Gvk, Key
from trimtab.targets.kubernetes.desired import Desired

REMEMBER_S = 60.0
_ALLOWANCE_FRESH_S = 5.0
_LABELS_FRESH_S = 5.0
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", re.ASCII)
_FAILED = "ReconciliationFailed"
_DENIED = "AccessDenied"
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
    acts with the rights of its kubeconfig. `strict`: apps are confined to their own namespace unless it says otherwise.
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
        strict: bool = False,
    ) -> None:
        self._client = client
        self._clock = clock
        self._namespace = namespace
        self._cross_namespace = cross_namespace
        self._default_account = default_account
        self._applier = applier
        self._strict = strict
        self._accounts: dict[tuple[str, Key], float] = {}
        self._namespaces: dict[str, tuple[float, Mapping[str, Any]]] = {}

    async def client_for(self, ks: Acting, place: Place, *, writing: bool = False) -> Client:
        """The client that acts for `ks` in `place`, whose account was seen there a minute ago, or now for `writing`.

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
        seen = self._accounts.get((place.cluster, key), float("-inf"))
        if writing or self._clock.monotonic() - seen > REMEMBER_S:
            await self._look(ks, place, key)
        return account(place.client, key)

    async def _look(self, ks: Acting, place: Place, key: Key) -> None:
        asked = self._clock.monotonic()
        where = "" if place.home else f" in the cluster at {place.client.server}"
        self._accounts.pop((place.cluster, key), None)
        try:
            await place.client.get(await place.client.discovery.find(_ACCOUNT), key.name, key.namespace)
        except NotFound:
            named = "spec.serviceAccountName names it" if ks.spec.service_account_name else "it is the default here"
            raise Transient(
                _FAILED,
                f"ServiceAccount {key} does not exist{where} ({named}): create it, or change spec.serviceAccountName. "
                "Nothing is applied or deleted without it",
            ) from None
        except (ApiError, StaleGroup, UnknownKind) as failure:
            raise Transient(_FAILED, f"ServiceAccount {key} cannot be looked at{where}: {failure}") from failure
        except Unreachable as failure:
            if place.home:
                raise
            raise Transient(_FAILED, f"ServiceAccount {key} cannot be looked at{where}: {failure}") from failure
        self._accounts[place.cluster, key] = asked

    async def check_source(self, own: str, other: str) -> None:
        """Raise Terminal if an object in the namespace `own` may not refer to a source in `other`."""
        if not await self._may_refer(own, other):
            raise Terminal(
                _DENIED, f"sources of namespace {other} may not be used from namespace {own}: {self._way_out(other)}"
            )

    def check_writing(self, own: str, other: str) -> None:
        """Raise Terminal if an object in the namespace `own` may not write with the credentials of a source in `other`.

        Who may read what a source offers need not be meant to change it.
        """
        if other != own and self._cross_namespace is not CrossNamespace.ALL:
            raise Terminal(
                _DENIED,
                f"the credentials of a source of namespace {other} do not write for namespace {own}: have a Secret "
                "that does in your own, and name it with the annotation trimtab.dev/write-secret",
            )

    async def check_trigger(self, own: str, other: str) -> None:
        """Raise Terminal if a Receiver in the namespace `own` may not have anything in `other` looked at."""
        if not await self._may_refer(own, other):
            raise Terminal(
                _DENIED, f"objects of namespace {other} may not be named from namespace {own}: {self._way_out(other)}"
            )

    async def check_images(self, own: str, other: Key, access_from: AccessFrom | None) -> None:
        """Raise Terminal if an ImagePolicy in the namespace `own` may not choose from the ImageRepository `other`.

        As in Flux its owner says who may, by the labels of namespaces; nothing that is said of sources counts.
        """
        if own == other.namespace:
            return
        if self._cross_namespace is not CrossNamespace.NONE and access_from is not None:
            labels = (await self._look_at(own, _LABELS_FRESH_S)).get("labels") or {}
            for selector in access_from.namespace_selectors:
                if selector.match_labels.items() <= labels.items():
                    return
        way_out = (
            self._way_out(other.namespace)
            if self._cross_namespace is CrossNamespace.NONE
            else "its spec.accessFrom has to select the labels of that namespace"
        )
        raise Terminal(_DENIED, f"ImageRepository {other} may not be used from namespace {own}: {way_out}")

    async def check_dependency(self, own: str, other: Key) -> None:
        """Raise Terminal if an object in the namespace `own` may not depend on `other`."""
        if not await self._may_refer(own, other.namespace):
            words = f"{other} may not be depended on from namespace {own}: {self._way_out(other.namespace)}"
            raise Terminal(_DENIED, words)

    async def check_dependencies(self, ks: Kustomization) -> None:
        """Raise Terminal if `ks` may not know of something that it depends on."""
        own = ks.metadata.namespace
        for node in needs(ks):
            if not await self._may_refer(own, node.key.namespace):
                words = f"{node} may not be depended on from namespace {own}: {self._way_out(node.key.namespace)}"
                raise Terminal(_DENIED, words)

    async def admit(self, ks: Acting, place: Place, items: Iterable[Desired]) -> None:
        """Raise Transient if the namespace of `ks` does not let its apps apply one of `items`."""
        own = ks.metadata.namespace
        annotations = (await self._look_at(own, _ALLOWANCE_FRESH_S)).get("annotations") or {}
        # rights in another cluster are those of the kubeconfig: there a default would name namespaces that mean nothing
        Allowance.of(own, annotations, strict=self._strict and place.home).check(items)

    async def _may_refer(self, own: str, other: str) -> bool:
        if other == own or self._cross_namespace is CrossNamespace.ALL:
            return True
        if self._cross_namespace is CrossNamespace.NONE:
            return False
        if other == self._namespace:
            return True
        return ((await self._look_at(other, REMEMBER_S)).get("labels") or {}).get(SHARED_SOURCES_LABEL) == "true"

    def _way_out(self, other: str) -> str:
        if self._cross_namespace is CrossNamespace.NONE:
            return "this installation allows no references across namespaces (--multi-tenant or --cross-namespace-refs)"
        return f'label the namespace {other} {SHARED_SOURCES_LABEL}: "true", or have it in your own'

    async def _look_at(self, namespace: str, within: float) -> Mapping[str, Any]:
        """The metadata of a namespace, not older than so many seconds; nothing of one that does not exist."""
        known = self._namespaces.get(namespace)
        asked = self._clock.monotonic()
        if known is not None and asked - known[0] < within:
            return known[1]
        try:
            body = await self._client.get(await self._client.discovery.find(_NAMESPACE), namespace)
        except NotFound:
            body = {"metadata": {}}
        self._namespaces[namespace] = (asked, body["metadata"])
        metadata: Mapping[str, Any] = body["metadata"]
        return metadata
