"""Writes what happened to a Kustomization into its status and into Events.

This is the one place where errors become conditions.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from trimtab.api import annotations, names
from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.api.kustomizestatus import KustomizationStatus, PlannedRevision
from trimtab.api.requests import requester
from trimtab.audit.record import Cause, Source
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, TrimtabError, Waiting
from trimtab.controllers import basis, drifting, plaintext, progress
from trimtab.controllers.app import App, Build
from trimtab.controllers.auditing import Auditor, Provenance
from trimtab.controllers.history import Trial, described, record, tells, unbuilt
from trimtab.controllers.index import Published, SourceId
from trimtab.controllers.neighbours import MOST_LEAVING, planned
from trimtab.controllers.offering import about
from trimtab.controllers.pen import Pen
from trimtab.controllers.records import Records
from trimtab.kube.client import Client
from trimtab.manifests.refs import Key, Ref
from trimtab.runtime.events import EventType, Recorder
from trimtab.targets.contract import Answer, Drift, Effect, Outcome, Witness

log = logging.getLogger(__name__)

_ORIGIN = "org.opencontainers.image.revision"
_CHANGES_SHOWN = 50
_NOTHING: Mapping[str, str] = {}


class Scribe:
    """One per process. `records` keeps the inventories; `find` gives what is remembered of an app.
    `drifted` is told of all drift. `auditor` keeps the ledger, if there is one. `shared`: other processes look after
    other apps, and have to know what ours plan.
    """

    def __init__(
        self,
        client: Client,
        recorder: Recorder,
        clock: Clock,
        records: Records,
        find: Callable[[Key], App | None],
        drifted: Callable[[Key, Drift], None],
        auditor: Auditor | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self._auditor = auditor
        self._shared = shared
        self._drifted = drifted
        self._recorder = recorder
        self._clock = clock
        self._records = records
        self._find = find
        self.pen = Pen(client, clock, records, find)

    async def intend(self, ks: Kustomization, app: App, revision: str) -> None:
        """Put the inventory on record before the first write. Raises Outdated where there is nothing to put it on."""
        if await self._records.intend(app):
            return
        message = f"applying revision {revision}"
        status = progress.working(self._flagged(ks, app), ks.metadata.generation, message, self._clock.now())
        await self.pen.write(app, msgspec.structs.replace(status, last_attempted_revision=revision))
        if app.stale:
            # it is gone: what would be applied now nobody had on record
            raise basis.Outdated(app.key)

    async def grant(self, ks: Kustomization, app: App) -> None:
        """Put on record which deletions were approved, before the first of them."""
        self._switched(ks, app, "deletions approved", app.approval)
        await self.pen.write(app, self._flagged(ks, app))

    async def wait(self, ks: Kustomization, app: App, revision: str, message: str) -> None:
        """Say what is waited for."""
        status = progress.working(self._flagged(ks, app), ks.metadata.generation, message, self._clock.now())
        await self.pen.write(app, _handled(ks, msgspec.structs.replace(status, last_attempted_revision=revision)))

    async def fail(self, ks: Kustomization, app: App, failure: TrimtabError, published: Published | None) -> None:
        """Say what went wrong, or what has to happen first. A repeated failure is not written again."""
        now, generation, before = self._clock.now(), ks.metadata.generation, self._flagged(ks, app)
        if isinstance(failure, Waiting) and failure.reason == names.Reason.PROGRESSING:
            status = progress.working(before, generation, failure.message, now)
        else:
            stalled = isinstance(failure, Terminal)
            status = progress.failed(before, generation, failure.reason, failure.message, now, stalled=stalled)
        if published is not None:
            status = msgspec.structs.replace(status, last_attempted_revision=published.artifact.revision)
            if not isinstance(failure, Waiting):
                status = self._failed(ks, app, failure.reason, published, status)
        wrote = await self.pen.write(app, _handled(ks, status), failing=True)
        if wrote and not isinstance(failure, Waiting):
            self._settled(ks, app, failure.reason, failure.message)
            revision = published.artifact.revision if published is not None else ""
            self._event(ks, "Warning", failure.reason, failure.message, revision)

    async def finish(self, ks: Kustomization, app: App, build: Build, published: Published, seconds: float) -> None:
        """Say that it is ready: one status request and one event, only if something changed.

        An app that the commit did not touch need not hurry: its status follows when there is nothing better to do.
        """
        revision, now = published.artifact.revision, self._clock.now()
        self._tell_returned(ks, app, build, revision)
        status = self._ready(ks, app, published)
        reason = names.Reason.RECONCILIATION_SUCCEEDED
        news = not tells(status.history, build.digest, reason)
        if news:
            told = described(published.artifact, app.trial, self._requester(ks, app))
            history = record(status.history, build.digest, reason, told, now, seconds)
            status = msgspec.structs.replace(status, history=history)
        if not news and self.pen.on_record(app) and _differ_in_revision_only(app.status, status):
            self.pen.laggards.add(ks.key, status)
            return
        if await self.pen.write(app, status) and news:
            self._settled(ks, app, reason, "", seconds)
            self._event(ks, "Normal", reason, f"Applied revision: {revision}", revision)

    # --- the ledger

    def stand(self, ks: Kustomization, app: App, published: Published | None) -> None:
        """From now on `app` is about what was `published`; a suspension and a request are put on record as well."""
        if self._auditor is None:
            return
        handled = app.status.last_handled_reconcile_at
        who = self._auditor.observe(ks, app.switches, handled, suspended=ks.spec.suspend)
        if published is not None:
            source = SourceId(ks.spec.source_ref.kind, ks.source_key)
            app.provenance = self._auditor.provenance(source, published, who, ks.spec.path)

    def witness(self, ks: Kustomization, app: App, build: Build | None) -> Witness | None:
        """Who attests to what is written for `app` to have `build`; None: to have nothing of it any more."""
        if self._auditor is None:
            return None
        provenance = app.provenance if build is app.build else app.enforced
        if not provenance.source.revision:
            provenance = Provenance(source=Source(revision=app.status.last_applied_revision))
        provenance = provenance.rendered(build.digest) if build is not None else provenance
        cause = None if build is not None else Cause.END
        return self._auditor.witness(ks, provenance, app.hiding.failure, app.place, cause)

    def held(self, ks: Kustomization, app: App) -> None:
        """Put on record that deletions are held, and that they no longer are."""
        self._switched(ks, app, "deletions held", app.held.reason if app.held is not None else "")

    def _switched(self, ks: Kustomization, app: App, what: str, value: str) -> None:
        if self._auditor is not None:
            self._auditor.switched(ks, app.switches, what, value)

    def _settled(self, ks: Kustomization, app: App, result: str, message: str, seconds: float = 0.0) -> None:
        if self._auditor is not None:
            provenance = app.provenance.rendered(app.build.digest if app.tried and app.build is not None else "")
            self._auditor.settled(ks, provenance, result, message, seconds)

    # --- the rest

    async def note(self, ks: Kustomization, app: App) -> None:
        """Say what is known of drift, and nothing else."""
        await self.pen.write(app, self._flagged(ks, app))

    def intended(self, app: App) -> bool:
        """Whether the inventory, as it is known now, would be found after a crash."""
        return self.pen.on_record(app) or self._records.intended(app)

    async def close(self, app: App) -> None:
        """Before an app is let go: what keeps its record beside its status goes with it."""
        await self._records.release(app)
        self._records.settled(app)

    def announce(self, ks: Kustomization, revision: str, outcomes: Sequence[Outcome]) -> None:
        """Events about objects that changed, and about drift."""
        app = self._find(ks.key)
        if app is not None:
            app.trial.note(outcomes)
            outcomes = [app.hiding.outcome(outcome) for outcome in outcomes]
        changed = [o for o in outcomes if o.effect in (Effect.CREATED, Effect.CONFIGURED, Effect.DELETED)]
        if changed:
            lines = [f"{outcome.ref} {outcome.effect}" for outcome in changed[:_CHANGES_SHOWN]]
            more = [f"and {len(changed) - _CHANGES_SHOWN} more"] if len(changed) > _CHANGES_SHOWN else []
            self._event(ks, "Normal", names.Reason.PROGRESSING, "\n".join(lines + more), revision)
        if app is not None:
            app.drift = drifting.remembered(app.drift, outcomes)
            app.unresolved = drifting.unresolved(app.unresolved, outcomes)
        for outcome in outcomes:
            if outcome.effect in (Effect.CORRECTED, Effect.DRIFTED):
                told = drifting.told_with(outcome, len(app.unresolved) if app is not None else 0)
                self._event(ks, *drifting.event_of(outcome), outcome.message, revision, told)
            if outcome.drift is not None:
                self._drifted(ks.key, outcome.drift)

    def _tell_returned(self, ks: Kustomization, app: App, build: Build, revision: str) -> None:
        """Drift that was only reported, and is over without anybody having seen its end."""
        looked = [item.ref for item in build.items if (item.drift or drifting.mode_of(ks)) != names.DriftMode.IGNORE]
        found = drifting.returned(app.drift, app.unresolved, looked, self._clock.now())
        app.drift = drifting.added(app.drift, found)
        told = {"drift-answer": Answer.RETURNED.value}
        if app.unresolved:
            told["drift-left"] = str(len(app.unresolved))
        for one in found:
            self._event(
                ks, "Normal", names.Reason.NO_DRIFT_DETECTED, f"{one.object} is as declared again", revision, told
            )

    def notify(self, ks: Kustomization, app: App) -> None:
        """Warnings about what was noticed on the way, each told once."""
        for notice in app.target.notices.take(ks.key):
            self._event(ks, "Warning", notice.reason, notice.words)

    def orphaned(self, ks: Kustomization, refs: Collection[Ref], place: str) -> None:
        """Say which objects are let go without being deleted, and where they stay."""
        if refs:
            listed = ", ".join(str(ref) for ref in sorted(refs)[:_CHANGES_SHOWN])
            more = f" and {len(refs) - _CHANGES_SHOWN} more" if len(refs) > _CHANGES_SHOWN else ""
            self.warn_of_orphans(ks, f"{len(refs)} objects are let go and stay in {place}: {listed}{more}")

    def warn_of_orphans(self, ks: Kustomization, message: str) -> None:
        """Say which objects of `ks` nobody has on record."""
        self.warn(ks, "Orphaned", message)

    def warn(self, ks: Kustomization, reason: str, message: str) -> None:
        """A Warning on the app and in the log, which outlives it."""
        log.warning("Kustomization %s: %s", ks.key, message)
        self._event(ks, "Warning", reason, message)

    def tell_strangers(self, ks: Kustomization, app: App) -> None:
        """One Warning about annotations of ours without a meaning here; deletions are held for them elsewhere."""
        strange = annotations.strangers("Kustomization", ks.metadata.annotations)
        if strange and strange != app.strange:
            self._event(ks, "Warning", annotations.UNKNOWN, "; ".join(strange))
        app.strange = strange

    def tell_plaintext(self, ks: Kustomization, app: App, build: Build, revision: str) -> None:
        """One Warning for each build about its Secrets in clear text, also if a process before this one has told it."""
        told = plaintext.warning(ks, build, revision)
        if app.exposed is None and app.status.history and app.status.history[0].digest == build.digest:
            app.exposed = build.digest
        if told and app.exposed != build.digest:
            self._event(ks, "Warning", plaintext.REASON, told, revision)
        app.exposed = build.digest if told else ""

    def _requester(self, ks: Kustomization, app: App) -> str:
        """Who asked for this attempt, if it was asked for and that is said."""
        asked = app.attempt is not None and app.attempt.requested_at
        return requester(ks.metadata.annotations) if asked else ""

    def _failed(
        self, ks: Kustomization, app: App, reason: str, published: Published, status: KustomizationStatus
    ) -> KustomizationStatus:
        """`status` with the failure in its history, if it is of a state or of its build; a repeated one is there."""
        artifact, trial, seconds = published.artifact, Trial(), 0.0
        if app.tried and app.build is not None:
            digest, trial = app.build.digest, app.trial
            seconds = max(self._clock.monotonic() - app.began, 0.0)
        elif reason == names.Reason.BUILD_FAILED:
            digest = unbuilt(artifact.revision)
        else:
            return status
        if tells(status.history, digest, reason):
            return status
        told = described(artifact, trial, self._requester(ks, app))
        history = record(status.history, digest, reason, told, self._clock.now(), seconds)
        return msgspec.structs.replace(status, history=history)

    def _ready(self, ks: Kustomization, app: App, published: Published) -> KustomizationStatus:
        revision, now, generation = published.artifact.revision, self._clock.now(), ks.metadata.generation
        message = f"Applied revision: {revision}"
        status = progress.ready(self._flagged(ks, app), generation, names.Reason.RECONCILIATION_SUCCEEDED, message, now)
        if ks.spec.wait or ks.spec.health_checks:
            text = "all objects are healthy"
            status = progress.flagged(status, "Healthy", generation, names.Reason.SUCCEEDED, text, now)
        else:
            status = progress.unflagged(status, "Healthy")
        return msgspec.structs.replace(
            _handled(ks, status),
            last_applied_revision=revision,
            last_attempted_revision=revision,
            last_applied_origin_revision=published.artifact.metadata.get(_ORIGIN, ""),
        )

    def _flagged(self, ks: Kustomization, app: App) -> KustomizationStatus:
        """The last status, saying whether deletions are held, and what is known of drift."""
        kind, now = names.ConditionType.PRUNE_HELD, self._clock.now()
        status = drifting.told(app.status, app, ks.metadata.generation, now)
        status = msgspec.structs.replace(
            status, approved=app.approved, remote_bases=app.bases, planned=self._planned(app)
        )
        if app.held is None:
            return progress.unflagged(status, kind)
        held = app.held
        return progress.flagged(status, kind, ks.metadata.generation, held.reason, held.message, now)

    def _planned(self, app: App) -> PlannedRevision | None:
        """What others are told: once all that is desired is on record, or about to be with the same write."""
        if not self._shared:
            return None
        if app.wished is None or not app.inventory.keys() >= app.wished:
            return app.status.planned
        leaving = app.inventory.keys() - app.wished
        return planned(*app.plan, leaving) if len(leaving) <= MOST_LEAVING else app.status.planned

    async def publish(self, ks: Kustomization, app: App) -> None:
        """Tell others of the plan, if that is not what they know."""
        if self._planned(app) != app.status.planned:
            await self.pen.write(app, self._flagged(ks, app))

    def _event(
        self,
        ks: Kustomization,
        type_: EventType,
        reason: str,
        message: str,
        revision: str = "",
        more: Mapping[str, str] = _NOTHING,
    ) -> None:
        told = {**more, "revision": revision} if revision else more
        metadata = {f"{KUSTOMIZATION.group}/{name}": value for name, value in told.items()}
        if (app := self._find(ks.key)) is not None:
            message = app.hiding.text(message)
        self._recorder.record(about(ks), type_, reason, message, metadata)


def _handled(ks: Kustomization, status: KustomizationStatus) -> KustomizationStatus:
    requested = ks.metadata.requested_at or status.last_handled_reconcile_at
    return msgspec.structs.replace(status, last_handled_reconcile_at=requested)


def _differ_in_revision_only(before: KustomizationStatus, after: KustomizationStatus) -> bool:
    """Both are ready for the same generation and request, at another revision."""
    states = [{(item.type, item.status) for item in status.conditions} for status in (before, after)]
    return (
        states[0] == states[1]
        and ("Ready", "True") in states[0]
        and before.last_applied_revision != after.last_applied_revision
        and before.observed_generation == after.observed_generation
        and before.last_handled_reconcile_at == after.last_handled_reconcile_at
    )
