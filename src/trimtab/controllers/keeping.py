"""What was applied last stays in force, or at least in sight, while nothing new is applied."""

from dataclasses import dataclass

from trimtab.api.kustomize import Kustomization
from trimtab.controllers.access import Access
from trimtab.controllers.app import App
from trimtab.controllers.handover import Handover
from trimtab.controllers.scribe import Scribe
from trimtab.targets.contract import Action
from trimtab.targets.kubernetes.target import Wish


@dataclass(frozen=True, slots=True)
class Keeping:
    """Looks after the state that an app reached last."""

    access: Access
    handover: Handover
    scribe: Scribe

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
        await self.access.client_for(ks, app.at, writing=True)
        plan = plan._replace(stages=stages, deletions=())
        outcomes = [outcome async for outcome in app.target.converge(wish, plan)]
        self.scribe.announce(ks, app.status.last_applied_revision, outcomes)
        return True
