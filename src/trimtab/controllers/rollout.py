"""The objects of a release on their way into a cluster, and out of it: prepared, judged, applied, awaited, deleted."""

import asyncio
import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from trimtab.api.helmactions import CrdPolicy
from trimtab.api.helmrelease import WaitStrategyName
from trimtab.api.names import HELM_MANAGER, DriftMode
from trimtab.base.abreast import abreast
from trimtab.base.clock import Clock
from trimtab.controllers import health, verdicts
from trimtab.controllers.release import Outrun, Site
from trimtab.health.verdict import State, Verdict
from trimtab.helm import output
from trimtab.helm.record import Hook, Record, Status
from trimtab.kube.errors import AlreadyExists, ApiError, NotFound, UnknownKind
from trimtab.manifests.refs import Body, Gvk, Manifest, Origin, Ref
from trimtab.targets.contract import Effect, Outcome
from trimtab.targets.kubernetes import gate, ignore
from trimtab.targets.kubernetes.apply import read
from trimtab.targets.kubernetes.desired import Desired, Owner, prepare
from trimtab.targets.kubernetes.inventory import Entry
from trimtab.targets.kubernetes.planning import KubePlan
from trimtab.targets.kubernetes.prune import released_by
from trimtab.targets.kubernetes.scopes import scopes
from trimtab.targets.kubernetes.target import KubernetesTarget
from trimtab.targets.kubernetes.wish import Wish

_AGAIN_S: Final = (0.5, 1.0, 2.0)
"""What fails for reasons that may pass is tried again after so many seconds, before the action has failed."""
_LOOK_S: Final = 5.0
"""How often what no event tells of is looked at while it is waited for."""
_CONVALESCENCE_S: Final = 10.0
"""So long it is not believed that an object is still as bad as before the action.

A Deployment that has timed out says so of the new generation as well, until its controller has seen it progress.
"""
_GONE_LOOK_S: Final = 1.0
_NAMESPACE: Final = Gvk("", "v1", "Namespace")
_JOBS: Final = frozenset({("batch", "Job")})
_LEGACY: Final = frozenset(
    {
        ("", "PersistentVolumeClaim"),
        ("", "Pod"),
        ("", "ReplicationController"),
        ("", "Service"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apps", "DaemonSet"),
        ("apps", "Deployment"),
        ("apps", "ReplicaSet"),
        ("apps", "StatefulSet"),
        ("batch", "Job"),
    }
)
"""What Helm 3 waited for: with the strategy `legacy`, everything else is good as soon as it is applied."""
_SHOWN: Final = 10
_ON_RECORD: Final = "on record"
_DENIED: Final = re.compile(r"denied (?:the )?request")
"""What an admission webhook or an admission policy says, which refuse with 403 as missing rights do."""


class Refused(Exception):
    """The objects cannot be what is wished, or did not get there; the message says which and why."""


class Hindered(Refused):
    """What is in the way is none of the wish's doing: it is tried again, and does not count as a failure of it."""


class Rollout:
    """The ways of one release."""

    def __init__(self, site: Site, clock: Clock) -> None:
        self._site = site
        self._clock = clock
        self._ailing: dict[Ref, Verdict] = {}

    @property
    def _target(self) -> KubernetesTarget:
        return self._site.release.at.target

    async def prepare(self, manifest: str, hooks: Sequence[Hook] = ()) -> tuple[Desired, ...]:
        """The objects in `manifest` as they are sent. `hooks` will be run before or after them.

        Raises Terminal for what must never be sent, Transient for what may not go where it is wished.
        """
        items = await self._prepared(manifest)
        await self._site.admit([*items, *await self._prepared(output.joined(map(output.part_of, hooks)))])
        return items

    async def admit(self, hooks: Sequence[Hook]) -> None:
        """Raise Transient if `hooks` have objects that may not go where they say: a record may be anybody's."""
        await self._site.admit(await self._prepared(output.joined(map(output.part_of, hooks))))

    async def _prepared(self, manifest: str) -> tuple[Desired, ...]:
        site, place = self._site, self._site.release.at
        objects = await asyncio.to_thread(output.objects, manifest)
        namespaced = await scopes(place.client, objects)
        for one in objects:
            _place(one, site.of.namespace, namespaced)
        items = prepare(
            _last_ones(objects),
            site.owner,
            namespaced=namespaced,
            protected_namespace=place.protected,
            installs_us=not place.home,
        )
        drift = site.hr.spec.drift_detection
        return tuple(ignore.marked(items, ignore.compiled(drift.ignore if drift is not None else ())))

    def wish(
        self,
        items: Sequence[Desired],
        *,
        force: bool = False,
        drift: str = "",
        applied: bool = False,
        leaving: Iterable[Entry] = (),
    ) -> Wish:
        """`items` as a wish of the target; `applied` says that exactly this was applied once, perhaps not by us."""
        owner, client, inventory = self._site.owner, self._site.client, self._site.release.inventory
        if applied:  # that it is on record is enough, also for one whose uid nobody wrote down
            known = (inventory.get(item.ref) or Entry(item.ref, item.gvk.version) for item in items)
            inventory = {one.ref: one if one.uid else one._replace(uid=_ON_RECORD) for one in known}
        mode, gone = drift or DriftMode.CORRECT, frozenset(entry.ref for entry in leaving)
        wish = Wish(owner, client, tuple(items), inventory, False, mode, force, applied_before=applied, leaving=gone)
        witness = self._site.release.witness
        return wish._replace(witness=witness.built(items) if witness is not None else None)

    async def judged(
        self, items: Sequence[Desired], *, force: bool, foreign: bool, leaving: Iterable[Entry]
    ) -> tuple[Wish, KubePlan, list[gate.Judgement]]:
        """What the server says of `items` before anything is written. Raises Refused.

        `foreign` says that objects may be taken that exist already and say that they belong to no release, or another;
        `leaving` is what will be removed afterwards.
        """
        self._target.forgive(self._site.release.key)  # another revision: fields that were left to others are ours again
        if not foreign:
            await self._refuse_foreign(items)
        wish, pauses = self.wish(items, force=force, leaving=leaving), iter(_AGAIN_S)
        while True:
            plan = self._target.plan(wish, await self._target.observe(wish))
            judgements = await self._target.judge(wish, plan)
            refused = [judged for judged in judgements if isinstance(judged, gate.Refused)]
            if not refused:
                verdicts_before = ((item.ref, self._target.verdict(item.ref)) for item in items)
                self._ailing = {ref: verdict for ref, verdict in verdicts_before if verdict.bad}
                return wish, plan, judgements
            if not await self._bears(refused, pauses):
                self._forget(items)
                many = f"{len(refused)} objects were refused" if len(refused) > 1 else "an object was refused"
                raise _kind_of(refused)(f"{many}, nothing was applied: {gate.words(refused)}")

    def _forget(self, items: Sequence[Desired]) -> None:
        """Keep nothing in mind of `items` that never came about: they may be refused for ever, under ever new names."""
        release = self._site.release
        known = {item.ref for item in release.items} | release.inventory.keys()
        for item in items:
            if item.ref not in known:
                self._target.tracker.forget(item.ref, release.key)

    async def present(self, items: Sequence[Desired]) -> frozenset[Ref]:
        """Those of `items` that are there, whoever made them: no watch of ours tells of what others have made."""

        return frozenset(item.ref for item, live in await self._live(items) if live is not None)

    async def _live(self, items: Sequence[Desired]) -> list[tuple[Desired, Body | None]]:
        """What is there of `items`: nothing of a kind that is not served yet, since the chart itself defines it."""

        async def look(item: Desired) -> Body | None:
            with contextlib.suppress(UnknownKind):
                return await read(self._site.client, item)
            return None

        return list(zip(items, await abreast(look, items), strict=True))

    async def apply(
        self, wish: Wish, plan: KubePlan, judgements: Sequence[gate.Judgement], deadline: float, done: list[Outcome]
    ) -> None:
        """Apply what was judged; what has to wait for a definition of the same set is waited for. Raises Refused.

        What became of each object is put into `done`, also if others fail.
        """
        pauses = iter(_AGAIN_S)
        while True:
            outcomes = [outcome async for outcome in self._target.converge(wish, plan, judgements)]
            done += outcomes
            failures = [outcome for outcome in outcomes if outcome.effect is Effect.FAILED]
            waiting = [outcome for outcome in outcomes if outcome.effect is Effect.WAITING]
            if failures:
                await self._bear(failures, pauses)
            elif waiting:
                await self._pause(deadline, _GONE_LOOK_S, "; ".join(map(str, waiting[:_SHOWN])))
            else:
                return
            plan, judgements = self._target.plan(wish, await self._target.observe(wish)), ()

    async def settle(self, items: Sequence[Desired], deadline: float, *, jobs: bool) -> None:
        """Wait until `items` are healthy, Jobs only if asked. Raises Refused when one is not, or in time."""
        release, client, target = self._site.release, self._site.client, self._target
        strategy = self._site.hr.spec.wait_strategy
        legacy = strategy is not None and strategy.name == WaitStrategyName.LEGACY
        awaited = [item for item in items if item.watched and _is_awaited(item.ref, jobs=jobs, legacy=legacy)]
        began = self._clock.monotonic()
        while True:
            release.pulse.clear()
            await target.looking.again(client, release.key, awaited, unwatched=True)
            found = await target.verdicts(client, awaited)
            if self._clock.monotonic() < began + _CONVALESCENCE_S:
                found |= {ref: Verdict(State.InProgress, found[ref].message) for ref in self._still_ailing(found)}
            judged = health.judge(found)
            match judged.health:
                case health.Health.GOOD:
                    return
                case health.Health.BAD:
                    raise Refused(f"health check failed: {judged.message}")
            look = min(target.looking.next_s(awaited, _LOOK_S), _LOOK_S)
            await self._pause(deadline, look, judged.message)

    def _still_ailing(self, among: Iterable[Ref]) -> list[Ref]:
        """What is as bad as it was before the action, in the same words: they may be of before."""
        return [ref for ref in among if ref in self._ailing and self._target.verdict(ref) == self._ailing[ref]]

    async def define(self, crds: Sequence[Manifest], policy: CrdPolicy, deadline: float) -> None:
        """Create, or bring up to date, what is in `crds/` of the chart, and wait until it is served. Never deleted."""
        if policy is CrdPolicy.SKIP or not crds:
            return
        await self._site.admit(
            prepare(crds, self._site.owner, namespaced={}, protected_namespace="", installs_us=False)
        )
        client = self._site.client
        for one in crds:
            resource = await client.discovery.find(one.gvk)
            try:
                if policy is CrdPolicy.CREATE:
                    await client.create(resource, one.body, field_manager=HELM_MANAGER)
                else:
                    await client.apply(resource, one.ref.name, "", one.body, field_manager=HELM_MANAGER)
            except AlreadyExists:
                continue
            except ApiError as refusal:
                if refusal.transient:
                    raise
                raise Refused(f"{one.ref} in `crds/` of the chart was refused: {refusal}") from refusal
        for one in crds:
            await self._await(one, deadline)
        await client.discovery.refresh()

    async def _await(self, one: Manifest, deadline: float) -> None:
        """Wait until `one` is healthy."""
        while True:
            verdict = await self._target.verdict_of(self._site.client, one.gvk, one.ref, self._site.hr.key)
            if verdict.good:
                return
            await self._pause(deadline, _GONE_LOOK_S, f"{one.ref}: {verdict.message or verdict.state}")

    async def create_namespace(self, name: str) -> None:
        """Create the namespace of the objects unless it is there. Raises Transient where that is not allowed."""
        client = self._site.client
        resource = await client.discovery.find(_NAMESPACE)
        try:
            await client.get(resource, name)
        except NotFound:
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"name": name}}}
            await self._site.admit(admitted(self._site.owner, body, "spec.install.createNamespace"))
            try:
                await client.create(resource, body, field_manager=HELM_MANAGER)
            except AlreadyExists:
                return

    async def remove(self, entries: Sequence[Entry], deadline: float, *, wait: bool, propagation: str) -> list[Ref]:
        """Delete `entries`, unless they are no longer of the release, and wait until they are gone if asked.

        What was let go, since it is somebody else's by now, comes back. Raises Refused.
        """
        wish = Wish(self._site.owner, self._site.client, (), {}, prune=True, witness=self._site.release.witness)
        left, released, pauses = list(entries), list[Ref](), iter(_AGAIN_S)
        while left:
            # Whoever does not wait does not come back for what is put off either.
            outcomes = [o async for o in self._target.delete(wish, left, propagation=propagation, patient=wait)]
            released += [outcome.ref for outcome in outcomes if outcome.effect is Effect.RELEASED]
            failures = [outcome for outcome in outcomes if outcome.effect is Effect.FAILED]
            waiting = [outcome for outcome in outcomes if wait and outcome.effect is Effect.WAITING]
            open_ = {outcome.ref for outcome in (*failures, *waiting)}
            left = [entry for entry in left if entry.ref in open_]
            if failures:  # one that failed may just have changed between a look and the deletion
                await self._bear(failures, pauses)
            elif left:
                await self._pause(deadline, _GONE_LOOK_S, "; ".join(map(str, waiting[:_SHOWN])))
        return released

    async def entries(self, records: Iterable[Record]) -> dict[Ref, Entry]:
        """What may be deleted of the objects of `records`: all that does not ask to be kept. Raises Terminal."""
        found: dict[Ref, Entry] = {}
        for record in records:
            parsed = await asyncio.to_thread(output.objects, record.manifest)
            objects = [one for one in parsed if not output.keeps(one.body)]
            namespaced = await scopes(self._site.release.at.client, objects)
            for one in objects:
                _place(one, record.namespace, namespaced)
                found.setdefault(one.ref, Entry(one.ref, one.gvk.version))
        return found

    async def _refuse_foreign(self, items: Sequence[Desired]) -> None:
        of = self._site.owner.release
        foreign = []
        for item, live in await self._live(items):
            if live is not None and (holder := released_by(live)) != of:
                foreign.append(f"{item.ref} ({f'of the release {holder}' if holder else 'of no release'})")
        if foreign:
            listed = ", ".join(foreign[:_SHOWN])
            raise Refused(
                f"objects exist already and are not of this release: {listed}. Delete them, or allow them to be taken "
                "with disableTakeOwnership: false"
            )

    async def _bear(self, failures: Sequence[Outcome], pauses: Iterator[float]) -> None:
        """Let a moment pass before another try, or raise Refused if there is none."""
        if not await self._bears(failures, pauses):
            raise _kind_of(failures)(verdicts.failure_words(failures))

    async def _bears(self, failures: Sequence[gate.Refused | Outcome], pauses: Iterator[float]) -> bool:
        """Whether it is worth another try, which comes after a moment: one hiccup of a server is no failed action."""
        seconds = next(pauses, None)
        if seconds is None or _kind_of(failures) is not Hindered:
            return False
        if self._site.outdated():
            raise Outrun
        await self._clock.sleep(seconds)
        return True

    async def _pause(self, deadline: float, seconds: float, awaited: str) -> None:
        """Wait for news, or `seconds`. Raises Refused when the time is up, Outrun when the wish is another one."""
        if self._site.outdated():
            raise Outrun
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise Refused(f"timed out waiting for {awaited}")
        pulse = self._site.release.pulse
        try:
            async with asyncio.timeout(min(seconds, left)):
                await pulse.wait()
        except TimeoutError:
            return
        pulse.clear()


def admitted(owner: Owner, body: Body, where: str) -> list[Desired]:
    """An object that is no part of a chart, in the form in which it is asked whether it may be made."""
    one = Manifest(body, Origin(where, 1))
    return prepare([one], owner, namespaced={}, protected_namespace="", installs_us=True)


def passing(message: str, *, transient: bool) -> bool:
    """Whether a refusal in these words may pass although the wish stays as it is.

    Rights, quotas and servers that do not answer are somebody else's to mend. What a policy denies is denied to this
    very wish.
    """
    return "exceeded quota" in message or (transient and _DENIED.search(message) is None)


def _kind_of(failures: Sequence[gate.Refused | Outcome]) -> type[Refused]:
    """Hindered if the wish is to blame for none of `failures`: only that is worth another try."""
    blameless = all(passing(one.message, transient=one.transient and not one.stuck) for one in failures)
    return Hindered if blameless else Refused


def since_deployed(history: Sequence[Record]) -> list[Record]:
    """The records whose objects may be in the cluster: back to the last one that stood, if it was not uninstalled."""
    found: list[Record] = []
    for record in history:
        if record.status == Status.UNINSTALLED:
            break
        found.append(record)
        if record.status == Status.DEPLOYED:
            break
    return found


def _is_awaited(ref: Ref, *, jobs: bool, legacy: bool) -> bool:
    """Whether the health of `ref` counts."""
    kind = ref.group, ref.kind
    return (jobs or kind not in _JOBS) and (not legacy or kind in _LEGACY)


def _place(one: Manifest, namespace: str, namespaced: dict[Gvk, bool]) -> None:
    """What names no namespace goes to that of the release."""
    if namespaced.get(one.gvk, True) and not one.body["metadata"].get("namespace"):
        one.body["metadata"]["namespace"] = namespace


def _last_ones(objects: Sequence[Manifest]) -> list[Manifest]:
    """As in Helm, what a chart renders twice is what it is the last time."""
    return list({one.ref: one for one in objects}.values())
