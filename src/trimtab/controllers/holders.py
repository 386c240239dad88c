"""ConfigMaps and Secrets that apps read by name, and at which version each was read.

Whoever watches such objects can tell by that whether a change is news, and to whom. As in Flux it is this process's own
account that reads; a name is all that an object says, and it is read by name, in the app's own namespace alone.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.manifests.refs import Gvk, Key

CONFIG_MAP = Gvk("", "v1", "ConfigMap")
SECRET = Gvk("", "v1", "Secret")
ABSENT = ""
"""The version of what is not there."""


class Holder(NamedTuple):
    """A ConfigMap or a Secret that is read."""

    kind: str
    key: Key

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class _Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    resource_version: str = ABSENT


class _ConfigMap(msgspec.Struct, frozen=True, kw_only=True):
    metadata: _Metadata
    data: Mapping[str, str] | None = None


class _Secret(msgspec.Struct, frozen=True, kw_only=True):
    metadata: _Metadata
    data: Mapping[str, bytes] | None = None


class Holders:
    """Reads them for the apps of one kind."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._expected: dict[Key, frozenset[Holder]] = {}
        self._versions: dict[Holder, dict[Key, str]] = {}

    async def read(self, app: Key, holder: Holder) -> Mapping[str, str] | Mapping[str, bytes] | None:
        """The entries of `holder`, which `app` reads; None if it does not exist. Raises what the client raises."""
        secret = holder.kind == SECRET.kind
        resource = await self._client.discovery.find(SECRET if secret else CONFIG_MAP)
        shape: type[_Secret | _ConfigMap] = _Secret if secret else _ConfigMap
        try:
            read = await self._client.get(resource, holder.key.name, holder.key.namespace, type=shape)
        except NotFound:
            self._note(app, holder, ABSENT)
            return None
        self._note(app, holder, read.metadata.resource_version)
        return read.data or {}

    def expect(self, app: Key, holders: frozenset[Holder]) -> None:
        """`app` reads `holders` from now on, and no others."""
        for holder in self._expected.pop(app, frozenset()) - holders:
            versions = self._versions.get(holder, {})
            versions.pop(app, None)
            if not versions:
                self._versions.pop(holder, None)
        if holders:
            self._expected[app] = holders

    def stirred(self, holder: Holder, version: str) -> list[Key]:
        """The apps to whom `version` of `holder` is news. One that has not read it yet will read it anyway."""
        return [app for app, seen in self._versions.get(holder, {}).items() if seen != version]

    def forget(self, app: Key) -> None:
        """`app` is gone."""
        self.expect(app, frozenset())

    def _note(self, app: Key, holder: Holder, version: str) -> None:
        self._versions.setdefault(holder, {})[app] = version
