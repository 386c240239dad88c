"""The kind OCIRepository: manifests kept in a registry, beside the images they name."""

from enum import StrEnum
from typing import Annotated

import msgspec

from trimtab.api import gvk
from trimtab.api.meta import LocalRef, ObjectMeta
from trimtab.api.schema import doc, duration
from trimtab.api.source import DEFAULT_TIMEOUT_S, Artifact
from trimtab.base.durations import parse_duration
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key


class OciProvider(StrEnum):
    """Values of `spec.provider`: how a registry's host wants to be signed in to."""

    GENERIC = "generic"
    AWS = "aws"
    AZURE = "azure"
    GCP = "gcp"


class LayerOperation(StrEnum):
    """Values of `spec.layerSelector.operation`: unpack the layer and pack its files again, or publish its bytes."""

    EXTRACT = "extract"
    COPY = "copy"


class SignatureProvider(StrEnum):
    """Values of `spec.verify.provider`: whose format the signatures are in."""

    COSIGN = "cosign"
    NOTATION = "notation"


class OciRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What to pull. When several are set: digest before semver before tag. The tag `latest` when nothing is."""

    digest: Annotated[str, doc("Digest of the manifest, as `sha256:` and 64 hexadecimal digits.", maxLength=128)] = ""
    semver: Annotated[str, doc("Range of versions; the highest tag in it is taken.", maxLength=2048)] = ""
    semver_filter: Annotated[
        str, doc("Regular expression (RE2); only tags in which it is found take part in the range.", maxLength=1024)
    ] = ""
    tag: Annotated[str, doc("Tag.", maxLength=128)] = ""


class LayerSelector(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which layer of the artifact is taken, and what is done with it."""

    media_type: Annotated[
        str, doc("Media type of the layer; the first with it is taken. The first of all when empty.", maxLength=255)
    ] = ""
    operation: Annotated[
        str,
        doc(
            "Whether the layer is unpacked and its files packed again, or its bytes are published as they are. "
            "`extract` when empty.",
            enum=list(LayerOperation),
        ),
    ] = ""


class OidcIdentity(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Who may have signed without a key, as two regular expressions."""

    issuer: Annotated[str, doc("Regular expression for the issuer of the identity.", maxLength=1024)]
    subject: Annotated[str, doc("Regular expression for the identity itself.", maxLength=1024)]


class OciVerification(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which signatures are demanded, and whose."""

    provider: Annotated[str, doc("Format of the signatures.", enum=list(SignatureProvider), default="cosign")] = (
        "cosign"
    )
    secret_ref: Annotated[LocalRef | None, doc("Secret with the public keys trusted: `*.pub`.")] = None
    match_oidc_identity: Annotated[
        tuple[OidcIdentity, ...],
        doc("Identities trusted where no key is named; one of them has to match.", maxItems=16),
    ] = msgspec.field(name="matchOIDCIdentity", default=())
    trusted_root_secret_ref: Annotated[
        LocalRef | None, doc("Secret with the `trusted_root.json` of a Sigstore instance of one's own.")
    ] = None


class OCIRepositorySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where the artifact is, what to take from it, and how often to look."""

    url: Annotated[
        str, doc("Address of the repository, without a tag: `oci://host/path`.", pattern="^oci://.*$", maxLength=4096)
    ]
    ref: Annotated[OciRef | None, doc("What to pull; the tag `latest` when empty.")] = None
    layer_selector: Annotated[LayerSelector | None, doc("Which layer to take; the first when empty.")] = None
    provider: Annotated[
        str,
        doc(
            "How to sign in: with the Secret, or by the identity of a cloud. `generic` when empty.",
            enum=list(OciProvider),
        ),
    ] = ""
    secret_ref: Annotated[
        LocalRef | None, doc("Secret of type kubernetes.io/dockerconfigjson with the credentials.")
    ] = None
    verify: Annotated[OciVerification | None, doc("Which signatures are demanded; none when empty.")] = None
    service_account_name: Annotated[str, doc("ServiceAccount whose `imagePullSecrets` sign in.", maxLength=253)] = ""
    cert_secret_ref: Annotated[
        LocalRef | None,
        doc("Secret with `ca.crt`, to trust a certificate, and `tls.crt` and `tls.key`, to show one."),
    ] = None
    proxy_secret_ref: Annotated[
        LocalRef | None, doc("Secret with the `address`, and `username` and `password`, of a proxy.")
    ] = None
    interval: Annotated[str, duration("How often the registry is looked at.")]
    timeout: Annotated[str, duration("How long one operation may take.", hours=False, default="60s")] = "60s"
    ignore: Annotated[
        str | None, doc("Files to leave out, in the syntax of .gitignore. Replaces the default exclusions.")
    ] = None
    insecure: Annotated[bool, doc("Speak plain HTTP with the registry.")] = False
    suspend: Annotated[bool, doc("Do not look for anything new. The artifact stays.")] = False

    @property
    def interval_s(self) -> float:
        """Seconds between looks. Raises ValueError."""
        return parse_duration(self.interval)

    @property
    def timeout_s(self) -> float:
        """Seconds one operation may take: `timeout`, 60 when empty. Raises ValueError."""
        return parse_duration(self.timeout) if self.timeout else DEFAULT_TIMEOUT_S

    @property
    def operation(self) -> str:
        """What is done with the layer."""
        return (self.layer_selector and self.layer_selector.operation) or LayerOperation.EXTRACT


class OCIRepositoryStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What was pulled last, and how it went."""

    observed_generation: Annotated[
        int, doc("Generation of the object that was reconciled last; -1 before the first time.", format="int64")
    ] = -1
    conditions: Annotated[tuple[Condition, ...], doc("How it goes.")] = ()
    url: Annotated[str, doc("Address of the latest archive on the artifact server.")] = ""
    artifact: Annotated[Artifact | None, doc("What was published last.")] = None
    observed_ignore: Annotated[str | None, doc("The `spec.ignore` the artifact was made with.")] = None
    observed_layer_selector: Annotated[
        LayerSelector | None, doc("The `spec.layerSelector` the artifact was made with.")
    ] = None
    last_handled_reconcile_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/requestedAt that was honoured last.")
    ] = ""


class OCIRepository(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Files pulled from a registry and offered as an artifact."""

    api_version: str = msgspec.field(default_factory=lambda: gvk.OCI_REPOSITORY.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.OCI_REPOSITORY.kind)
    metadata: ObjectMeta
    spec: OCIRepositorySpec
    status: OCIRepositoryStatus = OCIRepositoryStatus()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def ready(self) -> Condition | None:
        """The Ready condition, if there is one."""
        return find(self.status.conditions, "Ready")
