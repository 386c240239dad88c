"""Kubernetes as a target: observe by shared watches, plan purely, converge stage by stage.

One target per cluster, shared by all apps. Reading by watch happens under the reader's identity; every write and every
dry-run happens under the account of the app (`Wish.client`).
"""

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from trimtab.base.abreast import abreast
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.base.tasks import Tasks
from trimtab.base.traces import then
from trimtab.health.verdict import State, Verdict
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, NotFound, UnknownKind, Unreachable
from trimtab.manifests import order
from trimtab.manifests.refs import Gvk, Key, Ref
from trimtab.targets.contract import Action, Change, Effect, Outcome, Plan
from trimtab.targets.kubernetes import definitions, gate, proving, prune
from trimtab.targets.kubernetes.apply import apply
from trimtab.targets.kubernetes.autoscaling import Autoscalers
from trimtab.targets.kubernetes.desired import MANAGER, PREFIX, Desired
from trimtab.targets.kubernetes.disclosure import Disclosure
from trimtab.targets.kubernetes.drift import CORRECT, Settler
from trimtab.targets.kubernetes.epoch import Epoch
from trimtab.targets.kubernetes.fights import Fights, without_parts
from trimtab.targets.kubernetes.inventory import Entry
from trimtab.targets.kubernetes.judging import Judges
from trimtab.targets.kubernetes.looking import Looking
from trimtab.targets.kubernetes.notices import Notices
from trimtab.targets.kubernetes.planning import KubePlan, Observed, acted_on, decide, deletion, is_out_of_sight, waves
from trimtab.targets.kubernetes.sighting import Look, Sighting, sight
from trimtab.targets.kubernetes.tracking import FOUGHT, REWRITTEN, UNSEEN, News, Tracker
from trimtab.targets.kubernetes.watches import Watches
from trimtab.targets.kubernetes.wish import Wish
from trimtab.targets.witnessing import witnessed

_SCHEMA_SERVED_S = 2.0
"""A changed definition is served a moment after it is stored."""
WRITE_MARGIN_S = 2.0
"""The Lease has to be ours for so many seconds more when a write begins."""


class KubernetesTarget:
    """One cluster.

    `tell(app, news)` is called from the watches when something moved that matters to an app; `remaining()` says for
    how many seconds nobody else can have begun to write. `judges` are the rules of health, shared between clusters.
    `prefix` is that of the labels of its apps, all of one kind, and `manager` the field manager of their applies.
    """

    def __init__(
        self,
        reader: Client,
        tasks: Tasks,
        clock: Clock,
        *,
        tell: Callable[[Key, News], None],
        protected_namespace: str,
        remaining: Callable[[], float] = lambda: float("inf"),
        veto: Callable[[Ref, Key], str] = lambda _ref, _app: "",
        judges: Judges | None = None,
        prefix: str = PREFIX,
        manager: str = MANAGER,
    ) -> None:
        self._veto = veto
        self._clock = clock
        self._remaining = remaining
        self._protected = protected_namespace
        self.judges = judges or Judges()
        self.fights = Fights()
        self.watches = Watches(
            reader,
            tasks,
            clock,
            self._heard,
            label=f"{prefix}name",
            manager=manager,
            judge=self.judges.assess,
            closely=self._closely,
            rewound=self.rewound,
            known=self._known,
        )
        self.autoscalers = Autoscalers(reader, tasks, self._scaled)
        self.notices = Notices()
        self.disclosure = Disclosure(clock)
        self.epoch = Epoch()
        self._rewinds: list[Callable[[], None]] = []
        self._tasks = tasks
        reader.discovery.add_schema_listener(self._schema_changed)
        self.tracker = Tracker(tell, self.watches.last_seen, self.judges.assess)
        self.looking = Looking(self.tracker, self.watches, self.judges, self.notices, clock)

    async def observe(self, wish: Wish) -> Observed:
        """Make sure that every kind of `wish` is watched, and return what is known of its objects."""
        kinds = {item.gvk for item in wish.items} | {entry.gvk for entry in wish.inventory.values()}
        await self.watches.ensure(kinds)
        await self.autoscalers.ensure(wish.items)
        app = wish.owner.key
        tracked = {item.ref: self.tracker.track(item.ref, app) for item in wish.items}
        unseen = [item for item in wish.items if is_out_of_sight(item, tracked[item.ref])]
        unseen += self.looking.unwatched(wish, tracked)
        await abreast(partial(self.looking.look, wish.client), unseen)
        return Observed(tracked)

    def plan(self, wish: Wish, observed: Observed) -> KubePlan:
        """Which objects need a call at all, stage by stage, and which left."""
        stages: tuple[list[Change[Desired]], ...] = ([], [], [])
        for item in sorted(map(partial(self._yielding, wish), wish.items), key=lambda item: order.apply_key(item.ref)):
            action, why = decide(wish, item, observed.tracked[item.ref])
            change = Change(item.ref, action, item, why, item.origin)
            stages[order.stage(item.ref.kind, item.ref.group)].append(change)
        wanted = {item.ref for item in wish.items}
        self.fights.keep(wish.owner.key, wanted)
        leaving = prune.leaving(wish.inventory, wanted) if wish.prune else []
        deletions = tuple(deletion(gone.entry.ref) for gone in leaving)
        return Plan(tuple(map(tuple, stages)), deletions)

    async def prove(self, wish: Wish, plan: KubePlan) -> KubePlan:
        """`plan` without what stands as a process before this one has applied it: nothing is written to find out."""
        return await proving.prove(wish, plan, self.tracker, self._clock)

    async def judge(self, wish: Wish, plan: KubePlan) -> list[gate.Judgement]:
        """The gate for everything in `plan` that is new or changed."""
        app, track = wish.owner.key, self.tracker.track
        brought = gate.Providers.of(wish.items, lambda item: track(item.ref, app).as_wished(item.digest))
        judged = await gate.judge(wish.client, acted_on(plan, Action.APPLY), brought, force=wish.force)
        for passed in judged:
            if isinstance(passed, gate.Passed) and passed.foreign:
                self.tracker.track(passed.item.ref, wish.owner.key).foreign = True
        return judged

    def converge(
        self,
        wish: Wish,
        plan: KubePlan,
        judgements: Sequence[gate.Judgement] = (),
        *,
        ahead: Change[Desired] | None = None,
    ) -> AsyncIterator[Outcome]:
        """Do exactly what `plan` says and yield what became of each object.

        `ahead` is written before all others, and where that fails nothing else is done. Apart from it a failure of one
        object is its own: the others go on. What waits for a definition to be established, or was refused after being
        deferred, is yielded as WAITING or FAILED and is left for the next pass; nothing is deleted in a pass where
        something failed.
        """
        acting = self._converge(wish, plan, judgements, ahead)
        changes = filter(partial(self._writes, wish), itertools.chain.from_iterable(plan.stages))
        return _witnessed(wish, [*changes, *plan.deletions], acting)

    async def _converge(
        self, wish: Wish, plan: KubePlan, judgements: Sequence[gate.Judgement], ahead: Change[Desired] | None
    ) -> AsyncIterator[Outcome]:
        deferred = {judged.item.ref for judged in judgements if isinstance(judged, gate.Deferred)}
        clean = True
        if ahead is not None:
            outcome = await self._act(wish, ahead)
            yield outcome
            if outcome.effect is Effect.FAILED:
                return
        for number, stage in enumerate(plan.stages):
            self._fence()
            todo = [change for change in stage if change.action in (Action.APPLY, Action.CORRECT)]
            todo = [change for change in todo if change is not ahead]
            held_up = definitions.held_up(plan.stages[:number], todo, self.verdict)
            for outcome in held_up.values():
                clean = False
                yield outcome
            todo = [change for change in todo if change.ref not in held_up]
            leaned_on = gate.leaned_on(todo, deferred)
            for outcome in await abreast(partial(self._act, wish), leaned_on):
                clean = clean and outcome.effect is not Effect.FAILED
                yield outcome
            gone_first = {change.ref for change in leaned_on}
            todo = [change for change in todo if change.ref not in gone_first]
            refused = await self._judge_late(wish, [change for change in todo if change.ref in deferred])
            for outcome in refused:
                clean = False
                yield outcome
            if refused and not wish.each:
                continue
            todo = [change for change in todo if change.ref not in {outcome.ref for outcome in refused}]
            for wave in waves(todo):
                for outcome in await abreast(partial(self._act, wish), wave):
                    clean = clean and outcome.effect is not Effect.FAILED
                    yield outcome
        if clean:
            self.epoch.clean(wish.owner.key)
        if clean and plan.deletions:
            then("prune", objects=len(plan.deletions))
            leaving = [wish.inventory[change.ref] for change in plan.deletions]
            async for outcome in self._delete(wish, leaving, "Background", patient=True):
                yield outcome

    def delete(
        self, wish: Wish, entries: Sequence[Entry], *, propagation: str = "Background", patient: bool = True
    ) -> AsyncIterator[Outcome]:
        """Delete `entries` band by band in reverse order, each under its preconditions.

        `patient`: while something that clears up behind itself (`prune.clears`) is going, the bands after it stay.
        """
        changes = [deletion(entry.ref) for entry in entries]
        acting = self._delete(wish, entries, propagation, patient=patient)
        return _witnessed(wish, changes, acting)

    async def _delete(
        self, wish: Wish, entries: Sequence[Entry], propagation: str, *, patient: bool
    ) -> AsyncIterator[Outcome]:
        wanted = {item.ref for item in wish.items}
        inventory = {entry.ref: entry for entry in entries if entry.ref not in wanted}
        kept = {tracked.baseline.uid for ref in wanted if (tracked := self.tracker.get(ref)) and tracked.baseline}

        async def away(gone: prune.Deletion) -> Outcome:
            self._fence()
            return await prune.delete(wish.client, gone, wish.owner, self._protected, self._veto, kept, propagation)

        clearing: Ref | None = None
        for band in prune.in_bands(prune.leaving(inventory, wanted)):
            if clearing is not None and patient:
                for gone in band:
                    yield Outcome(gone.entry.ref, Effect.WAITING, f"is deleted when {clearing} is gone")
                continue
            for outcome in await abreast(away, band):
                if outcome.effect in (Effect.WAITING, Effect.FAILED) and prune.clears(outcome.ref, wish.owner):
                    clearing = outcome.ref
                if outcome.effect in (Effect.DELETED, Effect.RELEASED):
                    self.tracker.forget(outcome.ref, wish.owner.key)
                yield outcome

    def verdict(self, ref: Ref) -> Verdict:
        """How a tracked object is doing, as last seen."""
        tracked = self.tracker.get(ref)
        return tracked.verdict if tracked else UNSEEN

    async def verdicts(self, client: Client, items: Sequence[Desired]) -> dict[Ref, Verdict]:
        """How tracked objects are doing, as the account of their app may be told."""

        async def told(item: Desired) -> Verdict:
            return await self.disclosure.verdict(client, item.gvk, item.ref, self.verdict(item.ref))

        return dict(zip((item.ref for item in items), await abreast(told, items), strict=True))

    async def verdict_of(self, client: Client, gvk: Gvk, ref: Ref, app: Key) -> Verdict:
        """How any object is doing: by watch if it is tracked, else by a read, under the account and rules of `app`."""
        if self.tracker.get(ref) is not None and await self.disclosure.may_get(client, gvk, ref):
            return self.verdict(ref)
        try:
            resource = await client.discovery.find(gvk)
            live = await client.get(resource, ref.name, ref.namespace)
            return sight(live, self._clock.now(), judge=self.judges.of(app)).verdict
        except NotFound:
            return Verdict(State.NotFound, "the object is not there")
        except (ApiError, Unreachable, UnknownKind, StaleGroup) as failure:
            return Verdict(State.Unknown, str(failure))

    def _writes(self, wish: Wish, change: Change[Desired]) -> bool:
        """Whether `change` is news for a witness.

        To apply again what was applied, because it is time to look, is none: its intent is on record since then. If
        something comes of it after all, its outcome is.
        """
        item = change.after
        if change.action is not Action.CORRECT or item is None:
            return change.action is Action.APPLY
        tracked = self.tracker.get(item.ref)
        baseline = tracked.baseline if tracked is not None else None
        if tracked is None or baseline is None or wish.mode_of(item) != CORRECT:
            return False
        return tracked.missing or tracked.seen is None or not tracked.seen.undisturbed(baseline)

    def _fence(self) -> None:
        """Begin no write that may outlast our leadership: a process that slept may still believe in it."""
        if self._remaining() < WRITE_MARGIN_S:
            raise Transient("LeadershipLost", "the Lease may be somebody else's: nothing more is written")

    async def _act(self, wish: Wish, change: Change[Desired]) -> Outcome:
        self._fence()
        item = change.after
        assert item is not None  # noqa: S101 - deletions go another way
        tracked = self.tracker.track(item.ref, wish.owner.key)
        if change.action is Action.APPLY:
            return (await apply(wish.client, item, tracked, self.tracker, self._clock, force=wish.force)).outcome
        app, hands_off = wish.owner.key, wish.hands_off
        settler = Settler(wish.client, app, self.tracker, self.fights, self._clock, wish.force, hands_off)
        return await settler.settle(item, tracked, wish.mode_of(item))

    async def _judge_late(self, wish: Wish, changes: Sequence[Change[Desired]]) -> list[Outcome]:
        """The real dry-run of what was deferred, right before its own stage. Refusals hold the whole stage."""
        items = [change.after for change in changes if change.after is not None]
        judged = await gate.judge(
            wish.client, items, gate.Providers(frozenset(), frozenset(), frozenset()), force=wish.force
        )
        return [
            Outcome(refusal.item.ref, Effect.FAILED, refusal.message, refusal.item.origin, refusal.transient)
            for refusal in judged
            if isinstance(refusal, gate.Refused)
        ]

    def forgive(self, app: Key) -> None:
        """A new revision or a request: what was yielded to others is tried once more."""
        self.fights.forgive(app)
        for tracked in self.tracker.of(app):
            if tracked.left in (FOUGHT, REWRITTEN):
                tracked.left, tracked.suspect, tracked.rewrites = "", True, 0

    def _yielding(self, wish: Wish, item: Desired) -> Desired:
        """`item` without what is left to others for now."""
        pointers = self.fights.pointers(wish.owner.key, item.ref)
        claimed = self.autoscalers.claimed(item)
        if claimed and self.autoscalers.scaler(item.ref) not in wish.leaving:
            pointers.add(claimed)
            self.notices.say(wish.owner.key, f"{item.ref} replicas", self.autoscalers.notice(item.ref))
        return without_parts(item, pointers)

    def _scaled(self, ref: Ref) -> None:
        """An autoscaler came to an object, or left it: what is applied of it is another thing now."""
        tracked = self.tracker.get(ref)
        if tracked is not None:
            self.tracker.report(tracked, News.DISTURBED)

    def add_rewind_handler(self, handler: Callable[[], None]) -> None:
        """Call `handler` when the server turns out to be older than it was."""
        self._rewinds.append(handler)

    def rewound(self) -> None:
        """The server is older than it was: what is remembered of its objects is of another history."""
        self.epoch.begin()
        for tracked in self.tracker:
            tracked.start_over()
            self.tracker.report(tracked, News.DISTURBED)
        self.watches.relist()
        for handler in self._rewinds:
            handler()

    def _schema_changed(self, group: str) -> None:
        """Nothing tells of what a changed definition makes of objects, so they are looked at (D6)."""
        self._tasks.spawn(self._doubt(group), name="schema")

    async def _doubt(self, group: str) -> None:
        await self._clock.sleep(_SCHEMA_SERVED_S)
        for tracked in self.tracker:
            if tracked.ref.group == group and tracked.doubt():
                self.tracker.report(tracked, News.DISTURBED)

    def _closely(self, ref: Ref) -> bool:
        return self.tracker.closely(ref)

    def _known(self, ref: Ref, look: Look) -> Sighting | None:
        return self.tracker.known(ref, look)

    def _heard(self, ref: Ref, sighting: Sighting | None) -> None:
        self.tracker.observe(ref, sighting)


def _witnessed(
    wish: Wish, changes: Sequence[Change[Desired]], acting: AsyncIterator[Outcome]
) -> AsyncIterator[Outcome]:
    return acting if wish.witness is None else witnessed(wish.witness, changes, wish.client.user, acting)
