"""Objects that move from one app to another, and objects that two apps want (ENGINE.md §6 and P1).

Before an app deletes, every other app that is fed by the same source must have planned the same revision: what one of
them desires by then is handed over. Before an app applies, it looks whether another one holds the object and wants it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trimtab.api import names
from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.base.clock import Clock
from trimtab.base.errors import Waiting
from trimtab.controllers.app import App, Build
from trimtab.controllers.claims import Claim, Claims, Spot
from trimtab.controllers.index import SourceId, SourceIndex
from trimtab.controllers.neighbours import Neighbours
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes.desired import Desired

GRACE_S = 5.0
"""How long others may take to plan before the status says that a prune waits for them."""
_LOOK_S = 2.0
_SURVEY_S = 1.0
_CONTEST_LOOK_S = 30.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Deletions wait for other apps; `words` say for which, `after` is when to look again, `quiet` not to tell yet."""

    words: str
    after: float
    quiet: bool


@dataclass(frozen=True, slots=True)
class Handover:
    """Knows who wants what. `apps` and `objects` are all Kustomizations, by key; `home` is our own cluster.

    `neighbours` are those of other processes, where several share them.
    """

    home: str
    sources: SourceIndex
    objects: Mapping[Key, Kustomization]
    apps: Mapping[Key, App]
    claims: Claims
    clock: Clock
    neighbours: Neighbours | None = None

    def claim(self, ks: Kustomization, build: Build, revision: str) -> None:
        """Tell everybody what `ks` desires at `revision`."""
        source = SourceId(ks.spec.source_ref.kind, ks.source_key)
        before, generation = self.claims.get(ks.key), ks.metadata.generation
        if before is not None and (before.source, before.inputs) == (source, build.inputs):
            self.claims.record(ks.key, before.moved(revision, generation))
            return
        cluster = self._cluster(ks.key)
        spots = frozenset(Spot(cluster, item.ref) for item in build.items if item.wanted)
        keys = (app_key(spot.ref) for spot in spots if cluster == self.home)
        children = frozenset(key for key in keys if key is not None)
        self.claims.record(ks.key, Claim(source, revision, generation, build.inputs, spots, children))

    # --- before applying

    async def contest(self, ks: Kustomization, app: App, build: Build) -> None:
        """Return if `ks` may apply all of `build`; raises Waiting that names what others hold, and who.

        A build that has passed is not looked at again: from then on the others find our claim. Unless somebody of
        another process has put his labels on an object of it: then his record says whether he wants it.
        """
        if app.uncontested is build and not self._strangers(ks.key, build):
            return
        await app.target.watches.ensure({item.gvk for item in build.items})
        if self.neighbours is not None:
            await self.neighbours.visit(self._strangers(ks.key, build))
        # no await from here to the grants: two apps never both find an object free
        held: dict[Ref, Key] = {}
        for item in build.items:
            if item.wanted and (holder := self._holder(item.ref, ks.key)) is not None:
                held[item.ref] = holder
        for item in build.items:
            if item.wanted and item.ref not in held:
                self.claims.grant(Spot(self._cluster(ks.key), item.ref), ks.key)
        if held:
            self.claims.contend(ks.key, set(held.values()))
            reason = self._reason(held)
            soon = reason == names.Reason.PROGRESSING and any(holder not in self.objects for holder in held.values())
            raise Waiting(reason, self._words(held), after=_LOOK_S if soon else _CONTEST_LOOK_S)
        app.uncontested = build

    def _strangers(self, me: Key, build: Build) -> set[Key]:
        """The apps of other processes whose labels live objects of `build` have."""
        if self.neighbours is None:
            return set()
        owners = {self._owner(me, item.ref) for item in build.items if item.wanted}
        return {key for key in owners if key is not None and key != me and key not in self.objects}

    def _holder(self, ref: Ref, me: Key) -> Key | None:
        """The other app that holds `ref` and wants to keep it."""
        spot = Spot(self._cluster(me), ref)
        others = {key for key in self.claims.claimants(spot) if key != me and self._live(key)}
        granted = self.claims.granted(spot)
        if granted in others:
            return granted
        owner = self._owner(me, ref)
        if owner == me:
            return None
        if owner is not None and owner not in self.objects and self.neighbours is not None:
            if self.neighbours.holds(owner, ref, spot.cluster):
                return owner
        elif owner is not None and self._live(owner) and self._cluster(owner) == spot.cluster:
            claim = self.claims.get(owner)
            keeps = spot in claim.spots if claim else self._has(owner, ref)
            return owner if keeps else None
        return next((key for key in sorted(others) if self._has(key, ref)), None)

    def _reason(self, held: Mapping[Ref, Key]) -> str:
        current = any(self._current(holder) for holder in held.values())
        return names.Reason.CONFLICT if current else names.Reason.PROGRESSING

    def _words(self, held: Mapping[Ref, Key]) -> str:
        def line(ref: Ref, holder: Key) -> str:
            if self._current(holder):
                return f"{ref} is managed by Kustomization {holder}, which has it in its source too"
            where = "" if holder in self.objects else ", of another shard,"
            return f"{ref} is managed by Kustomization {holder}{where} which has not planned its newest revision yet"

        lines = "; ".join(line(ref, holder) for ref, holder in held.items())
        return f"nothing is applied: {lines}. Remove it from one of the two"

    def taken_over(self, me: Key, refs: Iterable[Ref]) -> None:
        """`me` has applied `refs`: who parts from one of them can let it go."""
        cluster = self._cluster(me)
        for ref in refs:
            self.claims.taken_over(me, Spot(cluster, ref))

    # --- before deleting

    async def survey(self) -> None:
        """Before anything is deleted: what do the apps of other processes desire? Raises what a client raises."""
        if self.neighbours is not None:
            await self.neighbours.survey()

    def wait(self, ks: Kustomization, app: App) -> Wait | None:
        """What has to be waited for before `ks` deletes anything; None if nothing has, or the time is over."""
        source = SourceId(ks.spec.source_ref.kind, ks.source_key)
        behind = self._behind(source, ks.key)
        unaware, stuck = self._behind_elsewhere(source, ks.key)
        now = self.clock.monotonic()
        if not behind | unaware | stuck:
            return None
        app.waits_since = now if app.waits_since is None else app.waits_since
        waited = now - app.waits_since
        if unaware:
            who = _some(unaware)
            words = f"deletions wait until {who}, of other shards, planned the same revision: their process must run"
            return Wait(words, _SURVEY_S if waited < GRACE_S else _LOOK_S, waited < GRACE_S)
        if waited >= ks.spec.timeout_s:
            return None
        if behind:
            self.claims.wait_for(ks.key, source, behind)
        behind |= stuck
        who = _some(behind)
        words = f"deletions wait until {who} planned the same revision, for {ks.spec.timeout_s:g} s at most"
        quiet = waited < GRACE_S
        return Wait(words, min(ks.spec.timeout_s - waited, GRACE_S - waited if quiet else _LOOK_S), quiet)

    def wanted_elsewhere(self, me: Key, refs: Iterable[Ref]) -> set[Ref]:
        """Those of `refs` that another live app desires."""
        cluster, refs = self._cluster(me), list(refs)
        spots = (Spot(cluster, ref) for ref in refs)
        found = {s.ref for s in spots if any(key != me and self._live(key) for key in self.claims.claimants(s))}
        return found if self.neighbours is None else found | set(self.neighbours.wanting(refs, cluster))

    def part(self, me: Key, refs: Iterable[Ref]) -> None:
        """`me` has `refs` on record and desires them no more: it is woken when somebody else has applied one."""
        cluster = self._cluster(me)
        self.claims.part(me, (Spot(cluster, ref) for ref in refs))

    def settled(self, me: Key, ref: Ref) -> bool:
        """Whether the app that desires `ref` has made it its own.

        The answer to its apply counts as much as what a watch has shown: that may come later, and wakes nobody.
        """
        tracked = self.apps[me].target.tracker.get(ref)
        if tracked is not None and tracked.baseline is not None:
            owner = tracked.baseline.owner
            if tracked.app != me and owner is not None and owner.key != me:
                return True
        seen = self.apps[me].target.watches.last_seen(ref)
        if seen is not None:
            return seen.owner is not None and seen.owner.key != me
        spot = Spot(self._cluster(me), ref)
        others = (self.apps.get(key) for key in self.claims.claimants(spot) if key != me)
        return any(app.inventory[ref].uid != "" for app in others if app and ref in app.inventory)

    def unclaimed(self, me: Key, items: Iterable[Desired]) -> tuple[Desired, ...]:
        """Those of `items` that no other live app desires."""
        found = list(items)
        elsewhere = self.wanted_elsewhere(me, (item.ref for item in found))
        return tuple(item for item in found if item.ref not in elsewhere)

    def _behind(self, source: SourceId, me: Key) -> set[Key]:
        """The apps fed by `source` that have not planned its newest revision; apps about to be created count too.

        An app that goes to another cluster has nothing to take over here.
        """
        published = self.sources.get(source)
        if published is None:
            return set()
        revision, cluster, behind = published.artifact.revision, self._cluster(me), set()
        for key, ks in self.objects.items():
            fed = (ks.spec.source_ref.kind, ks.source_key) == source
            if key == me or not fed or self._cluster(key) != cluster:
                continue
            if not ks.spec.suspend and not ks.metadata.deleted:
                claim = self.claims.get(key)
                if claim is None or (claim.revision, claim.generation) != (revision, ks.metadata.generation):
                    behind.add(key)
        for key, claim in self.claims.of_source(source):
            if self._live(key) and not self.objects[key].spec.suspend:
                behind.update(child for child in claim.children if child not in self.objects)
        return behind if self.neighbours is None else behind - self.neighbours.last.keys()

    def _behind_elsewhere(self, source: SourceId, me: Key) -> tuple[set[Key], set[Key]]:
        """The same for apps of other processes: who has not looked at the revision, and who got no further with it."""
        published = self.sources.get(source)
        if self.neighbours is None or published is None:
            return set(), set()
        return self.neighbours.behind(source, published.artifact.revision, self._cluster(me))

    def _live(self, key: Key) -> bool:
        ks = self.objects.get(key)
        return ks is not None and not ks.metadata.deleted

    def _current(self, key: Key) -> bool:
        if self.neighbours is not None and key not in self.objects:
            found = self.neighbours.neighbour(key)
            offered = self.sources.get(found.source) if found is not None else None
            told = found.planned if found is not None else ""
            return told != "" and (offered is None or offered.artifact.revision == told)
        claim, ks = self.claims.get(key), self.objects.get(key)
        if claim is None or ks is None:
            return False
        published = self.sources.get(claim.source)
        newest = published.artifact.revision if published else claim.revision
        return (claim.revision, claim.generation) == (newest, ks.metadata.generation)

    def _cluster(self, key: Key) -> str:
        """The cluster that `key` goes to, as far as that is known yet."""
        app, ks = self.apps.get(key), self.objects.get(key)
        if app is not None and app.place is not None:
            return app.place.cluster
        if ks is None or ks.spec.kube_config is None:
            return self.home
        return ks.status.inventory.cluster if ks.status.inventory else ""

    def _owner(self, me: Key, ref: Ref) -> Key | None:
        """Who owns the live object, if it is ours: labels on an object that we never applied mean nothing (P9)."""
        seen = self.apps[me].target.watches.last_seen(ref)
        return seen.owner.key if seen is not None and seen.owner is not None and seen.owned else None

    def _has(self, key: Key, ref: Ref) -> bool:
        """Whether `key` has `ref` on record. A record that was not read yet, or cannot be, may hold anything."""
        ks = self.objects.get(key)
        app = self.apps.get(key) or (App.of(ks) if ks is not None else None)
        return app is not None and (ref in app.inventory or bool(app.problem))


def _some(keys: set[Key]) -> str:
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return ", ".join(map(str, sorted(keys)[:5])) + more


def app_key(ref: Ref) -> Key | None:
    """The key of `ref` if it is an app of ours."""
    is_app = (ref.group, ref.kind) == (KUSTOMIZATION.group, KUSTOMIZATION.kind)
    return Key(ref.namespace, ref.name) if is_app else None
