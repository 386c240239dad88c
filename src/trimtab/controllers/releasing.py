"""What can be done with a release: each action goes on record before its first effect, and so does how it ended."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from trimtab.api.helmactions import CrdPolicy, Install, Rollback, Test, Upgrade
from trimtab.api.names import Reason
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.base.traces import span
from trimtab.controllers.leaving import Leaving
from trimtab.controllers.release import Case, Outrun, failed, kept
from trimtab.controllers.releaserecords import ReleaseRecords
from trimtab.controllers.rendering import Rendering
from trimtab.controllers.rollout import Hindered, Refused, since_deployed
from trimtab.helm import output, record, revision
from trimtab.helm.hooks import HookFailed, Hooks, Superseded
from trimtab.helm.memory import Memory, Release
from trimtab.helm.output import Event
from trimtab.helm.record import Record, Status
from trimtab.manifests.refs import Ref
from trimtab.targets.contract import Effect, Outcome
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.inventory import Entry


class Course(Leaving):
    """The actions of one pass over one release. What failed raises ActionFailed once it is on record."""

    def __init__(
        self,
        case: Case,
        records: ReleaseRecords,
        rendering: Rendering,
        clock: Clock,
        history: Sequence[Record],
        memory: Memory,
    ) -> None:
        super().__init__(case, records, clock, history, memory)
        self._changed: list[Outcome] = []
        self._there: frozenset[Ref] = frozenset()
        self._case = case
        self._rendering = rendering

    async def install(self) -> None:
        """Make the first revision."""
        spec = self._case.hr.spec.install or Install()
        await self._release(
            "install",
            spec,
            crds=spec.crd_policy,
            hooks=(Event.PRE_INSTALL, Event.POST_INSTALL),
            namespace=spec.create_namespace,
        )

    async def upgrade(self, *, forced: bool = False) -> None:
        """Make another revision; `forced` because somebody asked for it."""
        spec = self._case.hr.spec.upgrade or Upgrade()
        await self._release(
            "upgrade",
            spec,
            crds=spec.crd_policy,
            hooks=(Event.PRE_UPGRADE, Event.POST_UPGRADE),
            force=spec.force,
            tidy=spec.cleanup_on_fail,
            forced=forced,
        )

    async def rollback(self, to: Record) -> None:
        """Make a revision that is what `to` was: from its record, so that it works without the chart."""
        spec = self._case.hr.spec.rollback or Rollback()
        deadline = self._deadline(spec.timeout_s(self._case.hr.spec.timeout_s))
        try:
            items = await self._rollout.prepare(to.manifest, to.hooks or ())
            gone = await self._leaving(items)
            with span("gate"):
                wish, plan, judgements = await self._rollout.judged(items, force=spec.force, foreign=True, leaving=gone)
        except Hindered as problem:
            raise Transient(Reason.ROLLBACK_FAILED, self._told(problem)) from problem
        except (Refused, Terminal) as problem:
            raise failed(Reason.ROLLBACK_FAILED, self._told(problem)) from problem
        new = revision.begin_rollback(self.history, to, owner=self._case.hr.metadata.uid, now=self._clock.now())
        await self._begin(None, new)

        async def effects() -> None:
            await self._hooks(Event.PRE_ROLLBACK, deadline, disabled=spec.disable_hooks)
            if spec.cleanup_on_fail:
                self._there = await self._rollout.present(items)
            with span("apply", objects=len(items)):
                await self._rollout.apply(wish, plan, judgements, deadline, self._changed)
            await self._remove_others(gone, deadline)
            if not spec.disable_wait:
                with span("health"):
                    await self._rollout.settle(items, deadline, jobs=not spec.disable_wait_for_jobs)
            await self._hooks(Event.POST_ROLLBACK, deadline, disabled=spec.disable_hooks)

        tidy = self._tidy(deadline) if spec.cleanup_on_fail else None
        await self._attempt(effects, f'Rollback "{new.name}" failed', Reason.ROLLBACK_FAILED, counts=False, tidy=tidy)
        await self._succeed(f"Rollback to {to.version}", items)

    async def test(self) -> None:
        """Run the tests of the newest revision."""
        case, spec = self._case, self._case.hr.spec.test or Test()
        newest = self.history[0]
        chosen = output.selected(newest.hooks or (), [(one.name, one.exclude) for one in spec.filters])
        limit_s = spec.timeout_s(case.hr.spec.timeout_s)
        await self._rollout.admit(chosen)
        runner = Hooks(case.client, self._clock, newest, timeout_s=limit_s, hide=case.release.hiding.text)
        try:
            tested = await runner.run_tests(chosen, self._ran, case.outdated)
        except Superseded as moved:
            raise Outrun from moved
        newest = await self._write(self.history[0])
        self.memory = self.memory.made(newest, self._limit).tested(newest.version, tested.phases)
        if tested.failure is not None:
            ignored = self.memory.action == "install" and case.policy.install.ignores_tests
            ignored = ignored or (self.memory.action == "upgrade" and case.policy.upgrade.ignores_tests)
            if not ignored:
                self.memory = self.memory.failed()
            raise failed(Reason.TEST_FAILED, self._told(tested.failure)) from tested.failure

    async def unlock(self, version: int, why: str) -> None:
        """Say of an action that did not end that it did not."""
        stuck = next(one for one in self.history if one.version == version)
        await self._interrupt(stuck, f"Release unlocked from stale '{stuck.status}' state: {why}")

    # --- install and upgrade

    async def _release(
        self,
        action: Release,
        spec: Install | Upgrade,
        *,
        crds: CrdPolicy,
        hooks: tuple[Event, Event],
        namespace: bool = False,
        force: bool = False,
        tidy: bool = False,
        forced: bool = False,
    ) -> None:
        case = self._case
        deadline = self._deadline(spec.timeout_s(case.hr.spec.timeout_s))
        reason = Reason.INSTALL_FAILED if action == "install" else Reason.UPGRADE_FAILED
        upgrade, memory = action == "upgrade", self.memory
        try:
            with span("render"):
                made = await self._rendering.make(case, self.history, memory, upgrade=upgrade, forced=forced)
            if namespace:
                await self._rollout.create_namespace(case.hr.release_namespace)
            await self._rollout.define(made.crds, crds, deadline)
            items = await self._rollout.prepare(made.output.manifest, made.output.hooks)
            foreign = not spec.disable_take_ownership
            gone = await self._leaving(items)
            with span("gate"):
                wish, plan, judgements = await self._rollout.judged(items, force=force, foreign=foreign, leaving=gone)
        except Hindered as problem:
            raise Transient(reason, self._told(problem)) from problem
        except (Refused, Terminal) as problem:
            # only a fault is an attempt: of one that was held up nothing is remembered, whatever held it up
            self.memory = memory.starting(action, case.wish, memory.begun).failed()
            raise failed(reason, self._told(problem)) from problem
        status = Status.PENDING_INSTALL if action == "install" else Status.PENDING_UPGRADE
        new = revision.begin(
            self.history,
            case.of.name,
            case.of.namespace,
            made.output,
            made.chart,
            made.values,
            status=status,
            owner=case.hr.metadata.uid,
            now=self._clock.now(),
        )
        await self._begin(action, new)

        async def effects() -> None:
            await self._hooks(hooks[0], deadline, disabled=spec.disable_hooks)
            if tidy:
                self._there = await self._rollout.present(items)
            with span("apply", objects=len(items)):
                await self._rollout.apply(wish, plan, judgements, deadline, self._changed)
            await self._remove_others(gone, deadline)
            if not spec.disable_wait:
                with span("health"):
                    await self._rollout.settle(items, deadline, jobs=not spec.disable_wait_for_jobs)
            await self._hooks(hooks[1], deadline, disabled=spec.disable_hooks)

        words = f'Release "{new.name}" failed' if action == "install" else f'Upgrade "{new.name}" failed'
        await self._attempt(effects, words, reason, counts=True, tidy=self._tidy(deadline) if tidy else None)
        await self._succeed("Install complete" if action == "install" else "Upgrade complete", items)
        self.memory = self.memory.succeeded(case.wish, new.version, untested=case.policy.tests)

    async def _begin(self, action: Release | None, new: Record) -> None:
        """Put a revision on record before its first effect."""
        self.memory = self.memory.starting(action, self._case.wish, new.version)
        await self._records.create(new)
        self.history.insert(0, new)
        await self._thin()

    async def _thin(self) -> None:
        """Delete records of failures beyond what is kept: a release may be tried in vain for ever.

        One that alone tells of an object that may be in the cluster stays until an action succeeds.
        """
        limit = self._case.hr.spec.history_limit
        for old in [one for one in reversed(self.history[1:]) if one.status == Status.FAILED]:
            if not limit or len(self.history) <= limit:
                break
            rest = [one for one in self.history if one is not old]
            if await self._dispensable(old, rest):
                await self._records.delete(old)
                self.history = rest
        self.memory = self.memory.keeping(one.version for one in self.history)

    async def _dispensable(self, old: Record, rest: Sequence[Record]) -> bool:
        if old not in since_deployed(self.history):
            return True
        try:
            told = await self._rollout.entries(since_deployed(rest))
            return (await self._rollout.entries([old])).keys() <= told.keys()
        except Terminal:
            return False

    async def _attempt(
        self,
        effects: Callable[[], Coroutine[Any, Any, None]],
        words: str,
        reason: Reason,
        *,
        counts: bool,
        tidy: Callable[[], Coroutine[Any, Any, None]] | None,
    ) -> None:
        """Bring about `effects`; if they fail, that goes on record. What was only in the way raises Transient."""
        try:
            await effects()
        except Hindered as problem:
            told = self._told(problem)
            await self._interrupt(self.history[0], f"{words}: interrupted: {told}")
            raise Transient(reason, told) from problem
        except (Refused, HookFailed, Terminal) as problem:
            told = self._told(problem)
            if tidy is not None:
                await tidy()
            bad = await self._write(record.settled(self.history[0], Status.FAILED, f"{words}: {told}"))
            self.memory = self.memory.made(bad, self._limit)
            if counts:
                self.memory = self.memory.failed()
            raise failed(reason, told) from problem
        except (Outrun, Superseded) as moved:
            await self._interrupt(self.history[0], f"{words}: interrupted, since the wish has changed")
            raise Outrun from moved

    async def _succeed(self, description: str, items: Sequence[Desired]) -> None:
        """The newest revision stands; what stood before is superseded, and what is too old goes."""
        new = await self._write(record.settled(self.history[0], Status.DEPLOYED, description))
        await self._supersede()
        # Only now: where that failed, the next pass sees by it that nobody was told yet (`catch_up`).
        self.memory = self.memory.made(new, self._limit)
        for old in record.surplus(self.history, self._case.hr.spec.history_limit):
            await self._records.delete(old)
            self.history.remove(old)
        self.memory = self.memory.keeping(one.version for one in self.history)
        release = self._case.release
        release.let_go(but={item.ref for item in items})
        release.items, release.kept = tuple(items), kept(self._case, new)
        release.inventory = {item.ref: self._entry(item) for item in items}

    async def catch_up(self) -> Reason | None:
        """Go on where we died after a revision of ours stood; how it came to be, if nobody was told of that yet."""
        newest = self.history[0] if self.history else None
        if newest is None or newest.status != Status.DEPLOYED:
            return None
        await self._supersede()
        if newest.version != self.memory.begun or any(one.version == newest.version for one in self.memory.seen):
            return None
        self.memory = self.memory.made(newest, self._limit)
        if newest.info.rollback_revision:
            return Reason.ROLLBACK_SUCCEEDED
        first = newest.info.first_deployed == newest.info.last_deployed
        return Reason.INSTALL_SUCCEEDED if first else Reason.UPGRADE_SUCCEEDED

    async def _supersede(self) -> None:
        """What stood before the newest revision does so no longer."""
        for old in self.history[1:]:
            if old.status == Status.DEPLOYED:
                changed = await self._write(record.settled(old, Status.SUPERSEDED, old.info.description))
                self.memory = self.memory.made(changed, self._limit) if self.memory.of(old) else self.memory

    async def _interrupt(self, stuck: Record, description: str) -> None:
        bad = await self._write(record.settled(stuck, Status.FAILED, description))
        self.memory = self.memory.made(bad, self._limit).interrupted()

    # --- parts of actions

    async def _leaving(self, items: Sequence[Desired]) -> list[Entry]:
        """What earlier revisions have and `items` do not."""
        wanted = {item.ref for item in items}
        return [entry for ref, entry in (await self._entries()).items() if ref not in wanted]

    async def _remove_others(self, gone: Sequence[Entry], deadline: float) -> None:
        """Delete what left the release."""
        if gone:
            with span("prune", objects=len(gone)):
                await self._rollout.remove(gone, deadline, wait=False, propagation="Background")

    def _tidy(self, deadline: float) -> Callable[[], Coroutine[Any, Any, None]]:
        """What deletes the objects that an action has created, for it failed: never one that was there before."""

        async def tidy() -> None:
            made = [
                self._made(outcome.ref)
                for outcome in self._changed
                if outcome.effect is Effect.CREATED and outcome.ref not in self._there
            ]
            try:
                await self._rollout.remove(made, deadline, wait=False, propagation="Background")
            except (Refused, Outrun):
                return  # that the action failed is the news, and has to go on record; so is what is left

        return tidy

    def _made(self, ref: Ref) -> Entry:
        tracked = self._case.release.at.target.tracker.get(ref)
        made = tracked.baseline if tracked is not None else None
        return Entry(ref, made.gvk.version, made.uid) if made is not None else Entry(ref, "v1")

    def _entry(self, item: Desired) -> Entry:
        tracked = self._case.release.at.target.tracker.get(item.ref)
        uid = tracked.baseline.uid if tracked is not None and tracked.baseline is not None else ""
        return Entry(item.ref, item.gvk.version, uid)
