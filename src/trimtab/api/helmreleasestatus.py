"""The status of a HelmRelease: what was released last, how it went, and what is on record of it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from trimtab.api.kustomizestatus import Inventory
from trimtab.api.schema import doc, moment
from trimtab.manifests.conditions import Condition


class ReleaseAction(StrEnum):
    """What made a revision."""

    INSTALL = "install"
    UPGRADE = "upgrade"
    ROLLBACK = "rollback"
    UNINSTALL = "uninstall"
    UNINSTALL_REMEDIATION = "uninstall-remediation"


class TestHookStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a test went."""

    __test__: ClassVar[bool] = False

    last_started: Annotated[str, moment("When it was started last.")] = ""
    last_completed: Annotated[str, moment("When it ended last.")] = ""
    phase: Annotated[str, doc("How it ended.")] = ""


class ReleaseSnapshot(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One revision of the release, as it was recorded."""

    api_version: Annotated[str, doc("How the digest was made.")] = ""
    digest: Annotated[str, doc("Digest of the record.")]
    name: Annotated[str, doc("Name of the release.")]
    namespace: Annotated[str, doc("Namespace of the release.")]
    version: Annotated[int, doc("Number of the revision.")]
    status: Annotated[str, doc("What became of it.")]
    action: Annotated[str, doc("What made it.")] = ""
    chart_name: Annotated[str, doc("Name of the chart.")]
    chart_version: Annotated[str, doc("Version of the chart.")]
    app_version: Annotated[str, doc("Version of what the chart installs.")] = ""
    config_digest: Annotated[str, doc("Digest of the values.")]
    first_deployed: Annotated[str, moment("When the release was first installed.")]
    last_deployed: Annotated[str, moment("When this revision was made.")]
    deleted: Annotated[str | None, moment("When it was uninstalled.")] = None
    test_hooks: Annotated[Mapping[str, TestHookStatus] | None, doc("The tests that were run, by their names.")] = None
    oci_digest: Annotated[str, doc("Digest of the chart in its registry.")] = ""


class HelmReleaseStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What was released last, and how it went."""

    observed_generation: Annotated[
        int, doc("Generation of the object that was reconciled last; -1 before the first time.", format="int64")
    ] = -1
    observed_post_renderers_digest: Annotated[str, doc("Digest of the post-renderers that were applied last.")] = ""
    observed_common_metadata_digest: Annotated[str, doc("Digest of the common metadata that was applied last.")] = ""
    last_attempted_generation: Annotated[int, doc("Generation that was tried last.", format="int64")] = 0
    conditions: Annotated[tuple[Condition, ...], doc("How it goes.")] = ()
    helm_chart: Annotated[str, doc("The HelmChart that was made, as `namespace/name`.")] = ""
    storage_namespace: Annotated[str, doc("Namespace of the records.", minLength=1, maxLength=63)] = ""
    history: Annotated[tuple[ReleaseSnapshot, ...], doc("The last revisions, the latest first.")] = ()
    inventory: Annotated[
        Inventory | None, doc("Every object that was, or is about to be, applied: written before the effect.")
    ] = None
    last_attempted_release_action: Annotated[
        str, doc("The action that was tried last.", enum=[ReleaseAction.INSTALL, ReleaseAction.UPGRADE])
    ] = ""
    last_attempted_release_action_duration: Annotated[str, doc("How long it took.")] = ""
    failures: Annotated[int, doc("How often this wish failed.", format="int64")] = 0
    install_failures: Annotated[int, doc("How often its install failed.", format="int64")] = 0
    upgrade_failures: Annotated[int, doc("How often its upgrade failed.", format="int64")] = 0
    last_attempted_revision: Annotated[str, doc("Version of the chart that was tried last.")] = ""
    last_attempted_revision_digest: Annotated[str, doc("Its digest, where it is from a registry.")] = ""
    last_attempted_values_checksum: Annotated[str, doc("Deprecated: see `lastAttemptedConfigDigest`.")] = ""
    last_release_revision: Annotated[int, doc("Deprecated: see `history`.")] = 0
    last_attempted_config_digest: Annotated[str, doc("Digest of the values that were tried last.")] = ""
    last_handled_reconcile_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/requestedAt that was honoured last.")
    ] = ""
    last_handled_force_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/forceAt that was honoured last.")
    ] = ""
    last_handled_reset_at: Annotated[
        str, doc("Value of the annotation reconcile.fluxcd.io/resetAt that was honoured last.")
    ] = ""
