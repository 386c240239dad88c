"""The kind HelmRelease: a chart with values, installed under a name and kept as it is wished."""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import msgspec

from trimtab.api import gvk
from trimtab.api.helm import ReconcileStrategy
from trimtab.api.helmactions import DEFAULT_TIMEOUT_S, Install, Rollback, Test, Uninstall, Upgrade
from trimtab.api.helmreleasestatus import HelmReleaseStatus
from trimtab.api.kustomize import (
    LABEL_VALUE_LIMIT,
    CommonMetadata,
    Dependency,
    HealthExpr,
    IgnoreRule,
    Image,
    KubeConfig,
    Patch,
)
from trimtab.api.meta import ObjectMeta
from trimtab.api.oci import OciVerification
from trimtab.api.schema import Rule, doc, duration, named
from trimtab.base.durations import parse_duration
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key

DEFAULT_MAX_HISTORY = 5
LONGEST_RELEASE_NAME = 53
_CUT = 40
_HASH = 12


class DriftDetectionMode(StrEnum):
    """Values of `spec.driftDetection.mode`."""

    ENABLED = "enabled"
    WARN = "warn"
    DISABLED = "disabled"


class PostRenderStrategy(StrEnum):
    """Values of `spec.postRenderStrategy`: whether post-renderers get the hooks, and together with the rest."""

    NO_HOOKS = "nohooks"
    COMBINED = "combined"
    SEPARATE = "separate"


class WaitStrategyName(StrEnum):
    """Values of `spec.waitStrategy.name`."""

    POLLER = "poller"
    LEGACY = "legacy"


class ChartSourceRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The source a chart is taken from."""

    api_version: Annotated[str, doc("API version of the source.", maxLength=253)] = ""
    kind: Annotated[
        str, doc("Kind of the source.", enum=[gvk.HELM_REPOSITORY.kind, gvk.GIT_REPOSITORY.kind, gvk.BUCKET.kind])
    ]
    name: Annotated[str, named("Name of the source.")]
    namespace: Annotated[str, doc("Namespace of the source; the one of this object when empty.", maxLength=63)] = ""


class ChartTemplateSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which chart, from where, in which version, and with which values files."""

    chart: Annotated[
        str, doc("Name of the chart in a HelmRepository, or its path in another source.", minLength=1, maxLength=2048)
    ]
    version: Annotated[
        str,
        doc(
            "Version, or range of versions, of the chart in a HelmRepository; the highest release when empty.",
            default="*",
            maxLength=512,
        ),
    ] = "*"
    source_ref: Annotated[ChartSourceRef, doc("Where the chart is.")]
    interval: Annotated[str, duration("How often the chart is looked for; `spec.interval` when empty.")] = ""
    reconcile_strategy: Annotated[
        str,
        doc(
            "What makes a new artifact: another version of the chart, or another revision of its source.",
            enum=list(ReconcileStrategy),
            default="ChartVersion",
        ),
    ] = "ChartVersion"
    values_files: Annotated[
        tuple[str, ...], doc("Files that are merged, in their order, and take the place of the chart's values.yaml.")
    ] = ()
    ignore_missing_values_files: Annotated[bool, doc("Pass over values files that are not there.")] = False
    verify: Annotated[OciVerification | None, doc("Which signatures are demanded of a chart in a registry.")] = None


class ChartTemplateMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Labels and annotations of the HelmChart."""

    labels: Annotated[Mapping[str, str], doc("Labels.")] = msgspec.field(default_factory=dict)
    annotations: Annotated[Mapping[str, str], doc("Annotations.")] = msgspec.field(default_factory=dict)


class ChartTemplate(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The HelmChart that is made for the release."""

    metadata: Annotated[ChartTemplateMetadata | None, doc("Labels and annotations of the HelmChart.")] = None
    spec: Annotated[ChartTemplateSpec, doc("The chart.")]


class ChartRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An object whose artifact is the chart."""

    api_version: Annotated[str, doc("API version of the object.", maxLength=253)] = ""
    kind: Annotated[
        str,
        doc("Kind of the object.", enum=[gvk.OCI_REPOSITORY.kind, gvk.HELM_CHART.kind, gvk.EXTERNAL_ARTIFACT.kind]),
    ]
    name: Annotated[str, named("Name of the object.")]
    namespace: Annotated[str, doc("Namespace of the object; the one of this object when empty.", maxLength=63)] = ""


class ValuesReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An object that holds values."""

    kind: Annotated[str, doc("Kind of the object.", enum=["Secret", "ConfigMap"])]
    name: Annotated[str, named("Name of the object, in the same namespace.")]
    values_key: Annotated[
        str,
        doc("Entry of the object; `values.yaml` when empty.", maxLength=253, pattern=r"^[\-._a-zA-Z0-9]+$"),
    ] = ""
    target_path: Annotated[
        str,
        doc(
            "Where the entry is put, which is one value then: a path such as `a.b[0].c`, as in Helm's `--set`.",
            maxLength=250,
            pattern=r"^([a-zA-Z0-9_\-.\\\/]|\[[0-9]{1,5}\])+$",
        ),
    ] = ""
    optional: Annotated[bool, doc("Go on when the object or the entry does not exist.")] = False
    literal: Annotated[
        bool, doc("With a path: take the entry as it is, as Helm's `--set-literal`, whatever stands in it.")
    ] = False


class DriftDetection(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What happens when objects in the cluster are not as the release has them."""

    mode: Annotated[
        str,
        doc(
            "`enabled` corrects it, `warn` reports it, `disabled` does not look; `disabled` when empty.",
            enum=list(DriftDetectionMode),
        ),
    ] = ""
    ignore: Annotated[tuple[IgnoreRule, ...], doc("Fields whose drift is left alone.")] = ()


class KustomizeRenderer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Changes by kustomize to what the chart renders."""

    patches: Annotated[tuple[Patch, ...], doc("Changes to rendered objects, in order.")] = ()
    images: Annotated[tuple[Image, ...], doc("Other names, tags or digests for images.")] = ()


class PostRenderer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A change to what the chart renders."""

    kustomize: Annotated[KustomizeRenderer | None, doc("Changes by kustomize.")] = None


class WaitStrategy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How it is told whether objects are healthy."""

    name: Annotated[
        str,
        doc("`poller` judges as everywhere else; `legacy` as Helm 3 did.", enum=list(WaitStrategyName)),
    ]


class HelmReleaseSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which chart, with which values, under which name, and how it is treated."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.chart) != has(self.chartRef)", "either chart or chartRef must be set"),
    )

    chart: Annotated[ChartTemplate | None, doc("The HelmChart that is made for the release.")] = None
    chart_ref: Annotated[ChartRef | None, doc("An object whose artifact is the chart.")] = None
    interval: Annotated[str, duration("How often to look again without being told.")]
    kube_config: Annotated[KubeConfig | None, doc("Another cluster, where the objects go; this one when empty.")] = None
    suspend: Annotated[bool, doc("Do nothing until it is false again. The release stays.")] = False
    release_name: Annotated[
        str,
        doc(
            "Name of the release; `[targetNamespace-]name`, shortened if need be, when empty.",
            minLength=1,
            maxLength=LONGEST_RELEASE_NAME,
        ),
    ] = ""
    target_namespace: Annotated[
        str, doc("Namespace of the objects; the one of this object when empty.", minLength=1, maxLength=63)
    ] = ""
    storage_namespace: Annotated[
        str, doc("Namespace of the release's records; the one of this object when empty.", minLength=1, maxLength=63)
    ] = ""
    depends_on: Annotated[tuple[Dependency, ...], doc("HelmReleases that have to be ready first.")] = ()
    timeout: Annotated[str, duration("How long an action may take; 5m when empty.")] = ""
    max_history: Annotated[int | None, doc("How many records are kept; all when 0, five when empty.")] = None
    service_account_name: Annotated[
        str,
        doc(
            "ServiceAccount, in the same namespace, in whose name the objects are applied.",
            minLength=1,
            maxLength=253,
        ),
    ] = ""
    persistent_client: Annotated[
        bool | None, doc("Without effect: what an action has to know of the cluster is always current.")
    ] = None
    drift_detection: Annotated[
        DriftDetection | None, doc("What happens when objects in the cluster are not as the release has them.")
    ] = None
    install: Annotated[Install | None, doc("How the release is installed.")] = None
    upgrade: Annotated[Upgrade | None, doc("How the release is upgraded.")] = None
    test: Annotated[Test | None, doc("Whether and how the chart's tests are run.")] = None
    rollback: Annotated[Rollback | None, doc("How the release is rolled back.")] = None
    uninstall: Annotated[Uninstall | None, doc("How the release is uninstalled.")] = None
    values_from: Annotated[
        tuple[ValuesReference, ...], doc("Objects that hold values; later ones win, and `values` wins over all.")
    ] = ()
    values: Annotated[dict[str, Any], doc("Values for the chart.")] = msgspec.field(default_factory=dict)
    common_metadata: Annotated[CommonMetadata | None, doc("Labels and annotations stamped on every object.")] = None
    post_renderers: Annotated[tuple[PostRenderer, ...], doc("Changes to what the chart renders, in order.")] = ()
    post_render_strategy: Annotated[
        str,
        doc(
            "Whether post-renderers get the hooks as well (`combined`), on their own (`separate`) or not at all "
            "(`nohooks`); `combined` when empty.",
            enum=list(PostRenderStrategy),
        ),
    ] = ""
    wait_strategy: Annotated[WaitStrategy | None, doc("How it is told whether objects are healthy.")] = None
    health_check_exprs: Annotated[
        tuple[HealthExpr, ...], doc("How health is read from the objects of custom kinds.")
    ] = ()

    @property
    def interval_s(self) -> float:
        """Seconds between looks. Raises ValueError."""
        return parse_duration(self.interval)

    @property
    def timeout_s(self) -> float:
        """Seconds an action may take that does not say. Raises ValueError."""
        return parse_duration(self.timeout) if self.timeout else DEFAULT_TIMEOUT_S

    @property
    def history_limit(self) -> int:
        """How many records are kept; 0 for all."""
        return DEFAULT_MAX_HISTORY if self.max_history is None else max(self.max_history, 0)

    @property
    def drift_mode(self) -> str:
        """What happens with drift."""
        return (self.drift_detection.mode if self.drift_detection else "") or DriftDetectionMode.DISABLED


class HelmRelease(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A chart with values that is installed and kept as it is wished."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.metadata.name.size() <= {LABEL_VALUE_LIMIT}",
            f"the name must be no more than {LABEL_VALUE_LIMIT} characters: it becomes a label on every applied object",
            creation_only=True,
        ),
    )

    api_version: str = msgspec.field(default_factory=lambda: gvk.HELM_RELEASE.api_version)
    kind: str = msgspec.field(default_factory=lambda: gvk.HELM_RELEASE.kind)
    metadata: ObjectMeta
    spec: HelmReleaseSpec
    status: HelmReleaseStatus = HelmReleaseStatus()

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.metadata.key

    @property
    def ready(self) -> Condition | None:
        """The condition Ready, if there is one."""
        return find(self.status.conditions, "Ready")

    @property
    def release_name(self) -> str:
        """Name of the release: as it is given, or made of namespace and name, never longer than Helm admits."""
        spec = self.spec
        name = spec.release_name or "-".join(filter(None, (spec.target_namespace, self.metadata.name)))
        return shortened(name)

    @property
    def release_namespace(self) -> str:
        """Namespace of the objects."""
        return self.spec.target_namespace or self.metadata.namespace

    @property
    def storage_namespace(self) -> str:
        """Namespace of the records."""
        return self.spec.storage_namespace or self.metadata.namespace

    @property
    def chart_key(self) -> Key | None:
        """The HelmChart that is made for the release; None if it refers to a chart."""
        if self.spec.chart is None:
            return None
        namespace = self.spec.chart.spec.source_ref.namespace or self.metadata.namespace
        return Key(namespace, f"{self.metadata.namespace}-{self.metadata.name}")


def shortened(name: str) -> str:
    """`name` as that of a release: beyond 53 characters its first 40, and a digest to tell it apart."""
    if len(name) <= LONGEST_RELEASE_NAME:
        return name
    return f"{name[:_CUT]}-{hashlib.sha256(name.encode()).hexdigest()[:_HASH]}"
