"""Watch over the objects of a release that stands: drift is corrected, told of, or not looked for."""

from typing import Final

from trimtab.api import names
from trimtab.api.helmrelease import DriftDetectionMode, HelmRelease
from trimtab.api.names import DriftMode, Reason
from trimtab.api.requests import correction_asked
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.controllers import verdicts
from trimtab.controllers.release import Case, kept
from trimtab.controllers.releasescribe import ReleaseScribe
from trimtab.controllers.rollout import Rollout
from trimtab.helm.record import Record
from trimtab.targets.contract import Effect

_MODES: Final = {
    DriftMode.CORRECT: DriftDetectionMode.ENABLED,
    DriftMode.ALERT: DriftDetectionMode.WARN,
    DriftMode.IGNORE: DriftDetectionMode.DISABLED,
}


def mode_of(hr: HelmRelease) -> DriftDetectionMode:
    """What happens to drift of the objects of `hr`: what the annotation says counts more than the spec."""
    if correction_asked(hr.metadata.annotations, hr.status.last_handled_reconcile_at):
        return DriftDetectionMode.ENABLED
    said = hr.metadata.annotations.get(names.Annotation.DRIFT, "").lower()
    return _MODES[DriftMode(said)] if said in set(DriftMode) else DriftDetectionMode(hr.spec.drift_mode)


class Watch:
    """Looks, and corrects."""

    def __init__(self, scribe: ReleaseScribe, clock: Clock) -> None:
        self._scribe = scribe
        self._clock = clock

    async def look(self, case: Case, newest: Record | None) -> bool:
        """Whether objects have to be corrected; what is only to be told of is told.

        `newest` is the revision that stands; None says that it is the one of the last look.
        """
        release, mode = case.release, mode_of(case.hr)
        if mode == DriftDetectionMode.DISABLED:
            release.let_go()
            release.unresolved.clear()
            return False
        rollout = Rollout(case, self._clock)
        if newest is not None and release.kept != (of := kept(case, newest)):
            items = await rollout.prepare(newest.manifest)
            release.let_go(but={item.ref for item in items})
            release.items, release.kept = items, of
        corrects = mode == DriftDetectionMode.ENABLED
        drift = DriftMode.CORRECT if corrects else DriftMode.ALERT
        wish = rollout.wish(release.items, drift=drift, applied=True)
        target = release.at.target
        plan = target.plan(wish, await target.observe(wish))
        if plan.quiet or corrects:
            return not plan.quiet
        self._scribe.announce(case.hr, release, [outcome async for outcome in target.converge(wish, plan)])
        return False

    async def correct(self, case: Case) -> None:
        """Bring the objects back to what they are released as. Raises Transient for what cannot be."""
        target, rollout = case.release.at.target, Rollout(case, self._clock)
        wish = rollout.wish(case.release.items, drift=DriftMode.CORRECT, applied=True)
        plan = target.plan(wish, await target.observe(wish))
        outcomes = [outcome async for outcome in target.converge(wish, plan)]
        self._scribe.announce(case.hr, case.release, outcomes)
        if failures := [outcome for outcome in outcomes if outcome.effect is Effect.FAILED]:
            words = f"drift could not be corrected: {verdicts.failure_words(failures)}"
            raise Transient(Reason.RECONCILIATION_FAILED, words)
