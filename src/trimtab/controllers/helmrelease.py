"""The story of one HelmRelease: chart, values, records; then one action after the other until it is as wished."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from trimtab.api import names
from trimtab.api.gvk import HELM_RELEASE
from trimtab.api.helmrelease import DriftDetectionMode, HelmRelease
from trimtab.api.meta import ObjectMeta
from trimtab.api.names import Reason
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.base.traces import NO_TRACES, Traces, here
from trimtab.controllers import releasedependencies, supported
from trimtab.controllers.access import Access
from trimtab.controllers.charting import Charting, OnItsWay, source_of
from trimtab.controllers.driving import Driving, asked
from trimtab.controllers.holders import Holder
from trimtab.controllers.index import SourceId, SourceIndex
from trimtab.controllers.journeys import Journeys
from trimtab.controllers.places import Places
from trimtab.controllers.release import Case, Mark, Outrun, Release
from trimtab.controllers.releaselinks import ReleaseLinks
from trimtab.controllers.releaserecords import ReleaseRecords
from trimtab.controllers.releasescribe import ReleaseScribe
from trimtab.controllers.releasewatch import Watch, mode_of
from trimtab.controllers.rendering import Rendering
from trimtab.controllers.rollout import admitted
from trimtab.controllers.sites import Sites
from trimtab.controllers.standing import Stores
from trimtab.controllers.state import ObjectState
from trimtab.controllers.uninstalling import Uninstalling
from trimtab.controllers.valuing import Valuing, lasting
from trimtab.health.expressions import ExpressionError
from trimtab.helm.memory import Wish
from trimtab.helm.policy import longest_s, policy_of
from trimtab.helm.postrender import Changes
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound, StaleGroup, UnknownKind, Unreachable
from trimtab.kube.informer import Informer
from trimtab.manifests.conditions import find, truth
from trimtab.manifests.refs import Key
from trimtab.runtime.controller import LEAST_INTERVAL_S, Again, Done, Result
from trimtab.runtime.finalizers import drop, ensure
from trimtab.targets.kubernetes.tracking import News

_OLD_VIEW_S = 1.0
_LONGEST_PASS_S = 1800.0
_LONG_WAITS = 20
_REFUSALS = (ApiError, UnknownKind, StaleGroup, Unreachable)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the controller works with. `offers` are the objects that charts come from; `abroad` asks for a release that
    another process looks after, where there are.
    """

    client: Client
    objects: Informer[HelmRelease]
    sources: SourceIndex
    places: Places
    access: Access
    charting: Charting
    valuing: Valuing
    rendering: Rendering
    scribe: ReleaseScribe
    clock: Clock
    offers: Stores = field(default_factory=dict)
    traces: Traces = NO_TRACES
    abroad: Callable[[Key], Awaitable[HelmRelease | None]] | None = None


class HelmReleases:
    """Reconciles every HelmRelease. `wake` gives one another pass, `on_ready` hears which came to what was wished.

    Whoever watches the objects keeps the `links` between them.
    """

    def __init__(
        self, world: Surroundings, wake: Callable[[Key], None], on_ready: Callable[[Key, float], None]
    ) -> None:
        self._world = world
        self._wake = wake
        self._on_ready = on_ready
        self.links = ReleaseLinks()
        self._releases: dict[Key, Release] = {}
        self._nudged: set[Key] = set()
        self.journeys = Journeys(world.traces, world.clock)
        self._watch = Watch(world.scribe, world.clock)
        self._driving = Driving(world.scribe, world.rendering, self._watch, world.clock)
        self._sites = Sites(world.objects.store, world.sources, world.places, world.access, self._nudged)
        self._uninstalling = Uninstalling(
            *(world.client, world.clock, world.access, world.scribe, self._sites, self._driving)
        )

    # --- what others tell, and ask

    def tell(self, key: Key, news: News) -> bool:
        """News of an object of `key`; whether it wants a pass: while it is acted on, somebody waits for them."""
        release = self._releases.get(key)
        if release is None:
            return True
        release.pulse.set()
        if news is News.DISTURBED:
            release.disturbed = True
        return not release.busy and news is News.DISTURBED

    def stirred(self, holder: Holder, version: str) -> None:
        """The ConfigMap or Secret `holder` is at `version`: releases whose values are other ones now get a pass."""
        for key in self._world.valuing.stirred(holder, version):
            self._nudged.add(key)
            self._nudge(key)

    def moved(self, source: SourceId) -> None:
        """`source` has published something, or changed its state: releases of its chart get a pass."""
        for key in self.links.of_source(source):
            self._nudge(key)

    def depending(self, key: Key) -> None:
        """`key` is ready: those that waited for it get a pass."""
        for waiting in self.links.dependents(key):
            if not self.ready(waiting):
                self._wake(waiting)

    def unready(self) -> list[Key]:
        """The releases that are not as wished."""
        return [key for key in self._world.objects.store if not self.ready(key)]

    def state(self, key: Key) -> ObjectState | None:
        """How `key` is doing; None if it is gone."""
        hr, release = self._world.objects.store.get(key), self._releases.get(key)
        if hr is None:
            return None
        condition = find(release.status.conditions, names.ConditionType.READY) if release else None
        ready = truth(condition)
        since = min(release.unresolved.values(), default=None) if release else None
        return ObjectState(ready, release.revision if release else "", hr.spec.suspend, hr.spec.interval_s, since)

    def ready(self, key: Key) -> bool:
        """Whether `key` is as wished, as far as this process knows."""
        hr, release = self._world.objects.store.get(key), self._releases.get(key)
        if hr is None or release is None or release.settled is None or release.uid != hr.metadata.uid:
            return False
        return release.settled.generation == hr.metadata.generation

    def longest_s(self, key: Key) -> float:
        """How long a pass over `key` may take at most: it has several actions, and every hook has its own time."""
        hr = self._world.objects.store.get(key)
        return _LONGEST_PASS_S + (_LONG_WAITS * longest_s(hr.spec) if hr is not None else 0.0)

    # --- one pass

    async def reconcile(self, key: Key) -> Result:
        """One pass. What it raises decides when the next one is; the status says the same before."""
        hr = self._world.objects.store.get(key)
        if hr is None:
            self._forget(key)
            self._world.scribe.forget(key)
            return Done()
        release = self._remember(hr)
        self._nudged.discard(key)
        release.busy, release.disturbed = True, False
        try:
            with self.journeys.passing(hr, lambda: release.hiding.text, goes_on=(Outrun,)):
                return await self._attempt(hr, release)
        except Outrun:
            return Again(0.0)
        finally:
            release.busy = False

    async def _attempt(self, hr: HelmRelease, release: Release) -> Result:
        try:
            if not release.confirmed and not await self._confirm(hr, release):
                return Again(_OLD_VIEW_S)
            if hr.metadata.deleted:
                return await self._finalize(hr, release)
            if hr.spec.suspend:
                self._world.scribe.suspended(hr)
                self._forget(hr.key)  # others may write its status meanwhile, and that counts when it is resumed
                return Done()
            return await self._pass(hr, release)
        except OnItsWay:
            raise  # a moment later it is there, and until then what stands stands: nothing is worth a word
        except TrimtabError as failure:
            failure.message = release.hiding.text(failure.message)  # it is logged as well
            await self._fail(hr, release, failure)
            raise
        except (ApiError, UnknownKind, StaleGroup) as refusal:
            told = Transient(Reason.RECONCILIATION_FAILED, release.hiding.text(str(refusal)))
            await self._fail(hr, release, told)
            raise told from refusal
        except Unreachable as silence:
            release.settled = None
            if silence.server == self._world.client.server:
                raise  # nobody could be told
            told = Transient(Reason.RECONCILIATION_FAILED, str(silence))
            await self._fail(hr, release, told)
            raise told from silence

    async def _fail(self, hr: HelmRelease, release: Release, failure: TrimtabError) -> None:
        release.settled = None
        await self._world.scribe.fail(hr, release, failure)

    async def _pass(self, hr: HelmRelease, release: Release) -> Result:
        world = self._world
        supported.check_release(hr)
        self._judge_by(hr)
        world.scribe.strangers(hr, release)
        await self._claim(hr)
        await releasedependencies.check(hr, world.objects.store, self.ready, world.access, world.abroad)
        await world.charting.let_go(hr, release.status, leaving=False)
        world.scribe.chart(hr, release)
        try:
            case, records = await self._case(hr, release)
            return await self._settle(case, records)
        except TrimtabError as failure:
            raise lasting(hr, failure) from failure.__cause__

    async def _case(self, hr: HelmRelease, release: Release) -> tuple[Case, ReleaseRecords]:
        world = self._world
        wanted = await world.charting.resolve(hr)
        self._depart(hr, release, wanted.version)
        composed = await world.valuing.values(hr)
        release.hiding = release.hiding.following(composed.values.digest, composed.secret)
        of = Key(hr.release_namespace, hr.release_name)
        site = await self._sites.of(hr, release, of, wanted.published.artifact.digest)
        chart = f"{wanted.chart.metadata.name}@{wanted.version}"
        world.scribe.stand(hr, release, source_of(hr), wanted.published, chart, composed.values.digest)
        if hr.storage_namespace != hr.metadata.namespace:
            # whoever may write records there may read those of others, and roll back to them
            body = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": of.name, "namespace": hr.storage_namespace},
            }
            await site.admit(admitted(site.owner, body, "spec.storageNamespace"))
        wish = Wish(
            hr.metadata.generation,
            wanted.chart.metadata.name,
            wanted.version,
            composed.values.digest,
            wanted.digest,
            Changes(hr.spec.post_renderers).renderers_digest,
            Changes(common=hr.spec.common_metadata).common_digest,
        )
        policy = policy_of(hr.spec)._replace(corrects_drift=mode_of(hr) == DriftDetectionMode.ENABLED)
        case = Case(hr, release, site.client, of, site.outdated, site.admit, wanted, composed.values, wish, policy)
        return case, ReleaseRecords(site.client, world.clock, hr.storage_namespace, hr.release_name)

    def _depart(self, hr: HelmRelease, release: Release, version: str) -> None:
        source = source_of(hr)
        if here() is None or (published := self._world.sources.get(source)) is None:
            return
        ready, status = find(release.status.conditions, names.ConditionType.READY), release.status
        settled = (
            status.last_attempted_revision == version
            and status.observed_generation == hr.metadata.generation
            and truth(ready) is True
        )
        offer = self._world.offers.get(source.kind, {}).get(source.key)
        self.journeys.depart(hr, offer, published.artifact.revision, settled=settled)

    async def _settle(self, case: Case, records: ReleaseRecords) -> Result:
        """Do nothing if nothing is new; else act until it is as wished."""
        release, world = case.release, self._world
        wish = (case.hr.metadata.generation, case.hr.metadata.requested_at)
        if release.forgiven != wish:  # what was left to others is tried once more
            release.forgiven = wish
            release.at.target.forgive(case.hr.key)
        settled = release.settled
        # What is not settled is read as a whole anyway.
        mark = _mark(case, await records.mark()) if settled is not None else None
        if mark is None or settled != mark or asked(case) or await self._watch.look(case, None):
            release.settled = None
            if release.began is None:
                release.began = world.clock.monotonic()
            await world.access.client_for(case.hr, release.at, writing=True)
            tried = release.tried
            try:
                again = await self._driving.drive(case, records)
            finally:
                if release.tried != tried:
                    self.journeys.renew(case.hr.key)
            if again is not None:
                self._stop(release)
                return again
            mark = _mark(case, records.known())
        return await self._finish(case, mark)

    def _stop(self, release: Release) -> None:
        """Where there is no try left, the way of the revision ends here."""
        ready, stalled = (
            find(release.status.conditions, kind) for kind in (names.ConditionType.READY, names.ConditionType.STALLED)
        )
        if ready is not None and truth(stalled) is True:
            self.journeys.stop(release.key, Terminal(ready.reason, ready.message))

    async def _finish(self, case: Case, mark: Mark) -> Result:
        hr, release = case.hr, case.release
        self._world.scribe.notify(hr, release)
        watched = mode_of(hr) != DriftDetectionMode.DISABLED
        await self._world.scribe.finish(hr, release, watched=watched)
        self.journeys.arrive(hr.key)
        moved, release.settled = release.settled != mark, mark
        if moved and release.began is not None:
            self._on_ready(hr.key, self._world.clock.monotonic() - release.began)
        release.began = None
        if release.disturbed:
            self._wake(hr.key)  # a pass that failed comes again anyway, and not at once
        return Again(max(hr.spec.interval_s, LEAST_INTERVAL_S))

    # --- the end

    async def _finalize(self, hr: HelmRelease, release: Release) -> Result:
        """Uninstall the release, unless the object is suspended; then let the object go."""
        if names.FINALIZER not in hr.metadata.finalizers:
            return Done()
        world = self._world
        if not hr.spec.suspend:
            await self._uninstalling.part(hr, release)
        await world.charting.let_go(hr, release.status, leaving=True)
        await drop(world.client, await world.client.discovery.find(HELM_RELEASE), hr.metadata, names.FINALIZER)
        self._forget(hr.key)
        return Done()

    # --- parts

    def _nudge(self, key: Key) -> None:
        """What `key` is made of may be another by now; who waits for its objects looks whether it is."""
        if (release := self._releases.get(key)) is not None:
            release.pulse.set()
        self._wake(key)

    async def _confirm(self, hr: HelmRelease, release: Release) -> bool:
        """Whether `hr` is what the server has; then its status counts, for what it says of failures and revisions.

        The first view of a process may be an old one, by which what was tried in vain would be tried once more.
        """
        client = self._world.client
        try:
            resource = await client.discovery.find(HELM_RELEASE)
            live = await client.get(resource, hr.key.name, hr.key.namespace, type=HelmRelease)
        except NotFound:
            return False  # soon the view says so as well
        before, now = hr.metadata, live.metadata
        if _wished(before) != _wished(now):
            return False
        fresh = Release.of(live)
        release.status, release.draft, release.inventory = fresh.status, fresh.draft, fresh.inventory
        release.confirmed = True
        return True

    def _remember(self, hr: HelmRelease) -> Release:
        release = self._releases.get(hr.key)
        if release is None or release.uid != hr.metadata.uid:
            if release is not None:
                release.let_go()
            release = self._releases[hr.key] = Release.of(hr)
        return release

    def _forget(self, key: Key) -> None:
        release = self._releases.pop(key, None)
        if release is not None:
            release.let_go()
        self._nudged.discard(key)
        self.journeys.forget(key)
        self._world.places.leave(key)
        self._world.valuing.forget(key)
        self._world.places.own.target.judges.forget(key)

    async def _claim(self, hr: HelmRelease) -> None:
        if names.FINALIZER not in hr.metadata.finalizers:
            resource = await self._world.client.discovery.find(HELM_RELEASE)
            await ensure(self._world.client, resource, hr.metadata, names.FINALIZER)

    def _judge_by(self, hr: HelmRelease) -> None:
        try:
            self._world.places.own.target.judges.set(hr.key, hr.spec.health_check_exprs)
        except ExpressionError as wrong:
            raise Terminal(Reason.INVALID_CEL_EXPRESSION, f"spec.healthCheckExprs{wrong}") from wrong


def _wished(metadata: ObjectMeta) -> tuple[object, ...]:
    """What a person may change of an object."""
    return metadata.uid, metadata.generation, metadata.deleted, metadata.annotations


def _mark(case: Case, records: frozenset[tuple[str, str]]) -> Mark:
    hr = case.hr
    return Mark(
        hr.metadata.generation,
        case.wish.chart_name,
        case.wish.chart_version,
        case.values.digest,
        case.release.at.cluster,
        hr.metadata.annotations.get(names.Annotation.DRIFT, ""),
        records,
    )
