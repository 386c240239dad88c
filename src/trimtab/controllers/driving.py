"""One release, driven from what it is to what is wished: one action after the other, as `helm.action` decides."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from trimtab.api.helmactions import Install as InstallSpec
from trimtab.api.helmactions import Rollback as RollbackSpec
from trimtab.api.helmactions import Test as TestSpec
from trimtab.api.helmactions import Uninstall as UninstallSpec
from trimtab.api.helmactions import Upgrade as UpgradeSpec
from trimtab.api.helmrelease import HelmRelease
from trimtab.api.names import FORCE_AT, RESET_AT, Reason
from trimtab.audit.record import Cause
from trimtab.base.clock import Clock
from trimtab.base.traces import span
from trimtab.controllers.leaving import Leaving
from trimtab.controllers.release import ActionFailed, Case, Outrun, Site
from trimtab.controllers.releaserecords import ReleaseRecords, Shelf
from trimtab.controllers.releasescribe import ReleaseScribe
from trimtab.controllers.releasewatch import Watch
from trimtab.controllers.releasing import Course
from trimtab.controllers.rendering import Rendering, preserved_values
from trimtab.helm import action
from trimtab.helm.action import Facts, decide, farewell
from trimtab.helm.observed import recall
from trimtab.helm.record import Record, Status
from trimtab.helm.revision import is_of
from trimtab.manifests.refs import Key
from trimtab.runtime.controller import Again

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Driving:
    """Drives releases."""

    scribe: ReleaseScribe
    rendering: Rendering
    watch: Watch
    clock: Clock

    async def drive(self, case: Case, records: ReleaseRecords) -> Again | None:
        """Act until the release stands, which is None, or until there is something to wait for.

        Raises ActionFailed where it is to be tried again after a while, Outrun when the wish is another one by now.
        """
        hr, release = case.hr, case.release
        shelf, moved = await records.read(), ""
        touched_at = shelf.touched_at
        course = self._course(case, records, shelf)
        if (before := _before(case, self.clock)) is not None:
            left = await before[1].read()
            if left.history and left.history[0].status != Status.UNINSTALLED:
                moved = "the name or the namespace of the release"
                course = self._course(*before, left)
                touched_at = left.touched_at
        if (untold := await course.catch_up()) is not None:
            self._remember(case, course)
            self.scribe.ended(hr, release, untold, _chart_of(course.history[0]), 0.0)
        forced, failure, looked, drifted = _asked(case, FORCE_AT), None, False, False
        while True:
            facts = Facts(
                case.wish,
                tuple(course.history),
                course.memory,
                case.policy,
                drifted=drifted,
                forced=forced,
                moved=moved,
                preserved=values.digest if (values := preserved_values(case, course.history)) is not None else "",
                idle_s=self.clock.monotonic() - release.tried if release.tried is not None else float("inf"),
                untouched_s=self.clock.now().timestamp() - touched_at,
            )
            chosen = decide(facts)
            log.info("%s", chosen)
            match chosen:
                case action.Install() | action.Upgrade() if failure is not None:
                    raise failure  # what failed is tried again after a while
                case action.Install():
                    failure = await self._run(case, course, "install", course.install, Reason.INSTALL_SUCCEEDED)
                    forced = self._forced(case, forced=forced)
                case action.Upgrade(forced=by_request):
                    upgrade = partial(course.upgrade, forced=by_request)
                    failure = await self._run(case, course, "upgrade", upgrade, Reason.UPGRADE_SUCCEEDED)
                    forced = self._forced(case, forced=forced)
                case action.RunTests():
                    failure = await self._run(case, course, "test", course.test, Reason.TEST_SUCCEEDED)
                case action.Rollback(to=to):
                    await self._remedy(
                        case, course, "rollback", partial(course.rollback, to), Reason.ROLLBACK_SUCCEEDED
                    )
                case action.Uninstall():
                    await self._remedy(case, course, "uninstall", course.uninstall, Reason.UNINSTALL_SUCCEEDED)
                    if moved:
                        moved = ""
                        shelf = await records.read()  # the old place may be the new one, but for the namespace
                        course = self._course(case, records, shelf)
                case action.Unlock(version=version, why=why):
                    await course.unlock(version, why)
                    self.scribe.warn(hr, release, Reason.STATE_ERROR, f"{why}: it is marked as failed")
                case action.Correct():
                    await self.watch.correct(case)
                    drifted = False
                case action.Retry(after_s=after, why=why):
                    self._remember(case, course)
                    await self.scribe.wait(hr, release, f"{why}; again in {after:.0f} s")
                    return Again(after)
                case action.Exhausted(reason=reason, why=why):
                    if not looked and course.history and course.history[0].status == Status.DEPLOYED:
                        looked, drifted = True, await self.watch.look(case, course.history[0])
                        if drifted:
                            continue
                    self._remember(case, course)
                    await self.scribe.give_up(hr, release, reason, why)
                    return Again(hr.spec.interval_s)
                case action.Nothing():
                    if not looked:
                        looked, drifted = True, await self.watch.look(case, course.history[0])
                        if drifted:
                            continue
                    course.memory = course.memory.settled(course.history[0].version)
                    self._remember(case, course)
                    return None

    async def part(self, site: Site, records: ReleaseRecords, *, bare: bool = False) -> None:
        """Uninstall what there is of a release whose object is being deleted. Raises ActionFailed.

        One that was never taken over, since something was in the way until now, is left to whoever made it.
        `bare`: without its hooks and records, because their namespace is going; so too where there are no records.
        """
        shelf, uid = await records.read(), site.hr.metadata.uid
        memory = recall(site.release.draft, shelf.history, uid)
        if shelf.history and not any(is_of(one, uid) or memory.of(one) is not None for one in shelf.history):
            return
        leaving = Leaving(site, records, self.clock, shelf.history, memory)
        sweeps = bare or not shelf.history
        if not site.release.inventory if sweeps else farewell(shelf.history) == action.Nothing():
            return
        act = leaving.sweep if sweeps else leaving.uninstall
        failure = await self._run(site, leaving, "uninstall", act, Reason.UNINSTALL_SUCCEEDED)
        if failure is not None:
            raise failure

    def _course(self, case: Case, records: ReleaseRecords, shelf: Shelf) -> Course:
        if _asked(case, RESET_AT):
            self.scribe.honour(case.hr, case.release, RESET_AT)
        memory = recall(case.release.draft, shelf.history, case.hr.metadata.uid)
        return Course(case, records, self.rendering, self.clock, shelf.history, memory)

    def _remember(self, site: Site, course: Leaving) -> None:
        self.scribe.remember(site.hr, site.release, course.memory, course.history, course.storage)

    def _forced(self, case: Case, *, forced: bool) -> bool:
        """What was asked for has been done, well or not: it is not forced any more."""
        if forced:
            self.scribe.honour(case.hr, case.release, FORCE_AT)
        return False

    async def _run(
        self, site: Site, course: Leaving, name: str, act: Callable[[], Awaitable[None]], done: Reason
    ) -> ActionFailed | None:
        """Carry out an action, and draft how it went; its failure comes back."""
        hr, release, began = site.hr, site.release, self.clock.monotonic()
        newest = course.history[0] if course.history else None  # an uninstall may leave none
        self._remember(site, course)
        await self.scribe.begin(hr, release, name, _limit_s(hr, name))
        failure: ActionFailed | None = None
        async with _attested(site, name) as attested:
            try:
                with span(name):
                    await act()
            except ActionFailed as problem:
                failure = problem
                attested.append(problem.message)
            finally:
                release.tried = self.clock.monotonic()
                self._remember(site, course)
        reason, words = (Reason(failure.reason), failure.message) if failure is not None else (done, "")
        newest = course.history[0] if course.history else newest
        chart = _chart_of(newest) if newest is not None else ""
        if isinstance(site, Case) and name in ("install", "upgrade"):
            chart = f"{site.wish.chart_name}@{site.wish.chart_version}"
        self.scribe.ended(hr, release, reason, chart, release.tried - began, words)
        return failure

    async def _remedy(
        self, case: Case, course: Course, name: str, act: Callable[[], Awaitable[None]], done: Reason
    ) -> None:
        """The same for what is done about a failure: if that fails too, it is tried again after a while."""
        failure = await self._run(case, course, name, act, done)
        if failure is not None:
            raise failure


@asynccontextmanager
async def _attested(site: Site, name: str) -> AsyncIterator[list[str]]:
    """Have it on record that an action begins, before it does, and how it ended; what is put in here is why it failed.

    Hooks and definitions have no record of their own: this one is theirs as well.
    """
    witness, why = site.release.witness, list[str]()
    if witness is None:
        yield why
        return
    before, witness.cause = witness.cause, Cause(name)
    what = f"{name} {site.of}"
    attempt = await witness.announce(what, site.client.user)
    ended = "it was interrupted"
    try:
        yield why
        ended = "; ".join(why)
    except Outrun:
        ended = "the wish became another one meanwhile"
        raise
    except Exception as failure:
        ended = str(failure) or type(failure).__name__
        raise
    finally:
        witness.over(attempt, what, ended)
        witness.cause = before


def _chart_of(one: Record) -> str:
    return f"{one.chart_name}@{one.chart_version}"


def _limit_s(hr: HelmRelease, name: str) -> float:
    spec = hr.spec
    timed = {
        "install": spec.install or InstallSpec(),
        "upgrade": spec.upgrade or UpgradeSpec(),
        "test": spec.test or TestSpec(),
        "rollback": spec.rollback or RollbackSpec(),
        "uninstall": spec.uninstall or UninstallSpec(),
    }[name]
    return timed.timeout_s(spec.timeout_s)


def asked(case: Case) -> bool:
    """Whether somebody asked for more than a look, and was not answered yet."""
    return _asked(case, FORCE_AT) or _asked(case, RESET_AT)


def wants_more(hr: HelmRelease) -> bool:
    """Whether the request of `hr` is for more than a look, for which nobody has to stop what is under way."""
    said = hr.metadata.annotations
    return bool(hr.metadata.requested_at) and hr.metadata.requested_at in (said.get(FORCE_AT), said.get(RESET_AT))


def _asked(case: Case, name: str) -> bool:
    said, status = case.hr.metadata.annotations.get(name, ""), case.release.status
    honoured = status.last_handled_force_at if name == FORCE_AT else status.last_handled_reset_at
    return bool(said) and said == case.hr.metadata.requested_at and said != honoured


def _before(case: Case, clock: Clock) -> tuple[Case, ReleaseRecords] | None:
    """The release under the name, or in the namespaces, that it had before; None where nothing has changed."""
    status, hr = case.release.draft, case.hr
    if not status.history:
        return None
    known, storage = status.history[0], status.storage_namespace or hr.metadata.namespace
    of = Key(known.namespace, known.name)
    if of == case.of and storage == hr.storage_namespace:
        return None
    return replace(case, of=of), ReleaseRecords(case.client, clock, storage, known.name)
