"""The end of a Kustomization: what it owns is deleted, released, or held, and then the object may go."""

from collections.abc import Awaitable, Callable, MutableMapping

from trimtab.api import names
from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import DeletionPolicy, Kustomization
from trimtab.base.errors import Transient, TrimtabError, Waiting
from trimtab.controllers.access import Access
from trimtab.controllers.app import App
from trimtab.controllers.basis import Outdated, confirm, recall
from trimtab.controllers.place import Place
from trimtab.controllers.pruning import Pruning
from trimtab.controllers.retreat import Retreat
from trimtab.controllers.scribe import Scribe
from trimtab.kube.client import Client
from trimtab.manifests.refs import Key
from trimtab.runtime.controller import Again, Done, Result
from trimtab.runtime.finalizers import drop
from trimtab.targets.contract import Effect, Outcome
from trimtab.targets.kubernetes import prune
from trimtab.targets.kubernetes.desired import PREFIX, Owner
from trimtab.targets.kubernetes.wish import Wish

TERMINATION_LOOK_S = 2.0
"""How often what is on its way out is looked at."""
_SHOWN = 10


class Farewell:
    """Finalizes apps that are being deleted. `apps` is what the controller remembers of them all.

    `enter` tells the cluster of an app, and raises while that cannot be used.
    """

    def __init__(
        self,
        client: Client,
        enter: Callable[[Kustomization, App], Awaitable[Place]],
        access: Access,
        pruning: Pruning,
        scribe: Scribe,
        apps: MutableMapping[Key, App],
        retreat: Retreat,
    ) -> None:
        self._client = client
        self._enter = enter
        self._access = access
        self._pruning = pruning
        self._scribe = scribe
        self._apps = apps
        self._retreat = retreat

    async def finalize(self, ks: Kustomization, app: App) -> Result:
        """Delete what the app owns, unless it says otherwise, then let the object go."""
        if names.FINALIZER not in ks.metadata.finalizers:
            return Done()
        await recall(self._client, app)
        if ks.spec.prunes_on_deletion and not ks.spec.suspend and (app.inventory or app.problem):
            try:
                if why := await self._pruning.ending(ks):
                    self._scribe.orphaned(ks, app.inventory, f"the cluster: {why}")
                    return await self._release(ks, app)
                app.check()
                place = await self._enter(ks, app)
                await self._pruning.handover.survey()
                wait = self._pruning.before_the_end(ks, app) or self._retreat.wait(ks)
                if wait is not None and not wait.quiet:
                    raise Waiting(names.Reason.PROGRESSING, wait.words, after=wait.after)
                if wait is not None:
                    return Again(wait.after)
                if words := self._retreat.begin(ks):
                    self._scribe.warn(ks, names.Reason.DEPENDENTS_LEFT, words)
                await self._pruning.places.confirm(ks, place)
                if not await confirm(self._client, ks, app):
                    return Again(TERMINATION_LOOK_S)
                late = self._retreat.late(ks)
                terminating = await self._delete_all(ks, app, place, patient=not late)
            except Outdated:
                raise  # the record is not ours to write
            except TrimtabError as failure:
                await self._scribe.fail(ks, app, failure, None)
                raise
            if terminating and ks.spec.deletion_policy == DeletionPolicy.WAIT_FOR_TERMINATION:
                await self._linger(ks, app, terminating)
                return Again(TERMINATION_LOOK_S)
            if clearing := [outcome for outcome in terminating if prune.clears(outcome.ref, Owner(PREFIX, ks.key))]:
                if not late:
                    await self._scribe.fail(ks, app, Waiting(names.Reason.PROGRESSING, _listed(clearing)), None)
                    return Again(TERMINATION_LOOK_S)
                words = f"what it owns was deleted although this took more than {ks.spec.timeout_s:g} s"
                self._scribe.warn(ks, names.Reason.TERMINATION_OVERDUE, f"{words}: {_listed(clearing)}")
        return await self._release(ks, app)

    async def _linger(self, ks: Kustomization, app: App, terminating: list[Outcome]) -> None:
        """Say what is waited for; where it takes longer than the timeout, warn. It stays until all of it is gone."""
        listed = _listed(terminating)
        await self._scribe.fail(ks, app, Waiting(names.Reason.PROGRESSING, listed), None)
        if self._retreat.overdue(ks):
            words = (
                f"what it owns is not gone after {ks.spec.timeout_s:g} s: {listed}. It goes on waiting; "
                "spec.deletionPolicy Orphan lets it go and leaves them"
            )
            self._scribe.warn(ks, names.Reason.TERMINATION_OVERDUE, words)

    async def _release(self, ks: Kustomization, app: App) -> Result:
        """Let the object go; what it still owns stays."""
        for ref in app.inventory if app.place is not None else ():
            app.target.tracker.forget(ref, ks.key)
        await self._scribe.close(app)
        resource = await self._client.discovery.find(KUSTOMIZATION)
        await drop(self._client, resource, ks.metadata, names.FINALIZER)
        self._apps.pop(ks.key, None)
        self._retreat.forget(ks.key)
        return Done()

    async def _delete_all(self, ks: Kustomization, app: App, place: Place, *, patient: bool) -> list[Outcome]:
        """Delete everything on record. What is still on its way out, or put off until it is, comes back."""
        client = await self._access.client_for(ks, place, writing=True)
        wish = Wish(Owner(PREFIX, ks.key), client, (), dict(app.inventory), prune=True)
        wish = wish._replace(witness=self._scribe.witness(ks, app, None))
        deleting = place.target.delete(wish, list(wish.inventory.values()), patient=patient)
        outcomes = [outcome async for outcome in deleting]
        for outcome in outcomes:
            if outcome.effect in (Effect.DELETED, Effect.RELEASED):
                app.inventory.pop(outcome.ref, None)
        self._scribe.announce(ks, app.status.last_applied_revision, outcomes)
        failures = [outcome for outcome in outcomes if outcome.effect is Effect.FAILED]
        if failures:
            raise Transient(names.Reason.PRUNE_FAILED, "; ".join(map(str, failures)))
        return [outcome for outcome in outcomes if outcome.effect is Effect.WAITING]


def _listed(outcomes: list[Outcome]) -> str:
    more = f" and {len(outcomes) - _SHOWN} more" if len(outcomes) > _SHOWN else ""
    return "; ".join(map(str, outcomes[:_SHOWN])) + more
