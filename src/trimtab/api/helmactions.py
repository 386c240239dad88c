"""What a HelmRelease says of each action: how it is done, how long it may take, and what follows its failure."""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from trimtab.api.schema import Rule, doc, duration, named
from trimtab.base.durations import parse_duration

DEFAULT_TIMEOUT_S = 300.0
DEFAULT_RETRY_S = 300.0


class Strategy(StrEnum):
    """Values of `strategy.name`: what follows a failed install or upgrade."""

    REMEDIATE = "RemediateOnFailure"
    RETRY = "RetryOnFailure"


class RemediationStrategy(StrEnum):
    """Values of `upgrade.remediation.strategy`."""

    ROLLBACK = "rollback"
    UNINSTALL = "uninstall"


class CrdPolicy(StrEnum):
    """Values of `crds`: what happens with the definitions in the chart's `crds/`. They are never deleted."""

    SKIP = "Skip"
    CREATE = "Create"
    CREATE_REPLACE = "CreateReplace"


class ServerSideApply(StrEnum):
    """Values of `serverSideApply` of an upgrade and of a rollback."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    AUTO = "auto"


class ChartNameChange(StrEnum):
    """Values of `upgrade.chartNameChangeStrategy`."""

    REINSTALL = "Reinstall"
    IN_PLACE = "InPlaceUpdate"


class Propagation(StrEnum):
    """Values of `uninstall.deletionPropagation`."""

    BACKGROUND = "background"
    FOREGROUND = "foreground"
    ORPHAN = "orphan"


class _Timed(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    timeout: Annotated[str, duration("How long it may take; `spec.timeout` when empty.")] = ""

    def timeout_s(self, otherwise: float) -> float:
        """Seconds it may take, `otherwise` if it does not say. Raises ValueError."""
        return parse_duration(self.timeout) if self.timeout else otherwise


class ActionStrategy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What follows a failure: remediation, or the same again."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.retryInterval) || self.name == 'RetryOnFailure'",
            ".retryInterval can only be set when .name is 'RetryOnFailure'",
        ),
    )

    name: Annotated[
        str,
        doc(
            "RemediateOnFailure does what `remediation` says; RetryOnFailure leaves all as it is and tries again.",
            enum=list(Strategy),
        ),
    ]
    retry_interval: Annotated[str, duration("How long to wait before trying again; 5m when empty.")] = ""

    @property
    def retry_interval_s(self) -> float:
        """Seconds before trying again. Raises ValueError."""
        return parse_duration(self.retry_interval) if self.retry_interval else DEFAULT_RETRY_S


class InstallRemediation(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What follows a failed install: it is uninstalled, and tried again."""

    retries: Annotated[int, doc("How often to try again; without end when negative.")] = 0
    ignore_test_failures: Annotated[
        bool | None, doc("Whether failed tests are no failure; as `test.ignoreFailures` when empty.")
    ] = None
    remediate_last_failure: Annotated[
        bool | None, doc("Whether to uninstall after the last try as well; false when empty.")
    ] = None


class UpgradeRemediation(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What follows a failed upgrade: a rollback or an uninstall, and another try."""

    retries: Annotated[int, doc("How often to try again; without end when negative.")] = 0
    ignore_test_failures: Annotated[
        bool | None, doc("Whether failed tests are no failure; as `test.ignoreFailures` when empty.")
    ] = None
    remediate_last_failure: Annotated[
        bool | None, doc("Whether to remediate after the last try as well; when empty, if there are any retries.")
    ] = None
    strategy: Annotated[str, doc("How to remediate; `rollback` when empty.", enum=list(RemediationStrategy))] = ""


class _Applying(_Timed, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    disable_wait: Annotated[bool, doc("Do not wait until the objects are healthy.")] = False
    disable_wait_for_jobs: Annotated[bool, doc("Do not wait until Jobs are complete.")] = False
    disable_hooks: Annotated[bool, doc("Run no hooks.")] = False


class Install(_Applying, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a release is installed."""

    strategy: Annotated[ActionStrategy | None, doc("What follows a failure; RemediateOnFailure when empty.")] = None
    remediation: Annotated[InstallRemediation | None, doc("What follows a failure; nothing when empty.")] = None
    disable_take_ownership: Annotated[bool, doc("Refuse objects that exist and belong to no release or another.")] = (
        False
    )
    disable_open_api_validation: Annotated[
        bool, msgspec.Meta(description="Do not check the objects against the schemas of the API server.")
    ] = msgspec.field(default=False, name="disableOpenAPIValidation")
    disable_schema_validation: Annotated[bool, doc("Do not check the values against the chart's schema.")] = False
    replace: Annotated[bool, doc("Use the name of a release that was uninstalled and whose history was kept.")] = False
    skip_crds: Annotated[bool, doc("Deprecated: the same as `crds: Skip`.")] = msgspec.field(
        default=False, name="skipCRDs"
    )
    crds: Annotated[
        str, doc("What happens with the definitions in the chart's `crds/`; Create when empty.", enum=list(CrdPolicy))
    ] = ""
    create_namespace: Annotated[bool, doc("Create the target namespace if it does not exist. It is not deleted.")] = (
        False
    )
    server_side_apply: Annotated[
        bool | None, doc("Whether objects are written by server-side apply; true when empty.")
    ] = None

    @property
    def crd_policy(self) -> CrdPolicy:
        """What happens with the definitions. Raises ValueError."""
        if self.skip_crds:
            return CrdPolicy.SKIP
        return CrdPolicy(self.crds or CrdPolicy.CREATE)


class Upgrade(_Applying, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a release is upgraded."""

    strategy: Annotated[ActionStrategy | None, doc("What follows a failure; RemediateOnFailure when empty.")] = None
    remediation: Annotated[UpgradeRemediation | None, doc("What follows a failure; nothing when empty.")] = None
    disable_take_ownership: Annotated[bool, doc("Refuse objects that exist and belong to no release or another.")] = (
        False
    )
    disable_open_api_validation: Annotated[
        bool, msgspec.Meta(description="Do not check the objects against the schemas of the API server.")
    ] = msgspec.field(default=False, name="disableOpenAPIValidation")
    disable_schema_validation: Annotated[bool, doc("Do not check the values against the chart's schema.")] = False
    force: Annotated[bool, doc("Replace objects that cannot be changed; without meaning for server-side apply.")] = (
        False
    )
    preserve_values: Annotated[bool, doc("Lay the values over those of the last release.")] = False
    cleanup_on_fail: Annotated[bool, doc("Delete what a failed upgrade created.")] = False
    crds: Annotated[
        str, doc("What happens with the definitions in the chart's `crds/`; Skip when empty.", enum=list(CrdPolicy))
    ] = ""
    server_side_apply: Annotated[
        str,
        doc(
            "Whether objects are written by server-side apply; as the last release was, which is `auto`, when empty.",
            enum=list(ServerSideApply),
        ),
    ] = ""
    chart_name_change_strategy: Annotated[
        str,
        doc(
            "What happens when the chart has another name: the release is uninstalled and installed, or upgraded. "
            "Reinstall when empty.",
            enum=list(ChartNameChange),
        ),
    ] = ""

    @property
    def crd_policy(self) -> CrdPolicy:
        """What happens with the definitions. Raises ValueError."""
        return CrdPolicy(self.crds or CrdPolicy.SKIP)

    @property
    def reinstalls(self) -> bool:
        """Whether a chart of another name takes the place of the release instead of upgrading it."""
        return self.chart_name_change_strategy != ChartNameChange.IN_PLACE


class TestFilter(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A test by its name."""

    __test__: ClassVar[bool] = False

    name: Annotated[str, named("Name of the test.")]
    exclude: Annotated[bool, doc("Run all but this one.")] = False


class Test(_Timed, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Whether and how the chart's tests are run after an install and an upgrade."""

    __test__: ClassVar[bool] = False

    enable: Annotated[bool, doc("Run the tests.")] = False
    ignore_failures: Annotated[bool, doc("Failed tests are no failure of the action.")] = False
    filters: Annotated[tuple[TestFilter, ...], doc("Which tests to run; all when empty.")] = ()


class Rollback(_Applying, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a release is rolled back."""

    recreate: Annotated[bool, doc("Deprecated, and without effect.")] = False
    force: Annotated[bool, doc("Replace objects that cannot be changed; without meaning for server-side apply.")] = (
        False
    )
    cleanup_on_fail: Annotated[bool, doc("Delete what a failed rollback created.")] = False
    server_side_apply: Annotated[
        str,
        doc(
            "Whether objects are written by server-side apply; as the release that is rolled back to was, which is "
            "`auto`, when empty.",
            enum=list(ServerSideApply),
        ),
    ] = ""


class Uninstall(_Timed, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How a release is uninstalled."""

    disable_hooks: Annotated[bool, doc("Run no hooks.")] = False
    keep_history: Annotated[bool, doc("Keep the records of the release.")] = False
    disable_wait: Annotated[bool, doc("Do not wait until the objects are gone.")] = False
    deletion_propagation: Annotated[
        str, doc("What is deleted along with an object.", enum=list(Propagation), default="background")
    ] = "background"
