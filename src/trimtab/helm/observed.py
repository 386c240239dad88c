"""What is remembered of a release, in and out of the status of its HelmRelease. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from trimtab.api.helmreleasestatus import HelmReleaseStatus, ReleaseAction, ReleaseSnapshot, TestHookStatus
from trimtab.helm.memory import SNAPSHOT_VERSION, Attempt, Memory, Seen
from trimtab.helm.record import Phase, Record, fingerprint
from trimtab.helm.revision import is_of
from trimtab.helm.values import digest_of


def recall(status: HelmReleaseStatus, history: Sequence[Record], owner: str) -> Memory:
    """What `status` remembers; the records say themselves whether the newest is of the HelmRelease with uid `owner`."""
    newest = history[0] if history else None
    action = status.last_attempted_release_action
    return Memory(
        seen=tuple(map(_seen, status.history)),
        attempt=Attempt(
            status.last_attempted_generation,
            status.last_attempted_revision,
            status.last_attempted_config_digest,
            status.last_attempted_revision_digest,
        ),
        action="install" if action == ReleaseAction.INSTALL else "upgrade" if action else None,
        failures=status.failures,
        install_failures=status.install_failures,
        upgrade_failures=status.upgrade_failures,
        observed_generation=status.observed_generation,
        post_renderers=status.observed_post_renderers_digest,
        common_metadata=status.observed_common_metadata_digest,
        begun=newest.version if newest is not None and is_of(newest, owner) else 0,
        proven=status.last_release_revision,
    )


def remembered(status: HelmReleaseStatus, memory: Memory, history: Sequence[Record]) -> HelmReleaseStatus:
    """`status` with what `memory` has to keep; `history` are the records, the newest first.

    `observedGeneration` is not touched: it moves when a reconcile ends.
    """
    records = {record.version: record for record in history}
    before, newest = {one.version: one for one in status.history}, max(records, default=0)
    snapshots = [
        snapshot(record, one, before.get(one.version) or _making(record, newest, memory, before))
        for one in memory.seen
        if (record := records.get(one.version)) is not None
    ]
    return msgspec.structs.replace(
        status,
        history=tuple(snapshots),
        last_attempted_generation=memory.attempt.generation,
        last_attempted_revision=memory.attempt.chart_version,
        last_attempted_config_digest=memory.attempt.config_digest,
        last_attempted_revision_digest=memory.attempt.chart_digest,
        last_attempted_release_action=memory.action or "",
        failures=memory.failures,
        install_failures=memory.install_failures,
        upgrade_failures=memory.upgrade_failures,
        observed_post_renderers_digest=memory.post_renderers,
        observed_common_metadata_digest=memory.common_metadata,
        last_release_revision=memory.proven,
    )


class Making(NamedTuple):
    """What only the status knows of a revision: what made it, and the digest of its chart in a registry."""

    action: str = ""
    oci_digest: str = ""


def snapshot(record: Record, seen: Seen, making: Making | ReleaseSnapshot) -> ReleaseSnapshot:
    """`record` as the status shows it."""
    info = record.info
    return ReleaseSnapshot(
        api_version=SNAPSHOT_VERSION,
        digest=fingerprint(record),
        name=record.name,
        namespace=record.namespace,
        version=record.version,
        status=info.status,
        action=making.action,
        chart_name=record.chart_name,
        chart_version=record.chart_version,
        app_version=str(record.metadata.get("appVersion") or ""),
        config_digest=digest_of(record.values),
        first_deployed=info.first_deployed or "1970-01-01T00:00:00Z",
        last_deployed=info.last_deployed or "1970-01-01T00:00:00Z",
        deleted=info.deleted or None,
        test_hooks=_tests(record, seen.tests),
        oci_digest=making.oci_digest,
    )


def _making(record: Record, newest: int, memory: Memory, before: Mapping[int, ReleaseSnapshot]) -> Making:
    """That of a revision that the status has not told of; the newest one was made just now."""
    if (to := record.info.rollback_revision) != 0:
        return Making(ReleaseAction.ROLLBACK, before[to].oci_digest if to in before else "")
    return Making(memory.action or "", memory.attempt.chart_digest) if record.version == newest else Making()


def _seen(one: ReleaseSnapshot) -> Seen:
    tests = None if one.test_hooks is None else {name: hook.phase for name, hook in one.test_hooks.items()}
    return Seen(one.version, one.digest if one.api_version == SNAPSHOT_VERSION else "", tests)


def _tests(record: Record, phases: Mapping[str, str] | None) -> Mapping[str, TestHookStatus] | None:
    if phases is None:
        return None
    runs = {hook.name: hook.last_run for hook in record.hooks or ()}
    return {
        name: TestHookStatus(
            last_started=(runs[name].started_at or "") if name in runs else "",
            last_completed=(runs[name].completed_at or "") if name in runs else "",
            phase=phase or Phase.UNKNOWN,
        )
        for name, phase in phases.items()
    }
