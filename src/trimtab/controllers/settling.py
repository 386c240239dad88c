"""Whether what was applied is healthy, and what an app waits for until it is."""

from collections.abc import Callable
from dataclasses import dataclass

from trimtab.api import names
from trimtab.api.kustomize import Kustomization
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.controllers import early, health
from trimtab.controllers.app import App, Build
from trimtab.controllers.farewell import TERMINATION_LOOK_S
from trimtab.controllers.index import Published
from trimtab.controllers.journeys import Journeys
from trimtab.controllers.scribe import Scribe
from trimtab.kube.client import Client
from trimtab.manifests.refs import Gvk, Key, Ref
from trimtab.runtime.controller import LEAST_INTERVAL_S, Again, Result
from trimtab.targets.contract import Effect, Outcome

PENDING_LOOK_S = 10.0
"""How often an object that is awaited is read where no event tells of it."""


@dataclass(frozen=True, slots=True)
class Settling:
    """Looks at what came of a pass. `client` is that of our own cluster.

    `on_ready` is told when an app reaches a revision, and after how many seconds; `on_commit` of the time of a
    commit that came and is healthy.
    """

    client: Client
    clock: Clock
    scribe: Scribe
    journeys: Journeys
    on_ready: Callable[[Key, float], None]
    on_commit: Callable[[str], None]

    async def settle(
        self, ks: Kustomization, app: App, build: Build, client: Client, published: Published, outcomes: list[Outcome]
    ) -> Result:
        """What comes next: wait, or be ready. Raises where an object is unhealthy, or awaited for too long."""
        patient = app.pending_since is not None and app.pending_since + early.SETTLE_GRACE_S < self.clock.monotonic()
        await app.target.looking.again(client, ks.key, build.items, unwatched=patient)
        if ks.spec.wait or ks.spec.health_checks:
            self.journeys.check(ks.key)
        judged = await self._health(ks, app, build, client)
        now, revision = self.clock.monotonic(), published.artifact.revision
        pending_for = now - (app.pending_since or now)
        left = ks.spec.timeout_s - pending_for
        match judged.health:
            case health.Health.PENDING if left > 0:
                app.pending_since = app.pending_since or now
                grace = early.settling_s(pending_for, calm=self.client.calm)
                look = PENDING_LOOK_S if ks.spec.health_checks else float("inf")
                look = min(look, app.target.looking.next_s(build.items, PENDING_LOOK_S))
                if grace > 0:
                    return Again(min(left, grace, look))
                app.revision = ""
                await self.scribe.wait(ks, app, revision, f"waiting for {judged.message}")
                return Again(min(left, look))
            case health.Health.PENDING:
                words = f"health check timed out after {ks.spec.timeout_s:g} s: {judged.message}"
                raise Transient(names.Reason.HEALTH_CHECK_FAILED, words)
            case health.Health.BAD:
                raise Transient(names.Reason.HEALTH_CHECK_FAILED, f"health check failed: {judged.message}")
        app.pending_since = None
        if app.deferred is not None:
            return Again(app.deferred)
        moved, app.revision = app.revision != revision, revision
        self.journeys.arrive(ks.key)
        # What another process applied, or an app begins with, was committed before anybody waited for it.
        news = app.status.last_applied_revision not in ("", revision)
        await self.scribe.finish(ks, app, build, published, now - app.began)
        if moved:
            self.on_ready(ks.key, now - app.began)
        if moved and news and (committed := published.artifact.metadata.get(names.COMMIT_TIME)):
            self.on_commit(committed)
        terminating = app.postponed or any(outcome.effect is Effect.WAITING for outcome in outcomes)
        return Again(TERMINATION_LOOK_S if terminating else max(ks.spec.interval_s, LEAST_INTERVAL_S))

    async def _health(self, ks: Kustomization, app: App, build: Build, client: Client) -> health.Judgement:
        target = app.target
        if ks.spec.wait:
            return health.judge(await target.verdicts(client, [item for item in build.items if item.watched]))
        verdicts = {}
        for check in ks.spec.health_checks:
            gvk = Gvk.of(check.api_version or "v1", check.kind)
            ref = Ref(gvk.group, gvk.kind, check.namespace or ks.metadata.namespace, check.name)
            verdicts[ref] = await target.verdict_of(client, gvk, ref, ks.key)
        return health.judge(verdicts)
