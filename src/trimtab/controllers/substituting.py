"""The variables of an app, read where its `spec.postBuild` says: once per pass, and in the app's own namespace alone.

As in Flux it is this process's own account that reads; a name is all that an object says, and it is read by name. What
was read at which version is remembered, so that whoever watches such objects can tell whether a change is news.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from trimtab.api.kustomize import Kustomization, SubstituteRef
from trimtab.api.names import Reason
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound
from trimtab.manifests.refs import Gvk, Key
from trimtab.render.variables import Found, Variables, collected

CONFIG_MAP = Gvk("", "v1", "ConfigMap")
SECRET = Gvk("", "v1", "Secret")
ABSENT = ""
"""The version of what is not there."""


class Holder(NamedTuple):
    """A ConfigMap or a Secret whose entries are variables."""

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


class Substituting:
    """Reads variables, and remembers for whom. `strict`: a variable that is not set is an error."""

    def __init__(self, client: Client, *, strict: bool = True) -> None:
        self._client = client
        self._strict = strict
        self._read: dict[Key, frozenset[Holder]] = {}
        self._versions: dict[Holder, dict[Key, str]] = {}

    async def variables(self, ks: Kustomization) -> Variables:
        """What the expressions in the objects of `ks` are filled with.

        Raises Transient (BuildFailed) for a source that is missing or cannot be read, Terminal for names that no
        variable can have.
        """
        post_build = ks.spec.post_build
        refs = post_build.substitute_from if post_build is not None else ()
        self._expect(ks.key, frozenset(_holder(ks, ref) for ref in refs))
        found = [one for ref in refs if (one := await self._look(ks, ref)) is not None]
        return collected(post_build, found, strict=self._strict)

    def stirred(self, holder: Holder, version: str) -> list[Key]:
        """The apps to whom `version` of `holder` is news. One that has not read it yet will read it anyway."""
        return [key for key, seen in self._versions.get(holder, {}).items() if seen != version]

    def forget(self, key: Key) -> None:
        """The app `key` is gone."""
        self._expect(key, frozenset())

    def _expect(self, key: Key, holders: frozenset[Holder]) -> None:
        for holder in self._read.pop(key, frozenset()) - holders:
            versions = self._versions.get(holder, {})
            versions.pop(key, None)
            if not versions:
                self._versions.pop(holder, None)
        if holders:
            self._read[key] = holders

    async def _look(self, ks: Kustomization, ref: SubstituteRef) -> Found | None:
        holder = _holder(ks, ref)
        named = f"{holder}, which spec.postBuild.substituteFrom names,"
        secret = ref.kind == SECRET.kind
        if not secret and ref.kind != CONFIG_MAP.kind:
            raise Terminal(Reason.BUILD_FAILED, f"{named} is neither a ConfigMap nor a Secret")
        resource = await self._client.discovery.find(SECRET if secret else CONFIG_MAP)
        shape: type[_Secret | _ConfigMap] = _Secret if secret else _ConfigMap
        try:
            read = await self._client.get(resource, ref.name, ks.metadata.namespace, type=shape)
        except NotFound:
            self._note(ks.key, holder, ABSENT)
            if ref.optional:
                return None
            raise Transient(
                Reason.BUILD_FAILED, f"{named} does not exist: create it, or say `optional: true`"
            ) from None
        except ApiError as failure:
            raise Transient(Reason.BUILD_FAILED, f"{named} cannot be read: {failure}") from failure
        self._note(ks.key, holder, read.metadata.resource_version)
        return Found(str(holder), read.data or {}, confidential=secret)

    def _note(self, key: Key, holder: Holder, version: str) -> None:
        self._versions.setdefault(holder, {})[key] = version


def lasting(ks: Kustomization, failure: TrimtabError, *, elsewhere: bool = False) -> TrimtabError:
    """`failure`, which must not be final where what caused it may change without anybody telling us.

    `elsewhere`: some of what was built is from other repositories.
    """
    post_build = ks.spec.post_build
    unseen = elsewhere or (post_build is not None and bool(post_build.substitute_from))
    if isinstance(failure, Terminal) and unseen:
        return Transient(failure.reason, failure.message, hopeless=True)
    return failure


def _holder(ks: Kustomization, ref: SubstituteRef) -> Holder:
    return Holder(ref.kind, Key(ks.metadata.namespace, ref.name))
