"""The kind Kustomization: a directory of a source, kept equal to what the cluster runs."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from trimtab.api import gvk
from trimtab.api.kustomizestatus import KustomizationStatus
from trimtab.api.meta import Kinded, LocalRef, ObjectMeta
from trimtab.api.schema import Rule, doc, duration, named
from trimtab.base.durations import parse_duration
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key

LEAST_TIMEOUT_S = 30.0
LABEL_VALUE_LIMIT = 63
"""Characters of a label's value: the name of a Kustomization is a label on everything it applies."""


class SourceKind(StrEnum):
    """Values of `spec.sourceRef.kind`."""

    OCI_REPOSITORY = "OCIRepository"
    GIT_REPOSITORY = "GitRepository"
    BUCKET = "Bucket"
    EXTERNAL_ARTIFACT = "ExternalArtifact"


class DeletionPolicy(StrEnum):
    """Values of `spec.deletionPolicy`: what becomes of the objects when the Kustomization is deleted."""

    MIRROR_PRUNE = "MirrorPrune"
    DELETE = "Delete"
    WAIT_FOR_TERMINATION = "WaitForTermination"
    ORPHAN = "Orphan"


class SubstituteStrategy(StrEnum):
    """Values of `spec.postBuild.substituteStrategy`: whether to substitute when there is no variable at all."""

    WITH_VARIABLES = "WithVariables"
    ALWAYS = "Always"


class BuildMetadata(StrEnum):
    """Values of `spec.buildMetadata`."""

    ORIGIN = "originAnnotations"
    TRANSFORMERS = "transformerAnnotations"


class SourceRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Names the source of the manifests."""

    api_version: Annotated[str, doc("API version of the source.")] = ""
    kind: Annotated[str, doc("Kind of the source.", enum=list(SourceKind))]
    name: Annotated[str, named("Name of the source.")]
    namespace: Annotated[str, doc("Namespace of the source; the one of this object when empty.", maxLength=63)] = ""

    def key_from(self, namespace: str) -> Key:
        """The source's key as seen from an object in `namespace`."""
        return Key(self.namespace or namespace, self.name)


class Dependency(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Another Kustomization that has to be ready first."""

    name: Annotated[str, named("Name of the Kustomization.")]
    namespace: Annotated[str, doc("Its namespace; the one of this object when empty.", maxLength=63)] = ""
    ready_expr: Annotated[
        str,
        doc("CEL expression over `self` and `dep` that says when it is ready, instead of the built-in check."),
    ] = ""

    def key_from(self, namespace: str) -> Key:
        """The dependency's key as seen from an object in `namespace`."""
        return Key(self.namespace or namespace, self.name)


class HealthExpr(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How health is read from the objects of a custom kind."""

    api_version: Annotated[str, doc("API version of the kind.", minLength=1)]
    kind: Annotated[str, doc("Kind; every kind of the API group when empty. The version does not matter.")] = ""
    current: Annotated[str, doc("CEL expression that is true when the object is as wished.", minLength=1)]
    in_progress: Annotated[str, doc("CEL expression that is true while the object is on its way.")] = ""
    failed: Annotated[str, doc("CEL expression that is true when the object will not get there.")] = ""


class Selector(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Chooses objects by what they are; each field is a regular expression over the whole value, or a selector."""

    group: Annotated[str, doc("API group.")] = ""
    version: Annotated[str, doc("API version.")] = ""
    kind: Annotated[str, doc("Kind.")] = ""
    name: Annotated[str, doc("Name.")] = ""
    namespace: Annotated[str, doc("Namespace.")] = ""
    label_selector: Annotated[str, doc("Selector over labels, such as `app=web,tier!=test`.")] = ""
    annotation_selector: Annotated[str, doc("Selector over annotations, in the same form.")] = ""


class IgnoreRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Fields whose drift is left alone."""

    paths: Annotated[tuple[str, ...], doc("JSON pointers of the fields.", minItems=1)]
    target: Annotated[Selector | None, doc("Objects it holds for; all when empty.")] = None


class CommonMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Labels and annotations stamped on every object."""

    labels: Annotated[Mapping[str, str], doc("Labels.")] = msgspec.field(default_factory=dict)
    annotations: Annotated[Mapping[str, str], doc("Annotations.")] = msgspec.field(default_factory=dict)


class Patch(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A change to rendered objects."""

    patch: Annotated[str, doc("Strategic merge patch or list of JSON patch operations, as YAML.")]
    target: Annotated[Selector | None, doc("Objects it is applied to; named in the patch itself when empty.")] = None


class Image(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Another name, tag or digest for an image."""

    name: Annotated[str, doc("The image's name as it is written in the manifests.")]
    new_name: Annotated[str, doc("The name to write instead.")] = ""
    new_tag: Annotated[str, doc("The tag to write instead.")] = ""
    digest: Annotated[str, doc("The digest to write instead; wins over the tag.")] = ""


class SubstituteRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An object whose entries are variables."""

    kind: Annotated[str, doc("Kind of the object.", enum=["Secret", "ConfigMap"])]
    name: Annotated[str, named("Name of the object, in the same namespace.")]
    optional: Annotated[bool, doc("Go on when the object does not exist.")] = False


class PostBuild(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Variables to put into the rendered objects."""

    substitute: Annotated[Mapping[str, str], doc("Values of variables by name; they win over `substituteFrom`.")] = (
        msgspec.field(default_factory=dict)
    )
    substitute_from: Annotated[
        tuple[SubstituteRef, ...], doc("Objects whose entries are variables; later ones win.")
    ] = ()
    substitute_strategy: Annotated[
        str, doc("Whether to substitute when there is no variable at all.", enum=list(SubstituteStrategy))
    ] = ""


class Decryption(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How encrypted files are read."""

    provider: Annotated[str, doc("What encrypted them.", enum=["sops"])]
    secret_ref: Annotated[LocalRef | None, doc("Secret with the keys.")] = None
    service_account_name: Annotated[
        str, doc("ServiceAccount that signs in to a Vault for its keys.", maxLength=253)
    ] = ""


class SecretKeyRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Names one entry of a Secret in the same namespace."""

    name: Annotated[str, named("Name of the Secret.")]
    key: Annotated[str, doc("Entry of the Secret; `value`, then `value.yaml`, when empty.", maxLength=253)] = ""


class KubeConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Another cluster, where the objects go."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.secretRef) != has(self.configMapRef)",
            "exactly one of secretRef and configMapRef must be set",
        ),
    )

    secret_ref: Annotated[SecretKeyRef | None, doc("Secret with a kubeconfig.")] = None
    config_map_ref: Annotated[
        LocalRef | None, doc("ConfigMap that says how to reach the cluster and by which identity.")
    ] = None


class KustomizationSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What to build, how to apply it, and what counts as done."""

    source_ref: Annotated[SourceRef, doc("Where the manifests come from.")]
    path: Annotated[str, doc("Directory in the source; its root when empty.", maxLength=4096)] = ""
    interval: Annotated[str, duration("How often to look again without being told.")]
    retry_interval: Annotated[
        str, duration("The longest wait before trying again after a failure; `interval` when empty.")
    ] = ""
    timeout: Annotated[
        str,
        duration("How long building, applying and becoming healthy may take; `interval` less 30s when empty."),
    ] = ""
    prune: Annotated[bool, doc("Delete objects that left the source.")]
    deletion_policy: Annotated[
        str,
        doc(
            "What becomes of the objects when this one is deleted: as `prune` says when empty or MirrorPrune.",
            enum=list(DeletionPolicy),
        ),
    ] = ""
    depends_on: Annotated[tuple[Dependency, ...], doc("Kustomizations that have to be ready first.")] = ()
    suspend: Annotated[bool, doc("Do nothing until it is false again. The objects stay.")] = False
    wait: Annotated[bool, doc("Be ready only when every applied object is healthy.")] = False
    health_checks: Annotated[
        tuple[Kinded, ...], doc("Objects that have to be healthy; without meaning where `wait` is true.")
    ] = ()
    health_check_exprs: Annotated[
        tuple[HealthExpr, ...], doc("How health is read from the objects of custom kinds.")
    ] = ()
    force: Annotated[
        bool, doc("Delete and create objects anew where a field that cannot change would.", default=False)
    ] = False
    ignore: Annotated[tuple[IgnoreRule, ...], doc("Fields whose drift is left alone.")] = ()
    target_namespace: Annotated[str, doc("Namespace for every namespaced object.", minLength=1, maxLength=63)] = ""
    name_prefix: Annotated[str, doc("Put before every object's name.", minLength=1, maxLength=200)] = ""
    name_suffix: Annotated[str, doc("Put after every object's name.", minLength=1, maxLength=200)] = ""
    common_metadata: Annotated[CommonMetadata | None, doc("Labels and annotations stamped on every object.")] = None
    patches: Annotated[tuple[Patch, ...], doc("Changes to rendered objects, in order.")] = ()
    images: Annotated[tuple[Image, ...], doc("Other names, tags or digests for images.")] = ()
    components: Annotated[tuple[str, ...], doc("Directories of kustomize components, relative to `path`.")] = ()
    ignore_missing_components: Annotated[bool, doc("Leave out components that do not exist.")] = False
    build_metadata: Annotated[
        tuple[Annotated[str, doc("Which annotations to add.", enum=list(BuildMetadata))], ...],
        doc("Annotations that say where a rendered object came from."),
    ] = ()
    post_build: Annotated[PostBuild | None, doc("Variables to put into the rendered objects.")] = None
    decryption: Annotated[Decryption | None, doc("How encrypted files are read.")] = None
    kube_config: Annotated[KubeConfig | None, doc("Another cluster, where the objects go; this one when empty.")] = None
    service_account_name: Annotated[
        str, doc("ServiceAccount, in the same namespace, in whose name the objects are applied.", maxLength=253)
    ] = ""

    @property
    def interval_s(self) -> float:
        """Seconds between looks. Raises ValueError."""
        return parse_duration(self.interval)

    @property
    def retry_interval_s(self) -> float:
        """Seconds a retry waits at most: `retryInterval`, else `interval`. Raises ValueError."""
        return parse_duration(self.retry_interval or self.interval)

    @property
    def timeout_s(self) -> float:
        """Seconds for building, applying and becoming healthy: `timeout`, else `interval` less 30, at least 30.

        Raises ValueError.
        """
        if self.timeout:
            return parse_duration(self.timeout)
        return max(self.interval_s - LEAST_TIMEOUT_S, LEAST_TIMEOUT_S)

    @property
    def prunes_on_deletion(self) -> bool:
        """Whether the objects go when the Kustomization is deleted."""
        match self.deletion_policy:
            case "" | DeletionPolicy.MIRROR_PRUNE:
                return self.prune
            case DeletionPolicy.DELETE | DeletionPolicy.WAIT_FOR_TERMINATION:
                return True
            case _:
                # Orphan, and what only a newer release knows: keeping objects is the side to err on.
                return False


class Kustomization(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A directory of a source that is built and kept applied."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.metadata.name.size() <= {LABEL_VALUE_LIMIT}",
            f"the name must be no more than {LABEL_VALUE_LIMIT} characters: it becomes a label on every applied object",
            creation_only=True,
        ),
    )

    api_version: str = msgspec.field(default_factory=lambda: gvk.KUSTOMIZATION.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.KUSTOMIZATION.kind)
    metadata: ObjectMeta
    spec: KustomizationSpec
    status: KustomizationStatus = KustomizationStatus()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def ready(self) -> Condition | None:
        """The condition Ready, if there is one."""
        return find(self.status.conditions, "Ready")

    @property
    def source_key(self) -> Key:
        """Namespace and name of the source."""
        return self.spec.source_ref.key_from(self.metadata.namespace)
