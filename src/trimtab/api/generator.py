"""The kind ArtifactGenerator: artifacts made from parts of others, each moving only when its own content does."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Final

import msgspec

from trimtab.api import gvk
from trimtab.api.meta import ObjectMeta
from trimtab.api.schema import Rule, doc, named
from trimtab.api.source import Artifact
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key

LONGEST_EXCLUDES: Final = 100
MOST_COPIES: Final = 100
_ALIAS: Final = "[a-z0-9]([a-z0-9_-]*[a-z0-9])?"
_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"


class InputKind(StrEnum):
    """Values of `spec.sources[].kind`."""

    BUCKET = "Bucket"
    GIT_REPOSITORY = "GitRepository"
    OCI_REPOSITORY = "OCIRepository"
    HELM_CHART = "HelmChart"
    EXTERNAL_ARTIFACT = "ExternalArtifact"


class Strategy(StrEnum):
    """Values of `spec.artifacts[].copy[].strategy`: what is done with a file that is taken."""

    OVERWRITE = "Overwrite"
    MERGE = "Merge"
    EXTRACT = "Extract"


class CommonMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Labels and annotations for every artifact that is made."""

    labels: Annotated[Mapping[str, str], doc("Labels to set.")] = msgspec.field(default_factory=dict)
    annotations: Annotated[Mapping[str, str], doc("Annotations to set.")] = msgspec.field(default_factory=dict)


class InputRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A source to take files from, and the short name it has in the rules."""

    alias: Annotated[str, doc("Name of the source within this object; each once.", pattern=f"^{_ALIAS}$", maxLength=63)]
    kind: Annotated[str, doc("Kind of the source.", enum=list(InputKind))]
    name: Annotated[str, named("Name of the source.")]
    namespace: Annotated[
        str,
        doc("Namespace of the source; the one of this object when empty.", pattern=f"^{_LABEL}$", maxLength=63),
    ] = ""

    def key_from(self, namespace: str) -> Key:
        """The source's key as seen from an object in `namespace`."""
        return Key(self.namespace or namespace, self.name)


class CopyRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which files are taken from one source, and where they go."""

    from_: Annotated[
        str,
        doc(
            "What to take, as `@alias/path` or `@alias/glob`. With `pathPattern` it may name captures, as `{app}`.",
            pattern=f"^@({_ALIAS})/(.*)$",
            minLength=1,
            maxLength=1024,
        ),
    ] = msgspec.field(name="from")
    to: Annotated[
        str,
        doc(
            "Where to put it, as `@artifact/path`; a slash at the end means into that directory. With `pathPattern` it "
            "may name captures.",
            pattern="^@(artifact)/(.*)$",
            minLength=1,
            maxLength=1024,
        ),
    ]
    exclude: Annotated[
        tuple[str, ...],
        doc(
            "Globs for what is not taken: of paths below the source's root or below the fixed part of `from`; one "
            "without a slash is looked for in names at any depth.",
            maxItems=LONGEST_EXCLUDES,
        ),
    ] = ()
    strategy: Annotated[
        str,
        doc(
            "Whether a file takes the place of one that is there, is merged into it as YAML in the way of Helm's "
            "values, or is an archive (.tar.gz, .tgz) to unpack. `Overwrite` when empty.",
            enum=list(Strategy),
        ),
    ] = ""


class Output(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One artifact to make, or with `pathPattern` one for every directory that is found."""

    name: Annotated[str, named("Name of the ExternalArtifact. With `pathPattern` it may name captures, as `{app}`.")]
    revision: Annotated[
        str,
        doc(
            "The source whose revision the artifact has, as `@alias`; when empty, the digest of what is in it.",
            pattern=f"^@({_ALIAS})$",
            maxLength=64,
        ),
    ] = ""
    origin_revision: Annotated[
        str,
        doc(
            "The source, as `@alias`, whose revision is noted as the artifact's origin.",
            pattern=f"^@({_ALIAS})$",
            maxLength=64,
        ),
    ] = ""
    copy: Annotated[tuple[CopyRule, ...], doc("What goes in, one after the other.", minItems=1, maxItems=MOST_COPIES)]


class ArtifactGeneratorSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which artifacts to make, and from what."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.pathPattern) && size(self.pathPattern) > 0 || self.artifacts.all(a, "
            rf"a.name.matches('^{_LABEL}(\\.{_LABEL})*$'))",
            "artifact names must be valid Kubernetes object names when pathPattern is not set",
        ),
    )

    sources: Annotated[tuple[InputRef, ...], doc("Where files are taken from.", minItems=1, maxItems=1000)]
    artifacts: Annotated[tuple[Output, ...], doc("What is made.", minItems=1, maxItems=1000)]
    common_metadata: Annotated[CommonMetadata | None, doc("Metadata of everything that is made.")] = None
    path_pattern: Annotated[
        str,
        doc(
            "Directories to look for in a source, as `@alias/apps/{app}`: what is in braces is captured, and may be "
            "used in `artifacts`, of which a set is made for every directory.",
            pattern=f"^@({_ALIAS})/(.*)$",
            maxLength=1024,
        ),
    ] = ""


class Product(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One artifact that was made."""

    name: Annotated[str, doc("Name of the ExternalArtifact.")]
    namespace: Annotated[str, doc("Its namespace.")]
    digest: Annotated[str, doc("Digest of the archive.")]
    filename: Annotated[str, doc("Name of the archive's file.")]

    @property
    def key(self) -> Key:
        """Namespace and name of the ExternalArtifact."""
        return Key(self.namespace, self.name)

    @classmethod
    def of(cls, key: Key, artifact: Artifact) -> "Product":
        """The line about `artifact`, published for the ExternalArtifact `key`."""
        filename = artifact.path.rpartition("/")[2]
        return cls(name=key.name, namespace=key.namespace, digest=artifact.digest, filename=filename)


class ArtifactGeneratorStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What was made last, and how it went."""

    observed_generation: Annotated[
        int, doc("Generation of the object that was reconciled last; -1 before the first time.", format="int64")
    ] = -1
    conditions: Annotated[tuple[Condition, ...], doc("How it goes.")] = ()
    inventory: Annotated[tuple[Product, ...], doc("The ExternalArtifacts that exist because of this object.")] = ()
    observed_sources_digest: Annotated[str, doc("Digest of what the sources were at the last success.")] = ""
    last_handled_reconcile_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/requestedAt that was honoured last.")
    ] = ""


class ArtifactGenerator(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Makes ExternalArtifacts from the files of other sources."""

    api_version: str = msgspec.field(default_factory=lambda: gvk.ARTIFACT_GENERATOR.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.ARTIFACT_GENERATOR.kind)
    metadata: ObjectMeta
    spec: ArtifactGeneratorSpec
    status: ArtifactGeneratorStatus = ArtifactGeneratorStatus()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def ready(self) -> Condition | None:
        """The condition Ready, if there is one."""
        return find(self.status.conditions, "Ready")
