"""The kinds HelmRepository and HelmChart: where charts are, and one chart taken from there or from another source."""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from trimtab.api import gvk
from trimtab.api.meta import LocalRef, ObjectMeta
from trimtab.api.oci import OciProvider, OciVerification
from trimtab.api.schema import Rule, doc, duration, named
from trimtab.api.source import DEFAULT_TIMEOUT_S, Artifact
from trimtab.base.durations import parse_duration
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key

DEFAULT_INTERVAL_S = 60.0
"""How often a repository is looked at that does not say."""


class RepositoryType(StrEnum):
    """Values of `spec.type` of a HelmRepository."""

    DEFAULT = "default"
    OCI = "oci"


class ReconcileStrategy(StrEnum):
    """Values of `spec.reconcileStrategy` of a HelmChart: what makes a new artifact."""

    CHART_VERSION = "ChartVersion"
    REVISION = "Revision"


class NamespaceSelector(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Namespaces by their labels."""

    match_labels: Annotated[dict[str, str], doc("Labels that a namespace has to have.")] = msgspec.field(
        default_factory=dict
    )


class AccessFrom(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Who may refer to the object from other namespaces."""

    namespace_selectors: Annotated[tuple[NamespaceSelector, ...], doc("The namespaces that may.")]


class HelmRepositorySpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where the charts are, and how often the index is looked at."""

    url: Annotated[
        str,
        doc(
            "Address of the repository: of the directory with the `index.yaml`, or with `type: oci` of the "
            "repositories of a registry.",
            pattern="^(http|https|oci)://.*$",
            maxLength=4096,
        ),
    ]
    secret_ref: Annotated[
        LocalRef | None,
        doc(
            "Secret with the credentials: `username` and `password`, or with `type: oci` also one of the type "
            "kubernetes.io/dockerconfigjson."
        ),
    ] = None
    cert_secret_ref: Annotated[
        LocalRef | None,
        doc("Secret with `ca.crt`, to trust a certificate, and `tls.crt` and `tls.key`, to show one."),
    ] = None
    pass_credentials: Annotated[
        bool, doc("Show the credentials also to the other hosts that the index sends to for its charts.")
    ] = False
    interval: Annotated[str, duration("How often the index is looked at; 1m when empty.")] = ""
    insecure: Annotated[bool, doc("Speak plain HTTP with the registry. Has a meaning with `type: oci` only.")] = False
    timeout: Annotated[str, duration("How long one operation may take; 60s when empty.", hours=False)] = ""
    suspend: Annotated[bool, doc("Do not look for a new index. The artifact stays.")] = False
    access_from: Annotated[AccessFrom | None, doc("Who may refer to it from other namespaces. Without effect.")] = None
    type: Annotated[
        str,
        doc(
            "What the address is of: `default` is a web server with an index, `oci` a registry. With `oci` the object "
            "is static: there is nothing to fetch until a HelmChart names a chart. `default` when empty.",
            enum=list(RepositoryType),
        ),
    ] = ""
    provider: Annotated[
        str,
        doc(
            "How to sign in to a registry: with the Secret, or by the identity of a cloud. `generic` when empty.",
            enum=list(OciProvider),
            default="generic",
        ),
    ] = "generic"

    @property
    def interval_s(self) -> float:
        """Seconds between looks. Raises ValueError."""
        return parse_duration(self.interval) if self.interval else DEFAULT_INTERVAL_S

    @property
    def timeout_s(self) -> float:
        """Seconds one operation may take. Raises ValueError."""
        return parse_duration(self.timeout) if self.timeout else DEFAULT_TIMEOUT_S

    @property
    def static(self) -> bool:
        """Whether there is nothing to fetch from it by itself."""
        return self.type == RepositoryType.OCI


class HelmRepositoryStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which index was fetched last, and how it went."""

    observed_generation: Annotated[
        int, doc("Generation of the object that was reconciled last; -1 before the first time.", format="int64")
    ] = -1
    conditions: Annotated[tuple[Condition, ...], doc("How it goes.")] = ()
    url: Annotated[str, doc("Address of the latest index on the artifact server.")] = ""
    artifact: Annotated[Artifact | None, doc("The index that was published last.")] = None
    last_handled_reconcile_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/requestedAt that was honoured last.")
    ] = ""


class HelmRepository(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A repository of Helm charts, whose index becomes an artifact."""

    api_version: str = msgspec.field(default_factory=lambda: gvk.HELM_REPOSITORY.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.HELM_REPOSITORY.kind)
    metadata: ObjectMeta
    spec: HelmRepositorySpec
    status: HelmRepositoryStatus = HelmRepositoryStatus()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def ready(self) -> Condition | None:
        """The Ready condition, if there is one."""
        return find(self.status.conditions, "Ready")


class ChartSource(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The source a chart is taken from, in the same namespace."""

    api_version: Annotated[str, doc("API version of the source.", maxLength=253)] = ""
    kind: Annotated[
        str, doc("Kind of the source.", enum=[gvk.HELM_REPOSITORY.kind, gvk.GIT_REPOSITORY.kind, gvk.BUCKET.kind])
    ]
    name: Annotated[str, named("Name of the source.")]


class HelmChartSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which chart, from where, in which version, and with which values."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.verify) || self.sourceRef.kind == 'HelmRepository'",
            "spec.verify is only supported when spec.sourceRef.kind is 'HelmRepository'",
        ),
    )

    chart: Annotated[
        str, doc("Name of the chart in a HelmRepository, or its path in another source.", maxLength=1024, minLength=1)
    ]
    version: Annotated[
        str,
        doc(
            "Version, or range of versions, of the chart in a HelmRepository; the highest release when empty.",
            default="*",
            maxLength=512,
        ),
    ] = "*"
    source_ref: Annotated[ChartSource, doc("Where the chart is.")]
    interval: Annotated[str, duration("How often the chart is looked for.")]
    reconcile_strategy: Annotated[
        str,
        doc(
            "What makes a new artifact: another version of the chart, or another revision of its source.",
            enum=list(ReconcileStrategy),
            default="ChartVersion",
        ),
    ] = "ChartVersion"
    values_files: Annotated[
        tuple[str, ...],
        doc(
            "Files that are merged, in their order, and take the place of the chart's values.yaml. Of a chart in a "
            "HelmRepository they are files of the chart, otherwise of the source."
        ),
    ] = ()
    ignore_missing_values_files: Annotated[bool, doc("Pass over values files that are not there.")] = False
    suspend: Annotated[bool, doc("Do not look for anything new. The artifact stays.")] = False
    verify: Annotated[
        OciVerification | None, doc("Which signatures are demanded of a chart in a registry; none when empty.")
    ] = None

    @property
    def interval_s(self) -> float:
        """Seconds between looks. Raises ValueError."""
        return parse_duration(self.interval)


class HelmChartStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which chart was taken last, and how it went."""

    observed_generation: Annotated[
        int, doc("Generation of the object that was reconciled last; -1 before the first time.", format="int64")
    ] = -1
    observed_source_artifact_revision: Annotated[
        str, doc("Revision of the source that the chart was last looked for in.")
    ] = ""
    observed_chart_name: Annotated[str, doc("Name of the chart that was taken last.")] = ""
    observed_values_files: Annotated[
        tuple[str, ...], doc("Values files that went into the chart; without those that were missing.")
    ] = ()
    conditions: Annotated[tuple[Condition, ...], doc("How it goes.")] = ()
    url: Annotated[str, doc("Address of the latest chart on the artifact server.")] = ""
    artifact: Annotated[Artifact | None, doc("The chart that was published last.")] = None
    last_handled_reconcile_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/requestedAt that was honoured last.")
    ] = ""


class HelmChart(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One Helm chart, taken from a source and offered as an artifact."""

    api_version: str = msgspec.field(default_factory=lambda: gvk.HELM_CHART.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.HELM_CHART.kind)
    metadata: ObjectMeta
    spec: HelmChartSpec
    status: HelmChartStatus = HelmChartStatus()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def source_key(self) -> Key:
        """Namespace and name of the source."""
        return Key(self.metadata.namespace, self.spec.source_ref.name)

    @property
    def ready(self) -> Condition | None:
        """The Ready condition, if there is one."""
        return find(self.status.conditions, "Ready")
