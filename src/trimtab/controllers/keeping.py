"""What was applied last stays in force, or at least in sight, while nothing new is applied."""

from collections.abc import Callable
from dataclasses import dataclass

from trimtab.api.kustomize import Kustomization
from trimtab.controllers.access import Access
from trimtab.controllers.app import App
from trimtab.controllers.handover import Handover
from trimtab.controllers.scribe import Scribe
from trimtab.manifests.refs import Key
from trimtab.targets.contract import Action, Effect
from trimtab.targets.kubernetes.wish import Wish

AGAIN_S = 10.0
"""What could not be corrected is tried again after so long, whatever the app itself waits for."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Looks after the state that an app reached last. `again` gives an app another pass after so many seconds."""

    access: Access
    handover: Handover
    scribe: Scribe
    again: Callable[[Key, float], None]

    async def enforce(self, ks: Kustomization, app: App, wish: Wish) -> None:
        """While a newer revision is refused, drift from the last good one is corrected."""
        await self._settle(ks, app, wish)

    async def watch(self, ks: Kustomization, app: App, wish: Wish) -> None:
        """While the app is suspended, drift is told of, and nothing is written but that."""
        if await self._settle(ks, app, wish._replace(hands_off=True)):
            await self.scribe.note(ks, app)

    async def _settle(self, ks: Kustomization, app: App, wish: Wish) -> bool:
        """Look at what was disturbed, and at nothing else. Says whether there was something."""
        wish = wish._replace(items=self.handover.unclaimed(ks.key, wish.items))
        plan = app.target.plan(wish, await app.target.observe(wish))
        stages = tuple(tuple(change for change in stage if change.action is Action.CORRECT) for stage in plan.stages)
        if not any(stages):
            return False
        if not wish.hands_off:
            await self.access.client_for(ks, app.at, writing=True)
            await self.access.admit(ks, app.at, [change.after for stage in stages for change in stage if change.after])
        plan = plan._replace(stages=stages, deletions=())
        outcomes = [outcome async for outcome in app.target.converge(wish, plan)]
        if not wish.hands_off:
            app.identify(change.after for stage in stages for change in stage if change.after)
        if any(outcome.effect is Effect.FAILED for outcome in outcomes):
            self.again(ks.key, AGAIN_S)
        self.scribe.announce(ks, app.status.last_applied_revision, outcomes)
        return True
