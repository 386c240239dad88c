"""What a HelmRelease says of failures, tests and drift, with every default filled in. Pure."""

from typing import NamedTuple

from trimtab.api.helmactions import (
    ActionStrategy,
    Install,
    InstallRemediation,
    RemediationStrategy,
    Strategy,
    Test,
    Upgrade,
    UpgradeRemediation,
)
from trimtab.api.helmrelease import DriftDetectionMode, HelmReleaseSpec


class Remedy(NamedTuple):
    """What follows the failure of an install or an upgrade.

    `retry_s` is a number where nothing is remedied, but the same tried again after so many seconds.
    """

    retries: int = 0
    last_too: bool = False
    uninstalls: bool = False
    ignores_tests: bool = False
    retry_s: float | None = None

    def exhausted(self, failures: int) -> bool:
        """Whether there are no tries left after so many failures."""
        return self.retry_s is None and 0 <= self.retries < failures


class Policy(NamedTuple):
    """All that decides about the next action and stands in the spec."""

    install: Remedy
    upgrade: Remedy
    tests: bool = False
    corrects_drift: bool = False
    reinstalls: bool = True
    timeout_s: float = 300.0


def policy_of(spec: HelmReleaseSpec) -> Policy:
    """The policy in `spec`. Raises ValueError for a duration that is none."""
    install, upgrade, test = spec.install or Install(), spec.upgrade or Upgrade(), spec.test or Test()
    installing, upgrading = install.remediation or InstallRemediation(), upgrade.remediation or UpgradeRemediation()
    return Policy(
        install=Remedy(
            installing.retries,
            bool(installing.remediate_last_failure),
            True,
            _or(installing.ignore_test_failures, test.ignore_failures),
            _retry_s(install.strategy),
        ),
        upgrade=Remedy(
            upgrading.retries,
            _or(upgrading.remediate_last_failure, upgrading.retries > 0),
            upgrading.strategy == RemediationStrategy.UNINSTALL,
            _or(upgrading.ignore_test_failures, test.ignore_failures),
            _retry_s(upgrade.strategy),
        ),
        tests=test.enable,
        corrects_drift=spec.drift_mode == DriftDetectionMode.ENABLED,
        reinstalls=upgrade.reinstalls,
        timeout_s=max(install.timeout_s(spec.timeout_s), upgrade.timeout_s(spec.timeout_s)),
    )


def longest_s(spec: HelmReleaseSpec) -> float:
    """The time that the slowest action in `spec` may take. Raises ValueError for a duration that is none."""
    actions = (spec.install, spec.upgrade, spec.test, spec.rollback, spec.uninstall)
    return max([spec.timeout_s, *(action.timeout_s(spec.timeout_s) for action in actions if action is not None)])


def _retry_s(strategy: ActionStrategy | None) -> float | None:
    return strategy.retry_interval_s if strategy is not None and strategy.name == Strategy.RETRY else None


def _or(value: bool | None, otherwise: bool) -> bool:
    return otherwise if value is None else value
