"""Metadata and references that all our kinds share."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from trimtab.api import names
from trimtab.api.schema import doc, named
from trimtab.manifests.refs import Key


class OwnerReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An object whose deletion takes this one along."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The part of Kubernetes' ObjectMeta we read. managedFields are skipped: they cost more than all the rest."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return Key(self.namespace, self.name)

    @property
    def deleted(self) -> bool:
        """Whether deletion was asked for and waits for finalizers."""
        return self.deletion_timestamp is not None

    @property
    def requested_at(self) -> str:
        """The last request to reconcile now, or nothing."""
        return self.annotations.get(names.REQUESTED_AT, "")

    def ours(self) -> Mapping[str, str]:
        """The annotations under our own prefix."""
        return {key: value for key, value in self.annotations.items() if key.startswith(names.OURS)}

    def unknown_annotations(self) -> tuple[str, ...]:
        """Annotations under our prefix that this release has no meaning for: a newer one wrote them."""
        known = frozenset(names.Annotation)
        return tuple(sorted(key for key in self.ours() if key not in known))


class LocalRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Names an object in the same namespace."""

    name: Annotated[str, named("Name of the object.")]


class Kinded(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Names an object of any kind."""

    api_version: Annotated[str, doc("API version of the object, where the kind alone leaves a choice.")] = ""
    kind: Annotated[str, doc("Kind of the object.", minLength=1)]
    name: Annotated[str, named("Name of the object.")]
    namespace: Annotated[str, doc("Namespace of the object; the one of this object when empty.", maxLength=63)] = ""
