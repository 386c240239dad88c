"""The kind ExternalArtifact: an artifact that somebody else than the controllers of sources publishes."""

from typing import Annotated

import msgspec

from trimtab.api import gvk
from trimtab.api.meta import Kinded, ObjectMeta
from trimtab.api.schema import doc
from trimtab.api.source import Artifact
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key


class ExternalArtifactSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Who the producer is. Nothing is decided by it."""

    source_ref: Annotated[Kinded | None, doc("The object that the artifact is made for.")] = None

    @property
    def suspend(self) -> bool:
        """Never: whoever writes the status decides when."""
        return False


class ExternalArtifactStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What the producer published last, and how it went. Written by the producer alone."""

    conditions: Annotated[tuple[Condition, ...], doc("How it goes.")] = ()
    artifact: Annotated[Artifact | None, doc("What was published last.")] = None


class ExternalArtifact(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An artifact of another producer, for those that take sources."""

    api_version: str = msgspec.field(default_factory=lambda: gvk.EXTERNAL_ARTIFACT.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.EXTERNAL_ARTIFACT.kind)
    metadata: ObjectMeta
    spec: ExternalArtifactSpec = ExternalArtifactSpec()
    status: ExternalArtifactStatus = ExternalArtifactStatus()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def ready(self) -> Condition | None:
        """The condition Ready, if there is one."""
        return find(self.status.conditions, "Ready")
