"""Hooks and tests of a release, run as Helm runs them.

One after the other by weight and name. Each is deleted first if its policy says so, which it does where it says
nothing; created; and waited for until its Jobs and Pods have run to their end. After a failure nothing further runs.
What succeeded is deleted, by policy, once all of its event have succeeded or one has failed, so that an account lives
as long as the Job that acts under it.

An uninstall runs those of pre-delete and post-delete, and leaves the objects of the others where they are.

Where it is not as with Helm:

- A Job or Pod whose policy does not delete it beforehand is not taken for this run's if an earlier one left it. Helm 3
  refused it; Helm 4 applies onto it, and takes for done what has not run. Here, the run of ours that was cut short is
  ended by its policy and then followed by the new one; this very run of this revision, which only a crash can have cut
  short, is waited for; anything else is refused. Objects that do not run are applied onto, without force, as in Helm 4.
- A definition is waited for until it is established.
- After a refusal, too, what succeeded before it is deleted by its policy.
- No output is fetched, whatever a hook's output-log-policy says: it may hold secrets, and errors are read by many.

Objects of hooks carry no labels of ours: they are no part of the release, so they are not watched, corrected or pruned.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import msgspec

from trimtab.api.names import HOOK_OF
from trimtab.base.clock import Clock, rfc3339
from trimtab.health.shape import section
from trimtab.health.verdict import State
from trimtab.helm.attempt import Attempt, HookFailed, Made, Superseded, Target
from trimtab.helm.ending import ends
from trimtab.helm.output import DeletePolicy, Event, deletes, objects_of_hook
from trimtab.helm.record import Execution, Hook, Phase, Record
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, Unreachable
from trimtab.manifests.refs import Body, Manifest

__all__ = ["HookFailed", "Hooks", "Superseded", "Tested", "Told"]

log = logging.getLogger(__name__)

Told: TypeAlias = Callable[[Hook], Awaitable[None]]
"""Gets a hook with how it runs, to record that, before it is created and when it has ended."""


class Tested(NamedTuple):
    """How tests went, by their names. After the first that failed none ran, as with Helm: those have no phase."""

    phases: Mapping[str, str]
    failure: HookFailed | None = None


class Hooks:
    """Runs hooks of the revision that is `record`, by a client that acts under the release's account, on its cluster.

    `timeout_s` is what each hook has, deletion of the one before it included: so it is with Helm, and charts with
    several long ones rely on it. `hide` takes out of the words of others what is not to be told: a server that refuses
    an object may quote its values.
    """

    def __init__(
        self, client: Client, clock: Clock, record: Record, *, timeout_s: float, hide: Callable[[str], str] = str
    ) -> None:
        self._client = client
        self._clock = clock
        self._timeout_s = timeout_s
        self._hide = hide
        self._namespace = record.namespace
        # A release that was uninstalled and comes again counts from 1, so the number alone does not name a revision.
        self._release = f"{record.namespace}/{record.name}"
        self._revision = f"{self._release} v{record.version} {record.info.last_deployed or 'never'}"

    async def run(self, event: Event, hooks: Sequence[Hook], told: Told, outdated: Callable[[], bool]) -> None:
        """Run `hooks`, which are those of `event` in their order (`running`, `selected`).

        Raises HookFailed, Superseded as soon as `outdated()`, Terminal where a hook cannot be read (then none has run),
        what `told` raises, and Fenced.
        """
        work = [(hook, objects_of_hook(hook)) for hook in hooks]
        done: list[tuple[Attempt, list[Made]]] = []
        for hook, manifests in work:
            attempt = self._attempt(event, hook, outdated, [one for _, made in done for one in made])
            try:
                if outdated():
                    raise Superseded(event, f"{hook.kind} {hook.name}")
                done.append((attempt, await self._run(attempt, manifests, told)))
            except (HookFailed, Superseded):
                for before, made in done:
                    await self._discard(before.hook, made, DeletePolicy.SUCCEEDED)
                raise
        for attempt, made in reversed(done):
            if deletes(attempt.hook, DeletePolicy.SUCCEEDED):
                await replace(attempt, deadline=self._clock.monotonic() + self._timeout_s).clear(made)

    async def run_tests(self, tests: Sequence[Hook], told: Told, outdated: Callable[[], bool]) -> Tested:
        """Run `tests`, up to the first that fails. Raises as `run`, but for HookFailed."""
        phases: dict[str, str] = dict.fromkeys((test.name for test in tests), Phase.NONE)

        async def noted(test: Hook) -> None:
            phases[test.name] = test.last_run.phase
            await told(test)

        try:
            await self.run(Event.TEST, tests, noted, outdated)
        except HookFailed as failure:
            return Tested(phases, failure)
        return Tested(phases)

    def _attempt(self, event: Event, hook: Hook, outdated: Callable[[], bool], before: Sequence[Made]) -> Attempt:
        return Attempt(
            event,
            hook,
            self._client,
            self._clock,
            self._namespace,
            self._timeout_s,
            self._clock.monotonic() + self._timeout_s,
            outdated,
            self._hide,
            defined=any(one.target.stays for one in before),
        )

    async def _run(self, attempt: Attempt, manifests: Sequence[Manifest], told: Told) -> list[Made]:
        """Run one hook. Returns what is there of it."""
        hook = attempt.hook
        started = rfc3339(self._clock.now())

        async def tell(phase: Phase) -> None:
            ended = None if phase is Phase.RUNNING else rfc3339(self._clock.now())
            last = Execution(started_at=started, completed_at=ended, phase=phase)
            await told(msgspec.structs.replace(hook, last_run=last))

        made: list[Made] = []
        try:
            targets = [await attempt.locate(manifest, self._mark(attempt)) for manifest in manifests]
            found = [await self._prepare(attempt, target) for target in targets]
            await tell(Phase.RUNNING)
            for target, live in zip(targets, found, strict=True):
                made.append(await attempt.apply(target) if live is None else Made(target, live))
            await self._settle(attempt, made)
        except HookFailed:
            await tell(Phase.FAILED)
            await self._discard(hook, made, DeletePolicy.FAILED)
            raise
        except Superseded:
            await tell(Phase.UNKNOWN)
            raise
        await tell(Phase.SUCCEEDED)
        return made

    async def _prepare(self, attempt: Attempt, target: Target) -> Body | None:
        """Make place for `target`; what is there if it is of this very run."""
        live = await attempt.read(target)
        if live is None or target.stays:
            return None
        leaving = section(live, "metadata").get("deletionTimestamp")
        if leaving or deletes(attempt.hook, DeletePolicy.BEFORE_CREATION):
            await attempt.clear([Made(target, live)], "was not created: the one before it")
            return None
        if not ends(live):
            return None
        mark = str(section(live, "metadata", "annotations").get(HOOK_OF, ""))
        if mark == self._mark(attempt):
            return live
        if mark.partition(" ")[0] == self._release and await self._end(attempt, Made(target, live)):
            return None
        raise attempt.failure(
            target,
            f"was not created: {target.resource} {target.ref.name!r} already exists, left by an earlier run; "
            f"{target.way_out}",
        )

    async def _end(self, attempt: Attempt, left: Made) -> bool:
        """Bring what an earlier run of ours has left to the end that it would have had; whether it is gone then."""
        [seen] = await attempt.settle(
            [left], f"; {left.target.way_out}", "was not created: that of an earlier run is not done"
        )
        if not seen.gone:
            bad = attempt.verdict(seen.last).bad
            if not deletes(attempt.hook, DeletePolicy.FAILED if bad else DeletePolicy.SUCCEEDED):
                return False
            await attempt.clear([left], "was not created: that of an earlier run")
        return True

    async def _settle(self, attempt: Attempt, made: Sequence[Made]) -> None:
        """Wait until what is `made` has ended, and judge how."""
        under_way = [one for one in made if attempt.verdict(one.live).state is State.InProgress]
        seen = await attempt.settle(under_way)
        last = {one.target.ref: after.last for one, after in zip(under_way, seen, strict=True)}
        for target, live in made:
            body = last.get(target.ref, live)
            verdict = attempt.verdict(body)
            if verdict.bad:
                words = await attempt.words(body, verdict.message)
                raise attempt.failure(target, f"failed: {words}{_output(attempt.hook, target)}")
            if verdict.state is State.InProgress:
                short = "ttlSecondsAfterFinished" in section(body, "spec")
                soon = ", by its ttlSecondsAfterFinished maybe" if short else ""
                raise attempt.failure(
                    target, f"was deleted before it was seen to be done{soon}; last seen: {verdict.message}"
                )

    async def _discard(self, hook: Hook, made: Sequence[Made], policy: DeletePolicy) -> None:
        """Have deleted what is `made`, if the policy says so. There is a failure to be told already: none is raised."""
        for one in made if deletes(hook, policy) else ():
            try:
                if not one.target.stays:
                    await one.delete(self._client)
            except (ApiError, Unreachable) as failure:
                log.info("the hook %s was not deleted: %s", one.target, self._hide(str(failure)))

    def _mark(self, attempt: Attempt) -> str:
        return f"{self._revision} {attempt.event}"


def _output(hook: Hook, target: Target) -> str:
    """Where the output of what failed is."""
    if not ends(target.body):
        return ""
    if deletes(hook, DeletePolicy.FAILED):
        return f"; it is deleted with its output, as its delete policy {DeletePolicy.FAILED} says"
    return f"; for its output: `kubectl logs -n {target.ref.namespace} {target.ref.kind.lower()}/{target.ref.name}`"
