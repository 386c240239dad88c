"""Writes what happened to a HelmRelease into its status and into Events.

This is the one place where errors of releases become conditions.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from trimtab.api import annotations
from trimtab.api.gvk import HELM_RELEASE
from trimtab.api.helmrelease import HelmRelease
from trimtab.api.helmreleasestatus import HelmReleaseStatus
from trimtab.api.kustomizestatus import Inventory
from trimtab.api.names import FORCE_AT, HELM_MANAGER, ConditionType, Reason
from trimtab.base.clock import Clock
from trimtab.base.durations import format_duration
from trimtab.base.errors import Terminal, TrimtabError, Waiting
from trimtab.controllers import drifting, progress
from trimtab.controllers.auditing import Auditor
from trimtab.controllers.index import Published, SourceId
from trimtab.controllers.offering import about
from trimtab.controllers.release import Release
from trimtab.helm.memory import Memory
from trimtab.helm.observed import remembered
from trimtab.helm.record import Record
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.manifests.conditions import Condition, find
from trimtab.manifests.refs import Key
from trimtab.runtime.events import EventType, Recorder
from trimtab.runtime.status import merge_difference, patch_status
from trimtab.targets.contract import Effect, Outcome
from trimtab.targets.kubernetes import inventory

log = logging.getLogger(__name__)

_VERBS: Final = {
    Reason.INSTALL_SUCCEEDED: "install succeeded",
    Reason.INSTALL_FAILED: "install failed",
    Reason.UPGRADE_SUCCEEDED: "upgrade succeeded",
    Reason.UPGRADE_FAILED: "upgrade failed",
    Reason.TEST_SUCCEEDED: "test succeeded",
    Reason.TEST_FAILED: "test failed",
    Reason.ROLLBACK_SUCCEEDED: "rollback succeeded",
    Reason.ROLLBACK_FAILED: "rollback failed",
    Reason.UNINSTALL_SUCCEEDED: "uninstall succeeded",
    Reason.UNINSTALL_FAILED: "uninstall failed",
}
_CONDITIONS: Final = {
    Reason.INSTALL_SUCCEEDED: ConditionType.RELEASED,
    Reason.INSTALL_FAILED: ConditionType.RELEASED,
    Reason.UPGRADE_SUCCEEDED: ConditionType.RELEASED,
    Reason.UPGRADE_FAILED: ConditionType.RELEASED,
    Reason.TEST_SUCCEEDED: ConditionType.TEST_SUCCESS,
    Reason.TEST_FAILED: ConditionType.TEST_SUCCESS,
    Reason.ROLLBACK_SUCCEEDED: ConditionType.REMEDIATED,
    Reason.ROLLBACK_FAILED: ConditionType.REMEDIATED,
    Reason.UNINSTALL_SUCCEEDED: ConditionType.REMEDIATED,
    Reason.UNINSTALL_FAILED: ConditionType.REMEDIATED,
}
_SHOWN: Final = 10
_NOTHING: Final[Mapping[str, str]] = {}
_MOST_ENTRIES: Final = 1_000
"""So many objects the status lists: what is of a longer release is in its record alone."""


class ReleaseScribe:
    """One per process. `auditor` keeps the ledger, if there is one."""

    def __init__(self, client: Client, recorder: Recorder, clock: Clock, auditor: Auditor | None = None) -> None:
        self._auditor = auditor
        self._switches: dict[Key, dict[str, str]] = {}
        self._client = client
        self._recorder = recorder
        self._clock = clock

    def remember(
        self, hr: HelmRelease, release: Release, memory: Memory, history: Sequence[Record], storage: str
    ) -> None:
        """Draft what is known by now. `storage` is where the records in `history` are: there they are found again."""
        status = remembered(release.draft, memory, history)
        release.draft = msgspec.structs.replace(
            status, helm_chart=_chart(hr), storage_namespace=storage, inventory=_inventory(release)
        )

    def honour(self, hr: HelmRelease, release: Release, annotation: str) -> None:
        """Draft that somebody asked for more than a look and got it: an action that is done by now, or new tries."""
        moment, replace = hr.metadata.annotations.get(annotation, ""), msgspec.structs.replace
        if annotation == FORCE_AT:
            release.draft = replace(release.draft, last_handled_force_at=moment)
        else:
            release.draft = replace(
                release.draft, last_handled_reset_at=moment, failures=0, install_failures=0, upgrade_failures=0
            )

    def chart(self, hr: HelmRelease, release: Release) -> None:
        """Draft which HelmChart is made: from now on it is known by that, even if the release never gets further."""
        release.draft = msgspec.structs.replace(release.draft, helm_chart=_chart(hr))

    async def begin(self, hr: HelmRelease, release: Release, action: str, limit_s: float) -> None:
        """Say that an action begins."""
        words = f"running '{action}' action with timeout of {format_duration(limit_s)}"
        release.draft = progress.working(release.draft, hr.metadata.generation, words, self._clock.now())
        await self.write(hr, release)

    def ended(
        self, hr: HelmRelease, release: Release, reason: Reason, chart: str, seconds: float, words: str = ""
    ) -> None:
        """Draft how an action ended, after so many seconds; and an event that tells it."""
        kind, generation, now = _CONDITIONS[reason], hr.metadata.generation, self._clock.now()
        status = release.draft
        newest = status.history[0] if status.history else None
        version = f".v{newest.version}" if newest is not None else ""
        of = f"{hr.release_namespace}/{hr.release_name}{version}{f' with chart {chart}' if chart else ''}"
        message = release.hiding.text(f"Helm {_VERBS[reason]} for release {of}{f': {words}' if words else ''}")
        good = reason.endswith("Succeeded")
        if kind is ConditionType.RELEASED:
            for other in (ConditionType.REMEDIATED, ConditionType.TEST_SUCCESS):
                status = progress.unflagged(status, other)
            status = msgspec.structs.replace(status, last_attempted_release_action_duration=format_duration(seconds))
        told = progress.flagged if good else progress.denied
        release.draft = told(status, kind, generation, reason, message, now)
        self._event(hr, release, "Normal" if good else "Warning", reason, message, chart.rpartition("@")[2])

    async def fail(self, hr: HelmRelease, release: Release, failure: TrimtabError) -> None:
        """Say what went wrong, or what has to happen first. A repeated failure is not written again."""
        now, generation = self._clock.now(), hr.metadata.generation
        message = release.hiding.text(failure.message)
        if isinstance(failure, Waiting) and failure.reason == Reason.PROGRESSING:
            status = progress.working(release.draft, generation, message, now)
        else:
            stalled = isinstance(failure, Terminal)
            status = progress.failed(release.draft, generation, failure.reason, message, now, stalled=stalled)
        release.draft = handled(hr, status)
        wrote = await self.write(hr, release)
        if wrote and not isinstance(failure, Waiting):
            self._settled(hr, release, failure.reason, message)
        if wrote and not isinstance(failure, Waiting) and failure.reason not in _CONDITIONS:
            self._event(hr, release, "Warning", failure.reason, message)

    async def give_up(self, hr: HelmRelease, release: Release, reason: str, why: str) -> None:
        """Say that there is no try left. Ready tells what failed, Stalled why it stays so."""
        now, generation = self._clock.now(), hr.metadata.generation
        said = _bad(release.draft)
        failure, message = (said.reason, said.message) if said is not None else (reason, why)
        status = progress.failed(release.draft, generation, failure, message, now, stalled=True)
        release.draft = handled(
            hr, progress.flagged(status, ConditionType.STALLED, generation, reason, release.hiding.text(why), now)
        )
        if await self.write(hr, release):
            self._settled(hr, release, reason, release.hiding.text(why))
            self._event(hr, release, "Warning", reason, why)

    async def wait(self, hr: HelmRelease, release: Release, why: str) -> None:
        """Say that there will be another try."""
        said = _bad(release.draft)
        reason, message = (said.reason, f"{said.message}; {why}") if said is not None else (Reason.PROGRESSING, why)
        await self.fail(hr, release, Waiting(reason, message))

    async def finish(self, hr: HelmRelease, release: Release, *, watched: bool) -> None:
        """Say that it is as wished."""
        now, generation, status = self._clock.now(), hr.metadata.generation, release.draft
        tested, released = (
            find(status.conditions, kind) for kind in (ConditionType.TEST_SUCCESS, ConditionType.RELEASED)
        )
        said = next((one for one in (tested, released) if one is not None and one.true), None)
        reason, message = (said.reason, said.message) if said is not None else _standing(status)
        status = progress.ready(status, generation, reason, message, now)
        if not watched:
            status = progress.unflagged(status, ConditionType.DRIFTED)
        elif release.unresolved:
            listed = ", ".join(sorted(map(str, release.unresolved))[:_SHOWN])
            words = f"{len(release.unresolved)} objects differ: {listed}"
            status = progress.flagged(status, ConditionType.DRIFTED, generation, Reason.DRIFT_DETECTED, words, now)
        else:
            words = "all objects are as released"
            status = progress.denied(status, ConditionType.DRIFTED, generation, Reason.NO_DRIFT_DETECTED, words, now)
        release.draft = handled(hr, status)
        before = find(release.status.conditions, ConditionType.READY)
        news = before is None or not before.true or before.message != message
        if await self.write(hr, release) and news:
            self._settled(hr, release, reason, message)

    def stand(
        self,
        hr: HelmRelease,
        release: Release,
        source: SourceId,
        published: Published | None,
        chart: str = "",
        values: str = "",
    ) -> None:
        """From now on `release` is about `chart`, as `source` has `published` it, with `values` (a digest)."""
        if self._auditor is None:
            return
        known, handled = self._switches.setdefault(hr.key, {}), release.status.last_handled_reconcile_at
        who = self._auditor.observe(hr, known, handled, suspended=False)
        provenance = self._auditor.provenance(source, published, who) if published is not None else release.provenance
        release.provenance = provenance.of_chart(chart, self._auditor.ledger.seal().digest(values))
        release.witness = self._auditor.witness(hr, release.provenance, release.hiding.text, release.place)

    def suspended(self, hr: HelmRelease) -> None:
        """Put on record that nothing is done any more."""
        if self._auditor is not None:
            self._auditor.switched(hr, self._switches.setdefault(hr.key, {}), "suspended", "true")

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._switches.pop(key, None)

    def _settled(self, hr: HelmRelease, release: Release, result: str, message: str) -> None:
        if self._auditor is not None:
            self._auditor.settled(hr, release.provenance, result, message)

    def announce(self, hr: HelmRelease, release: Release, outcomes: Sequence[Outcome]) -> None:
        """Events about drift."""
        outcomes = [release.hiding.outcome(outcome) for outcome in outcomes]
        release.unresolved = drifting.unresolved(release.unresolved, outcomes)
        for outcome in outcomes:
            if outcome.effect in (Effect.CORRECTED, Effect.DRIFTED):
                told = drifting.told_with(outcome, len(release.unresolved))
                self._event(hr, release, *drifting.event_of(outcome), outcome.message, more=told)

    def notify(self, hr: HelmRelease, release: Release) -> None:
        """Warnings about what was noticed on the way, each told once."""
        for notice in release.at.target.notices.take(hr.key):
            self._event(hr, release, "Warning", notice.reason, notice.words)

    def warn(self, hr: HelmRelease, release: Release, reason: str, message: str) -> None:
        """A Warning on the object and in the log."""
        log.warning("HelmRelease %s: %s", hr.key, release.hiding.text(message))
        self._event(hr, release, "Warning", reason, message)

    def strangers(self, hr: HelmRelease, release: Release) -> None:
        """A Warning about annotations of ours without a meaning here."""
        if strange := annotations.strangers(HELM_RELEASE.kind, hr.metadata.annotations):
            self._event(hr, release, "Warning", annotations.UNKNOWN, "; ".join(strange))

    async def write(self, hr: HelmRelease, release: Release) -> bool:
        """Patch the status where the draft differs from it. Says whether it did."""
        release.draft = release.hiding.status(release.draft)
        change = merge_difference(msgspec.to_builtins(release.status), msgspec.to_builtins(release.draft))
        if not change:
            return False
        resource, status = await self._client.discovery.find(HELM_RELEASE), release.draft
        try:
            await patch_status(self._client, resource, hr.key, change, manager=HELM_MANAGER)
        except NotFound:
            return False
        release.status = status
        return True

    def _event(
        self,
        hr: HelmRelease,
        release: Release,
        type_: EventType,
        reason: str,
        message: str,
        revision: str = "",
        more: Mapping[str, str] = _NOTHING,
    ) -> None:
        told = {**more, "revision": revision} if revision else more
        metadata = {f"{HELM_RELEASE.group}/{name}": value for name, value in told.items()}
        self._recorder.record(about(hr), type_, reason, release.hiding.text(message), metadata)


def handled(hr: HelmRelease, status: HelmReleaseStatus) -> HelmReleaseStatus:
    """`status` with the request of `hr` for a look honoured."""
    requested = hr.metadata.requested_at
    if not requested:
        return status
    return msgspec.structs.replace(
        status,
        last_handled_reconcile_at=requested,
    )


def _chart(hr: HelmRelease) -> str:
    return f"{key.namespace}/{key.name}" if (key := hr.chart_key) is not None else ""


def _standing(status: HelmReleaseStatus) -> tuple[str, str]:
    """Reason and message where the conditions do not say how the newest revision came about."""
    newest = status.history[0] if status.history else None
    if newest is None:
        return Reason.SUCCEEDED, "the release is as wished"
    of = f"{newest.namespace}/{newest.name}.v{newest.version} with chart {newest.chart_name}@{newest.chart_version}"
    return Reason.UPGRADE_SUCCEEDED, f"Helm upgrade succeeded for release {of}"


def _bad(status: HelmReleaseStatus) -> Condition | None:
    """What went wrong last, as the conditions tell it."""
    kinds = (ConditionType.TEST_SUCCESS, ConditionType.RELEASED, ConditionType.REMEDIATED)
    found = (find(status.conditions, kind) for kind in kinds)
    return next((one for one in found if one is not None and one.status == "False"), None)


def _inventory(release: Release) -> Inventory | None:
    if not release.inventory or len(release.inventory) > _MOST_ENTRIES or release.place is None:
        return None
    return msgspec.convert(inventory.write(release.inventory, release.at.cluster), Inventory)
