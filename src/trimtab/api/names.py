"""Names that the outside knows us by: annotations, labels, finalizers, field managers, conditions and reasons.

The names under fluxcd.io are those of Flux's public API; the ones under trimtab.dev are ours alone.
"""

from enum import StrEnum
from typing import Final

FINALIZER: Final = "finalizers.fluxcd.io"
"""On every object of ours that has something to clean up."""

REQUESTED_AT: Final = "reconcile.fluxcd.io/requestedAt"
"""Any new value asks for a reconcile now; echoed to `status.lastHandledReconcileAt`."""
FORCE_AT: Final = "reconcile.fluxcd.io/forceAt"
RESET_AT: Final = "reconcile.fluxcd.io/resetAt"
"""On HelmReleases, and only with the value of the former: make a release in any case; forget what failed."""
EVENT_PREFIX: Final = "event.toolkit.fluxcd.io/"
"""Annotations copied into the metadata of events."""
WATCH_LABEL: Final = "reconcile.fluxcd.io/watch"
WATCH_ENABLED: Final = "Enabled"
"""On ConfigMaps and Secrets: a change makes those that refer to them reconcile at once."""
SHARD_LABEL: Final = "sharding.fluxcd.io/key"

GENERATOR_FINALIZER: Final = "source.extensions.fluxcd.io/finalizer"
"""On every ArtifactGenerator."""
GENERATOR: Final = "source.extensions.fluxcd.io/generator"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
"""Labels on every ExternalArtifact that a generator makes; the first has the generator's uid."""
GENERATOR_RECONCILE: Final = "source.extensions.fluxcd.io/reconcile"
"""Annotation on an ArtifactGenerator; `disabled`, in any case, suspends it."""
ORIGIN_REVISION: Final = "org.opencontainers.image.revision"
"""Key in the metadata of an artifact: the revision of what it was made from."""
COMMIT_AUTHOR: Final = "trimtab.dev/author"
COMMIT_SUBJECT: Final = "trimtab.dev/subject"
COMMIT_TIME: Final = "trimtab.dev/committed"
"""Keys in the metadata of an artifact of git: what its commit says of itself, for people."""

OWNER_NAME: Final = "kustomize.toolkit.fluxcd.io/name"
OWNER_NAMESPACE: Final = "kustomize.toolkit.fluxcd.io/namespace"
"""Labels on every object a Kustomization applies."""

RELEASE_OWNER_NAME: Final = "helm.toolkit.fluxcd.io/name"
RELEASE_OWNER_NAMESPACE: Final = "helm.toolkit.fluxcd.io/namespace"
"""Labels on every object a HelmRelease applies."""
HELM_MANAGED_BY: Final = "Helm"
"""Value of the label `MANAGED_BY` on every object of a release."""
HELM_RELEASE_NAME: Final = "meta.helm.sh/release-name"
HELM_RELEASE_NAMESPACE: Final = "meta.helm.sh/release-namespace"
"""Helm's own annotations on every object of a release: without them, helm refuses to take an object over."""
HELM_RESOURCE_POLICY: Final = "helm.sh/resource-policy"
HELM_KEEP: Final = "keep"
"""Annotation on objects of a release that stay when the release goes, or no longer has them."""
RECORD_OF: Final = "trimtab.dev/revision-of"
"""Label on the record of a revision: uid of the HelmRelease that made it, and its number."""
HOOK_OF: Final = "trimtab.dev/hook-of"
"""Annotation on the objects of hooks: release, revision, when that was begun, and the event they were made for."""
OBJECT_DRIFT_DETECTION: Final = "helm.toolkit.fluxcd.io/driftDetection"
"""Annotation or label on objects of a release; `disabled` leaves their drift alone."""

APPLIED: Final = "apply.trimtab.dev/"
"""Prefix of the labels `name` and `namespace` on every object that `trimtab apply` applies for an app."""
APPLIED_RECORD: Final = "apply.trimtab.dev/record"
"""Label on the Secrets that hold the record of such an app: its name."""

OBJECT_RECONCILE: Final = "kustomize.toolkit.fluxcd.io/reconcile"
OBJECT_SSA: Final = "kustomize.toolkit.fluxcd.io/ssa"
OBJECT_FORCE: Final = "kustomize.toolkit.fluxcd.io/force"
OBJECT_PRUNE: Final = "kustomize.toolkit.fluxcd.io/prune"
OBJECT_SUBSTITUTE: Final = "kustomize.toolkit.fluxcd.io/substitute"
OBJECT_DECRYPT: Final = "kustomize.toolkit.fluxcd.io/decrypt"
"""Annotations or labels on managed objects; values are compared without regard to case."""
DISABLED: Final = "disabled"
ENABLED: Final = "enabled"

KUBECTL_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
STALE_ANNOTATIONS: Final = (
    KUBECTL_LAST_APPLIED,
    "kustomize.toolkit.fluxcd.io/checksum",
    "fluxcd.io/sync-checksum",
)
STALE_LABELS: Final = ("fluxcd.io/sync-gc-mark",)
"""What earlier tools left on live objects, removed when we take them over."""

OBJECT_MANAGER: Final = "kustomize-controller"
"""Field manager of applied objects."""
HELM_MANAGER: Final = "helm-controller"
"""Field manager of the objects of releases, and of the status of HelmReleases."""
STATUS_MANAGER: Final = "gotk-kustomize-controller"
"""Field manager of the status of Kustomizations."""
SOURCE_MANAGER: Final = "source-controller"
"""Field manager of the status of sources."""
NOTIFICATION_MANAGER: Final = "notification-controller"
"""Field manager of the status of Receivers, and of what they ask for."""

REFLECTOR_MANAGER: Final = "image-reflector-controller"
"""Field manager of the status of ImageRepositories and ImagePolicies."""

WATCHER_MANAGER: Final = "source-watcher"
"""Field manager of ExternalArtifacts that a generator makes, and of the status of generators."""

AUTOMATION_MANAGER: Final = "image-automation-controller"
"""Field manager of the status of ImageUpdateAutomations."""

SOURCE_LEASE: Final = "source-controller-leader-election"
WATCHER_LEASE: Final = "source-watcher-leader-election"
KUSTOMIZE_LEASE: Final = "kustomize-controller-leader-election"
HELM_LEASE: Final = "helm-controller-leader-election"
NOTIFICATION_LEASE: Final = "notification-controller-leader-election"
REFLECTOR_LEASE: Final = "image-reflector-controller-leader-election"
AUTOMATION_LEASE: Final = "image-automation-controller-leader-election"
"""Flux's own Leases, so that Flux and Trimtab never drive the same objects at once."""

OURS: Final = "trimtab.dev/"
"""Prefix of every annotation and label that is ours alone."""
SHARED_SOURCES_LABEL: Final = "trimtab.dev/shared-sources"
"""On a Namespace: other namespaces may refer to its sources."""
ALLOWED_NAMESPACES: Final = "trimtab.dev/allowed-namespaces"
ALLOWED_KINDS: Final = "trimtab.dev/allowed-kinds"
"""Annotations on a Namespace: what the apps in it may apply at all."""


class Annotation(StrEnum):
    """Annotations that are ours alone. An unknown name under the prefix was written by a newer release."""

    DRIFT = "trimtab.dev/drift"
    GATE = "trimtab.dev/gate"
    DELETION_BUDGET = "trimtab.dev/deletion-budget"
    APPROVE_PRUNE = "trimtab.dev/approve-prune"
    ALLOW_EMPTY = "trimtab.dev/allow-empty"
    DEPENDS_ON = "trimtab.dev/depends-on"
    WAIT_FOR_ADDRESS = "trimtab.dev/wait-for-address"
    VERIFY = "trimtab.dev/verify"
    ALLOW_ROLLBACK = "trimtab.dev/allow-rollback"
    PLAINTEXT_SECRETS = "trimtab.dev/plaintext-secrets"
    HELM_LOOKUP = "trimtab.dev/helm-lookup"
    WRITE_SECRET = "trimtab.dev/write-secret"  # noqa: S105 - the name of an annotation
    POLICY = "trimtab.dev/policy"
    HOLD = "trimtab.dev/hold"
    LOCK = "trimtab.dev/lock"
    FILTER_GLOB = "trimtab.dev/filter-glob"
    FREEZE = "trimtab.dev/freeze"
    SIGNER_MATCHES_COMMITTER = "trimtab.dev/signer-matches-committer"
    TEMPLATE = "trimtab.dev/template"
    COMMITS = "trimtab.dev/commits"
    PULL_REQUEST = "trimtab.dev/pull-request"
    PULL_REQUEST_SECRET = "trimtab.dev/pull-request-secret"  # noqa: S105 - the name of an annotation
    SKIP_CI = "trimtab.dev/skip-ci"
    UNHOLD = "trimtab.dev/unhold"
    REQUESTED_BY = "trimtab.dev/requested-by"
    CORRECT_AT = "trimtab.dev/correct-at"


class DriftMode(StrEnum):
    """Values of `trimtab.dev/drift`: what happens to drift."""

    CORRECT = "correct"
    ALERT = "alert"
    IGNORE = "ignore"


class GateMode(StrEnum):
    """Values of `trimtab.dev/gate`: whether one refused object holds back the whole revision."""

    ATOMIC = "atomic"
    EACH = "each"


class PlaintextSecrets(StrEnum):
    """Values of `trimtab.dev/plaintext-secrets`: what happens to a Secret in clear text in git."""

    ALLOW = "allow"
    WARN = "warn"
    REFUSE = "refuse"


class AncestryMode(StrEnum):
    """Values of `trimtab.dev/verify`: how much of a history must be signed."""

    HEAD = "head"
    STRICT = "strict"
    FIRST_PARENT = "first-parent"


class CommitMode(StrEnum):
    """Values of `trimtab.dev/commits`: one commit for all that an automation writes at a time, or one a policy."""

    RUN = "run"
    POLICY = "policy"


class PullRequests(StrEnum):
    """Values of `trimtab.dev/pull-request`: what kind of forge the repository is at."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"
    FORGEJO = "forgejo"


class ApplyMode(StrEnum):
    """Values of the `ssa` annotation on managed objects."""

    OVERRIDE = "Override"
    MERGE = "Merge"
    IF_NOT_PRESENT = "IfNotPresent"
    IGNORE = "Ignore"


class ConditionType(StrEnum):
    """Types of conditions on our objects."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    HEALTHY = "Healthy"
    ARTIFACT_IN_STORAGE = "ArtifactInStorage"
    ARTIFACT_OUTDATED = "ArtifactOutdated"
    SOURCE_VERIFIED = "SourceVerified"
    FETCH_FAILED = "FetchFailed"
    BUILD_FAILED = "BuildFailed"
    STORAGE_OPERATION_FAILED = "StorageOperationFailed"
    INCLUDE_UNAVAILABLE = "IncludeUnavailable"
    PRUNE_HELD = "PruneHeld"
    DRIFT_FIGHT = "DriftFight"
    # of HelmReleases
    RELEASED = "Released"
    TEST_SUCCESS = "TestSuccess"
    REMEDIATED = "Remediated"
    DRIFTED = "Drifted"
    # of ImageUpdateAutomations, ours alone
    HELD = "Held"
    UNMATCHED = "Unmatched"


class Reason(StrEnum):
    """Reasons of conditions and events, shared by all kinds."""

    SUCCEEDED = "Succeeded"
    PROGRESSING = "Progressing"
    PROGRESSING_WITH_RETRY = "ProgressingWithRetry"
    DEPENDENCY_NOT_READY = "DependencyNotReady"
    ACCESS_DENIED = "AccessDenied"
    INVALID_CEL_EXPRESSION = "InvalidCELExpression"
    FEATURE_GATE_DISABLED = "FeatureGateDisabled"
    DIRECTORY_CREATION_FAILED = "DirectoryCreationFailed"
    # of sources
    NEW_REVISION = "NewRevision"
    NEW_ARTIFACT = "NewArtifact"
    ARTIFACT_UP_TO_DATE = "ArtifactUpToDate"
    URL_INVALID = "URLInvalid"
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    VERIFICATION_ERROR = "VerificationError"
    INVALID_PROVIDER_CONFIGURATION = "InvalidProviderConfiguration"
    GIT_OPERATION_SUCCEEDED = "GitOperationSucceeded"
    GIT_OPERATION_FAILED = "GitOperationFailed"
    INCLUDE_CHANGE = "IncludeChange"
    NOT_FOUND = "NotFound"
    NO_ARTIFACT = "NoArtifact"
    STORAGE_OPERATION_FAILED = "StorageOperationFailed"
    INVALID_STS_CONFIGURATION = "InvalidSTSConfiguration"
    BUCKET_OPERATION_SUCCEEDED = "BucketOperationSucceeded"
    BUCKET_OPERATION_FAILED = "BucketOperationFailed"
    OCI_ARTIFACT_PULL_FAILED = "OCIArtifactPullFailed"
    OCI_ARTIFACT_LAYER_OPERATION_FAILED = "OCIArtifactLayerOperationFailed"
    INDEXATION_FAILED = "IndexationFailed"
    CHART_PULL_SUCCEEDED = "ChartPullSucceeded"
    CHART_PULL_ERROR = "ChartPullError"
    CHART_PACKAGE_SUCCEEDED = "ChartPackageSucceeded"
    CHART_PACKAGE_ERROR = "ChartPackageError"
    INVALID_CHART_REFERENCE = "InvalidChartReference"
    VALUES_FILES_ERROR = "ValuesFilesError"
    DEPENDENCY_BUILD_ERROR = "DependencyBuildError"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    NO_SOURCE_ARTIFACT = "NoSourceArtifact"
    STAT_OPERATION_FAILED = "StatOperationFailed"
    READ_OPERATION_FAILED = "ReadOperationFailed"
    ACQUIRE_LOCK_FAILED = "AcquireLockFailed"
    INVALID_PATH = "InvalidPath"
    ARCHIVE_OPERATION_FAILED = "ArchiveOperationFailed"
    SYMLINK_UPDATE_FAILED = "SymlinkUpdateFailed"
    CACHE_OPERATION_FAILED = "CacheOperationFailed"
    PATCH_OPERATION_FAILED = "PatchOperationFailed"
    # of Kustomizations
    RECONCILIATION_SUCCEEDED = "ReconciliationSucceeded"
    RECONCILIATION_FAILED = "ReconciliationFailed"
    ARTIFACT_FAILED = "ArtifactFailed"
    BUILD_FAILED = "BuildFailed"
    PRUNE_FAILED = "PruneFailed"
    HEALTH_CHECK_FAILED = "HealthCheckFailed"
    HEALTH_CHECK_CANCELED = "HealthCheckCanceled"
    # of HelmReleases
    INSTALL_SUCCEEDED = "InstallSucceeded"
    INSTALL_FAILED = "InstallFailed"
    UPGRADE_SUCCEEDED = "UpgradeSucceeded"
    UPGRADE_FAILED = "UpgradeFailed"
    TEST_SUCCEEDED = "TestSucceeded"
    TEST_FAILED = "TestFailed"
    ROLLBACK_SUCCEEDED = "RollbackSucceeded"
    ROLLBACK_FAILED = "RollbackFailed"
    UNINSTALL_SUCCEEDED = "UninstallSucceeded"
    UNINSTALL_FAILED = "UninstallFailed"
    DRIFT_DETECTED = "DriftDetected"
    NO_DRIFT_DETECTED = "NoDriftDetected"
    RETRIES_EXCEEDED = "RetriesExceeded"
    MISSING_ROLLBACK_TARGET = "MissingRollbackTarget"
    STATE_ERROR = "StateError"
    VALUES_ERROR = "ValuesError"
    # of ImageUpdateAutomations
    INVALID_UPDATE_STRATEGY = "InvalidUpdateStrategy"
    INVALID_SOURCE_CONFIGURATION = "InvalidSourceConfiguration"
    SOURCE_MANAGER_FAILED = "SourceManagerFailed"
    UPDATE_FAILED = "UpdateFailed"
    INVALID_POLICY_SELECTOR = "InvalidPolicySelector"
    REMOVED_TEMPLATE_FIELD = "RemovedTemplateField"
    # of ArtifactGenerators
    SOURCE_FETCH_FAILED = "SourceFetchFailed"
    RECONCILIATION_DISABLED = "ReconciliationDisabled"
    # of Receivers
    TOKEN_NOT_FOUND = "TokenNotFound"  # noqa: S105 - a reason
    VALIDATION_FAILED = "ValidationFailed"  # also of ArtifactGenerators, and of Kustomizations, where it is ours alone
    # of ImageRepositories and ImagePolicies
    IMAGE_URL_INVALID = "ImageURLInvalid"
    INVALID_POLICY = "InvalidPolicy"
    INTERVAL_NOT_CONFIGURED = "IntervalNotConfigured"
    FAILURE = "Failure"  # no tag is left
    # ours alone
    ON_HOLD = "OnHold"
    TAGS_MISSING = "TagsMissing"
    CONFLICT = "Conflict"
    HISTORY_REWRITTEN = "HistoryRewritten"
    NON_DETERMINISTIC_RENDER = "NonDeterministicRender"
    LOOKUP_UNSUPPORTED = "LookupUnsupported"
    READ_ONLY = "ReadOnly"
    DEPENDENTS_LEFT = "DependentsLeft"
    TERMINATION_OVERDUE = "TerminationOverdue"
    SHARED_CREDENTIAL = "SharedCredential"
    REVERTED = "Reverted"
    UNMATCHED = "Unmatched"
    SIGNING_FAILED = "SigningFailed"
    PUSH_REFUSED = "PushRefused"
    PULL_REQUEST_OPENED = "PullRequestOpened"


OF_BUILDING: Final = frozenset(
    {
        Reason.INVALID_CHART_REFERENCE,
        Reason.VALUES_FILES_ERROR,
        Reason.DEPENDENCY_BUILD_ERROR,
        Reason.CHART_PACKAGE_ERROR,
    }
)
"""Reasons for which something could not be made of what was fetched: the condition is BuildFailed, not FetchFailed."""
