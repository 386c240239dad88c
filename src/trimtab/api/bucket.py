"""The kind Bucket: manifests kept as objects of a store that speaks the protocol of S3."""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from trimtab.api import gvk
from trimtab.api.meta import LocalRef, ObjectMeta
from trimtab.api.schema import Rule, doc, duration
from trimtab.api.source import DEFAULT_TIMEOUT_S, Artifact
from trimtab.base.durations import parse_duration
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key


class BucketProvider(StrEnum):
    """Values of `spec.provider`: how the store wants to be spoken to."""

    GENERIC = "generic"
    AWS = "aws"
    GCP = "gcp"
    AZURE = "azure"


class StsProvider(StrEnum):
    """Values of `spec.sts.provider`: who makes keys for a while."""

    AWS = "aws"
    LDAP = "ldap"


class BucketSts(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A server that makes keys for a while, for somebody it knows otherwise."""

    provider: Annotated[
        str, doc("What the server asks for: an identity of AWS, or one of a directory.", enum=list(StsProvider))
    ]
    endpoint: Annotated[str, doc("Address of the server.", pattern="^(http|https)://.*$", maxLength=4096)]
    secret_ref: Annotated[LocalRef | None, doc("Secret with `username` and `password`, for ldap.")] = None
    cert_secret_ref: Annotated[
        LocalRef | None,
        doc("Secret with `ca.crt`, to trust a certificate, and `tls.crt` and `tls.key`, to show one; for ldap."),
    ] = None


class BucketSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where the bucket is, what to take from it, and how often to look."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.sts) || self.provider == 'aws' || self.provider == 'generic'",
            "sts can only be set when provider is 'aws' or 'generic'",
        ),
        Rule(
            "self.provider != 'aws' || !has(self.sts) || self.sts.provider == 'aws'",
            "with provider 'aws' the only sts.provider is 'aws'",
        ),
        Rule(
            "self.provider != 'generic' || !has(self.sts) || self.sts.provider == 'ldap'",
            "with provider 'generic' the only sts.provider is 'ldap'",
        ),
        Rule(
            "!has(self.sts) || self.sts.provider != 'aws' || !(has(self.sts.secretRef) || has(self.sts.certSecretRef))",
            "sts.secretRef and sts.certSecretRef can only be set when sts.provider is 'ldap'",
        ),
        Rule(
            "self.provider != 'generic' || !has(self.serviceAccountName)",
            "serviceAccountName cannot be set when provider is 'generic'",
        ),
        Rule(
            "!has(self.secretRef) || !has(self.serviceAccountName)",
            "secretRef and serviceAccountName cannot both be set",
        ),
    )

    provider: Annotated[
        str, doc("How the store wants to be spoken to.", enum=list(BucketProvider), default="generic")
    ] = "generic"
    bucket_name: Annotated[str, doc("Name of the bucket.", maxLength=255)]
    endpoint: Annotated[str, doc("Address of the store: `host` or `host:port`.", maxLength=4096)]
    sts: Annotated[BucketSts | None, doc("A server that makes keys for a while.")] = None
    insecure: Annotated[bool, doc("Speak plain HTTP with the store.")] = False
    region: Annotated[str, doc("Region of the bucket; `us-east-1` where the endpoint does not say.", maxLength=64)] = ""
    prefix: Annotated[str, doc("Take only objects whose keys start so.", maxLength=1024)] = ""
    secret_ref: Annotated[
        LocalRef | None, doc("Secret with `accesskey` and `secretkey`. Without one the bucket is read as anybody.")
    ] = None
    service_account_name: Annotated[
        str, doc("ServiceAccount whose identity signs in; not for generic.", maxLength=253)
    ] = ""
    cert_secret_ref: Annotated[
        LocalRef | None,
        doc("Secret with `ca.crt`, to trust a certificate, and `tls.crt` and `tls.key`, to show one."),
    ] = None
    proxy_secret_ref: Annotated[
        LocalRef | None, doc("Secret with the `address`, and `username` and `password`, of a proxy.")
    ] = None
    interval: Annotated[str, duration("How often the bucket is looked at.")]
    timeout: Annotated[str, duration("How long one operation may take.", hours=False, default="60s")] = "60s"
    ignore: Annotated[
        str | None, doc("Files to leave out, in the syntax of .gitignore. Replaces the default exclusions.")
    ] = None
    suspend: Annotated[bool, doc("Do not look for anything new. The artifact stays.")] = False

    @property
    def interval_s(self) -> float:
        """Seconds between looks. Raises ValueError."""
        return parse_duration(self.interval)

    @property
    def timeout_s(self) -> float:
        """Seconds one operation may take: `timeout`, 60 when empty. Raises ValueError."""
        return parse_duration(self.timeout) if self.timeout else DEFAULT_TIMEOUT_S


class BucketStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What was taken last, and how it went."""

    observed_generation: Annotated[
        int, doc("Generation of the object that was reconciled last; -1 before the first time.", format="int64")
    ] = -1
    conditions: Annotated[tuple[Condition, ...], doc("How it goes.")] = ()
    url: Annotated[str, doc("Address of the latest archive on the artifact server.")] = ""
    artifact: Annotated[Artifact | None, doc("What was published last.")] = None
    observed_ignore: Annotated[str | None, doc("The `spec.ignore` the artifact was made with.")] = None
    last_handled_reconcile_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/requestedAt that was honoured last.")
    ] = ""


class Bucket(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Files kept in a bucket and offered as an artifact."""

    api_version: str = msgspec.field(default_factory=lambda: gvk.BUCKET.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.BUCKET.kind)
    metadata: ObjectMeta
    spec: BucketSpec
    status: BucketStatus = BucketStatus()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def ready(self) -> Condition | None:
        """The Ready condition, if there is one."""
        return find(self.status.conditions, "Ready")
