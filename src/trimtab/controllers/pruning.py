"""Whether what left the desired state may be deleted now: the guards before every prune (ENGINE.md §5)."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from trimtab.api import names
from trimtab.api.gvk import BUCKET, CRD, EXTERNAL_ARTIFACT, GIT_REPOSITORY, KUSTOMIZATION, OCI_REPOSITORY
from trimtab.api.kustomize import Kustomization
from trimtab.base.errors import Transient, Waiting
from trimtab.controllers import basis, weighing
from trimtab.controllers.app import UNREAD, App, Held
from trimtab.controllers.freeze import Freeze
from trimtab.controllers.handover import Handover, Wait, app_key
from trimtab.controllers.places import Places
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, NotFound, UnknownKind, Unreachable
from trimtab.manifests.refs import Gvk, Key, Ref
from trimtab.targets.kubernetes import budget, precious
from trimtab.targets.kubernetes.budget import Budget, Candidate
from trimtab.targets.kubernetes.desired import PREFIX, Owner
from trimtab.targets.kubernetes.inventory import Entry
from trimtab.targets.kubernetes.planning import KubePlan
from trimtab.targets.kubernetes.wish import Wish

_NAMESPACE = Gvk("", "v1", "Namespace")
_OUR_DEFINITIONS = (
    f"kustomizations.{KUSTOMIZATION.group}",
    f"gitrepositories.{GIT_REPOSITORY.group}",
)
_LATER_DEFINITIONS = {
    OCI_REPOSITORY.kind: f"ocirepositories.{OCI_REPOSITORY.group}",
    BUCKET.kind: f"buckets.{BUCKET.group}",
    EXTERNAL_ARTIFACT.kind: f"externalartifacts.{EXTERNAL_ARTIFACT.group}",
}
"""Of kinds that an installation may lack: they matter to the apps they are the source of."""


def budget_of(ks: Kustomization) -> Budget:
    """The deletion budget of `ks`, whose annotations have been found to make sense."""
    chosen = ks.metadata.annotations.get(names.Annotation.DELETION_BUDGET)
    return Budget() if chosen is None else Budget.parse(chosen)


@dataclass(frozen=True, slots=True)
class Pruning:
    """Asks, before anything is deleted, whether it may be. `apps` and `objects` are all Kustomizations, by key.

    `remember` puts on record what was approved, before anything of it is deleted.
    """

    freeze: Freeze
    objects: Mapping[Key, Kustomization]
    apps: Mapping[Key, App]
    handover: Handover
    client: Client
    namespace: str
    remember: Callable[[Kustomization, App], Awaitable[None]]
    places: Places

    async def guard(self, ks: Kustomization, app: App, wish: Wish, plan: KubePlan) -> KubePlan:
        """`plan` without the deletions that have to wait; `app.held` and `app.postponed` say why and how."""
        app.postponed, app.deferred = False, None
        ending = await self.ending(ks) if plan.deletions else ""
        # no await from here to the end of the wait: a claim that arrives in between must not be missed
        plan = self.hand_over(app, plan)
        if not plan.deletions:
            app.waits_since, app.granted = None, frozenset()
            return plan
        if why := self.freeze.why or self._unknown(ks):
            app.held = Held("DeletionsFrozen" if self.freeze.why else "UnknownAnnotation", why)
            return plan._replace(deletions=())
        if why := app.target.epoch.holds(app.key):
            if not plan._replace(deletions=()).quiet:
                app.held, app.postponed = Held("ClusterRestored", why), True
                return plan._replace(deletions=())
            app.target.epoch.clean(app.key)
        if ending:
            app.held = Held("Terminating", ending)
            return plan._replace(deletions=())
        if (wait := self.handover.wait(ks, app)) is not None:
            app.deferred = wait.after if wait.quiet else None
            app.postponed = True
            if not wait.quiet:
                app.held = Held("HandOver", wait.words)
            return plan._replace(deletions=())
        plan = await self._within_budget(ks, app, wish, plan)
        if plan.deletions and not await basis.confirm(self.client, ks, app):
            app.postponed = True
            return plan._replace(deletions=())
        if plan.deletions:
            await self.places.confirm(ks, app.at)
        return plan

    def hand_over(self, app: App, plan: KubePlan) -> KubePlan:
        """What another app desires is never deleted: it leaves the record when the other one has applied it (P1)."""
        elsewhere = self.handover.wanted_elsewhere(app.key, (change.ref for change in plan.deletions))
        for ref in elsewhere:
            if self.handover.settled(app.key, ref):
                self._let_go(app, ref)
        return plan._replace(deletions=tuple(change for change in plan.deletions if change.ref not in elsewhere))

    def _let_go(self, app: App, ref: Ref) -> None:
        app.inventory.pop(ref, None)
        app.target.tracker.forget(ref, app.key)

    def before_the_end(self, ks: Kustomization, app: App) -> Wait | None:
        """What has to be waited for before an app that is being deleted deletes what it owns; hands over the rest.

        Raises Waiting while deletions are frozen.
        """
        self.check_frozen()
        if (wait := self.handover.wait(ks, app)) is not None:
            return wait
        for ref in self.handover.wanted_elsewhere(app.key, list(app.inventory)):
            self._let_go(app, ref)
        return None

    async def ending(self, ks: Kustomization) -> str:
        """Why everything of `ks` is going on somebody else's order: its namespace or our own kinds are being deleted.

        Then nothing is pruned: deleting a definition of ours must not empty a cluster (P11, P16).
        """
        later = _LATER_DEFINITIONS.get(ks.spec.source_ref.kind)
        ours = [*_OUR_DEFINITIONS, *([later] if later else ())]
        about = [(CRD, name, "") for name in ours] + [(_NAMESPACE, ks.metadata.namespace, "")]
        for gvk, name, namespace in about:
            try:
                body = await self.client.get(await self.client.discovery.find(gvk), name, namespace)
            except NotFound:
                return f"{gvk.kind} {name} is gone"
            except (ApiError, Unreachable, UnknownKind, StaleGroup) as failure:
                words = f"{gvk.kind} {name} could not be looked at before deleting anything: {failure}"
                raise Transient(names.Reason.PRUNE_FAILED, words) from failure
            if body["metadata"].get("deletionTimestamp"):
                return f"{gvk.kind} {name} is being deleted"
        return ""

    def check_frozen(self) -> None:
        """Raise Waiting while nothing may be deleted, not even by an app that is itself being deleted."""
        if why := self.freeze.why:
            raise Waiting("DeletionsFrozen", f"what it owns cannot be deleted now: {why}")

    def _unknown(self, ks: Kustomization) -> str:
        """What a newer release may have meant to hold, this one must not delete."""
        unknown = ", ".join(ks.metadata.unknown_annotations())
        return f"deletions are held: this version does not know the annotations {unknown}" if unknown else ""

    async def _within_budget(self, ks: Kustomization, app: App, wish: Wish, plan: KubePlan) -> KubePlan:
        limit = budget_of(ks)
        approval = ks.metadata.annotations.get(names.Annotation.APPROVE_PRUNE, "")
        if app.approval != approval:
            app.approval, app.granted = approval, frozenset()
        entries = [wish.inventory[change.ref] for change in plan.deletions]
        last_seen = app.target.watches.last_seen
        candidates, later = await weighing.weigh(wish.client, wish.owner, entries, self.namespace, last_seen)
        if app.place is not None and app.place.home:
            await self._visit(candidate.ref for candidate in candidates)
            candidates = [await self._with_contents(wish.client, candidate) for candidate in candidates]
        decision = budget.decide(candidates, len(wish.inventory), limit, approval=approval, granted=app.granted)
        if decision.approved:
            app.granted |= {candidate.token for candidate in decision.approved}
            await self.remember(ks, app)
        app.postponed = bool(later)
        if decision.held:
            way = f"set the annotation {names.Annotation.APPROVE_PRUNE}:"
            app.held = Held("DeletionBudget", budget.words(decision, way))
        waiting = later | {candidate.ref for candidate in decision.held}
        return plan._replace(deletions=tuple(change for change in plan.deletions if change.ref not in waiting))

    async def _with_contents(self, client: Client, candidate: Candidate) -> Candidate:
        """Another app does not go alone: what it would delete counts with it, and what is precious in there too."""
        along: list[Entry] = []
        why = candidate.precious
        for owner, entries, away in self._contents(candidate.ref, set()):
            along += entries
            if away:
                far = next((entry.ref for entry in entries if precious.may_be(entry.ref)), None)
                why = why or (f"it owns {far} in another cluster, which is not looked into" if far else "")
                continue
            for ref, look in (await weighing.look_at(client, owner, entries, self.namespace)).items():
                if look.why and not why:
                    why = f"it owns {ref}: {look.why}"
        return candidate._replace(precious=why, along=tuple(entry.ref for entry in along))

    async def _visit(self, refs: Iterable[Ref]) -> None:
        """Ask for the apps of other processes among `refs`, and those that they would delete."""
        neighbours, seen = self.handover.neighbours, set[Key]()
        ahead = [app_key(ref) for ref in refs] if neighbours is not None else []
        while neighbours is not None and ahead:
            key = ahead.pop()
            if key is None or key in seen:
                continue
            seen.add(key)
            if key not in self.objects:
                await neighbours.visit([key])
            app = self.apps.get(key) or neighbours.record(key)
            ahead += [app_key(ref) for ref in app.inventory] if app is not None else []

    def _contents(self, ref: Ref, seen: set[Key]) -> Iterator[tuple[Owner, list[Entry], bool]]:
        key = app_key(ref)
        neighbours = self.handover.neighbours
        child = self.objects.get(key) if key else None
        if child is None and key and neighbours is not None:
            child = neighbours.seen(key)
        if key is None or child is None or key in seen or child.spec.suspend or not child.spec.prunes_on_deletion:
            return
        seen.add(key)
        app = self.apps.get(key) or (neighbours.record(key) if neighbours is not None else None) or App.of(child)
        if app.problem == UNREAD:
            raise Waiting(names.Reason.PROGRESSING, f"the inventory of Kustomization {key} was not read yet", after=1.0)
        elsewhere = self.handover.wanted_elsewhere(key, app.inventory)
        entries = [entry for entry in app.inventory.values() if entry.ref not in elsewhere]
        yield Owner(PREFIX, key), entries, child.spec.kube_config is not None
        for entry in entries if child.spec.kube_config is None else ():
            yield from self._contents(entry.ref, seen)
