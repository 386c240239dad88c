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

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from trimtab.api.names import HELM_MANAGER, HOOK_OF, Reason
from trimtab.base.clock import Clock, rfc3339
from trimtab.base.errors import Transient, Waiting
from trimtab.health.context import Context
from trimtab.health.shape import section
from trimtab.health.verdict import State
from trimtab.helm.ending import DEFINITION, containers, cut, ending, ends, kind_of
from trimtab.helm.output import DeletePolicy, Event, deletes, objects_of_hook
from trimtab.helm.record import Execution, Hook, Phase, Record
from trimtab.kube.client import Client
from trimtab.kube.errors import (
    NO_ANSWER,
    ApiError,
    Conflict,
    Fenced,
    NotFound,
    StaleGroup,
    UnknownKind,
    Unreachable,
)
from trimtab.kube.following import Following
from trimtab.kube.pause import pause
from trimtab.kube.resource import Resource
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Gvk, Manifest, Ref

log = logging.getLogger(__name__)

Told: TypeAlias = Callable[[Hook], Awaitable[None]]
"""Gets a hook with how it runs, to record that, before it is created and when it has ended."""

T = TypeVar("T")

_PODS: Final = Resource(Gvk("", "v1", "Pod"), "pods", True)
_MOST_PODS: Final = 20
_MOST_TOLD: Final = 3
_TICK_S: Final = 1.0
"""How often it is asked whether the wish has changed: a look into memory."""
_PATIENCE_S: Final = 30.0
"""So long a server that cannot be reached, or is not ready, is asked again before that is a failure."""
_PAUSES_S: Final = (0.5, 5.0)
_UNTIL_SERVED_S: Final = 10.0

_REASONS: Final = {
    Event.PRE_INSTALL: Reason.INSTALL_FAILED,
    Event.POST_INSTALL: Reason.INSTALL_FAILED,
    Event.PRE_UPGRADE: Reason.UPGRADE_FAILED,
    Event.POST_UPGRADE: Reason.UPGRADE_FAILED,
    Event.PRE_ROLLBACK: Reason.ROLLBACK_FAILED,
    Event.POST_ROLLBACK: Reason.ROLLBACK_FAILED,
    Event.PRE_DELETE: Reason.UNINSTALL_FAILED,
    Event.POST_DELETE: Reason.UNINSTALL_FAILED,
    Event.TEST: Reason.TEST_FAILED,
}


class HookFailed(Transient):
    """A hook that failed, was refused, or was not done in time. Its reason is that of the action it belongs to."""

    def __init__(self, event: Event, hook: Hook, what: str, cause: str) -> None:
        super().__init__(_REASONS[event], f"the {event} hook {what} {cause}")
        self.event = event
        self.hook = hook


class Superseded(Waiting):
    """The wish changed while a hook was waited for: what is wished now is to be done instead."""

    def __init__(self, event: Event, what: str) -> None:
        super().__init__(
            Reason.PROGRESSING,
            f"the {event} hook {what} is not waited for: what is wished has changed meanwhile",
            after=0.0,
        )


class Tested(NamedTuple):
    """How tests went, by their names. After the first that failed none ran, as with Helm: those have no phase."""

    phases: Mapping[str, str]
    failure: HookFailed | None = None


class _Target(NamedTuple):
    """An object of a hook, and where it belongs."""

    resource: Resource
    ref: Ref
    body: Body

    @property
    def stays(self) -> bool:
        """Whether it is never deleted, whatever its policy says: with a definition goes all that is made of it."""
        return kind_of(self.body) == DEFINITION

    def __str__(self) -> str:
        place = "/".join(part for part in (self.ref.namespace, self.ref.name) if part)
        return f"{self.ref.kind} {place}"


class _Made(NamedTuple):
    """A target as the server has it."""

    target: _Target
    live: Body


class _Run(NamedTuple):
    """A hook at one event, with the time it has left; `defined`: one before it was a definition."""

    event: Event
    hook: Hook
    deadline: float
    outdated: Callable[[], bool]
    defined: bool = False


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
        done: list[tuple[_Run, list[_Made]]] = []
        for hook, manifests in work:
            defined = any(one.target.stays for _, made in done for one in made)
            run = _Run(event, hook, self._clock.monotonic() + self._timeout_s, outdated, defined)
            try:
                if outdated():
                    raise Superseded(event, f"{hook.kind} {hook.name}")
                done.append((run, await self._run(run, manifests, told)))
            except (HookFailed, Superseded):
                for ran, made in done:
                    await self._discard(ran.hook, made, DeletePolicy.SUCCEEDED)
                raise
        for ran, made in reversed(done):
            if deletes(ran.hook, DeletePolicy.SUCCEEDED):
                await self._clear(ran._replace(deadline=self._clock.monotonic() + self._timeout_s), made)

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

    async def _run(self, run: _Run, manifests: Sequence[Manifest], told: Told) -> list[_Made]:
        """Run one hook. Returns what is there of it."""
        started = rfc3339(self._clock.now())

        async def tell(phase: Phase) -> None:
            ended = None if phase is Phase.RUNNING else rfc3339(self._clock.now())
            last = Execution(started_at=started, completed_at=ended, phase=phase)
            await told(msgspec.structs.replace(run.hook, last_run=last))

        made: list[_Made] = []
        try:
            targets = [await self._locate(run, manifest) for manifest in manifests]
            found = [await self._prepare(run, target) for target in targets]
            await tell(Phase.RUNNING)
            for target, live in zip(targets, found, strict=True):
                made.append(_Made(target, live or await self._apply(run, target)))
            await self._settle(run, made)
        except HookFailed:
            await tell(Phase.FAILED)
            await self._discard(run.hook, made, DeletePolicy.FAILED)
            raise
        except Superseded:
            await tell(Phase.UNKNOWN)
            raise
        await tell(Phase.SUCCEEDED)
        return made

    async def _locate(self, run: _Run, manifest: Manifest) -> _Target:
        """Where an object belongs, and what of it is sent."""
        gvk, ref = manifest.gvk, manifest.ref
        discovery, named = self._client.discovery, f"{gvk.kind} {ref.name}"
        # What a hook before this one defines, the server may need a moment to serve.
        find = partial(discovery.wait_for, gvk, _UNTIL_SERVED_S) if run.defined else partial(discovery.find, gvk)
        try:
            resource = await self._ask(run, named, "was not created", find)
        except UnknownKind as failure:
            raise self._failure(run, named, f"was not created: {failure}") from failure
        body: Body = codec.clone(manifest.body)
        metadata = body["metadata"]
        namespace = (ref.namespace or self._namespace) if resource.namespaced else ""
        metadata.pop("namespace", None)
        if namespace:
            metadata["namespace"] = namespace
        metadata["annotations"] = {**section(metadata, "annotations"), HOOK_OF: self._mark(run)}
        return _Target(resource, ref._replace(namespace=namespace), body)

    async def _prepare(self, run: _Run, target: _Target) -> Body | None:
        """Make place for `target`; what is there if it is of this very run."""
        live = await self._read(run, target)
        if live is None or target.stays:
            return None
        if section(live, "metadata").get("deletionTimestamp") or deletes(run.hook, DeletePolicy.BEFORE_CREATION):
            await self._clear(run, [_Made(target, live)], "was not created: the one before it")
            return None
        if not ends(live):
            return None
        mark = str(section(live, "metadata", "annotations").get(HOOK_OF, ""))
        if mark == self._mark(run):
            return live
        if mark.partition(" ")[0] == self._release and await self._end(run, _Made(target, live)):
            return None
        raise self._failure(
            run,
            target,
            f"was not created: {target.resource} {target.ref.name!r} already exists, left by an earlier run; delete it "
            f"(`kubectl delete -n {target.ref.namespace} {target.resource} {target.ref.name}`), or give the hook the "
            f"delete policy {DeletePolicy.BEFORE_CREATION}",
        )

    async def _end(self, run: _Run, left: _Made) -> bool:
        """Bring what an earlier run of ours has left to the end that it would have had; whether it is gone then."""
        [seen] = await self._until(run, [left], self._ended, "was not created: that of an earlier run is not done")
        if not seen.gone:
            verdict = ending(seen.last, self._context)
            if not deletes(run.hook, DeletePolicy.FAILED if verdict.bad else DeletePolicy.SUCCEEDED):
                return False
            await self._clear(run, [left], "was not created: that of an earlier run")
        return True

    async def _apply(self, run: _Run, target: _Target) -> Body:
        name, namespace = target.ref.name, target.ref.namespace

        async def apply() -> Body:
            # Without force: what a hook finds belongs to somebody else.
            return await self._client.apply(
                target.resource, name, namespace, target.body, field_manager=HELM_MANAGER, force=False
            )

        return await self._ask(run, target, "was not created", apply)

    async def _settle(self, run: _Run, made: Sequence[_Made]) -> None:
        """Wait until all that is `made` has ended, all of it at once: what is done may be removed at any time."""
        running = [one for one in made if ending(one.live, self._context).state is State.InProgress]
        seen = await self._until(run, running, self._ended, "was not done")
        last = {one.target.ref: after.last for one, after in zip(running, seen, strict=True)}
        for target, live in made:
            body = last.get(target.ref, live)
            verdict = ending(body, self._context)
            if verdict.bad:
                words = await self._words(body, verdict.message)
                raise self._failure(run, target, f"failed: {words}{self._output(run, target)}")
            if verdict.state is State.InProgress:
                raise self._failure(
                    run, target, f"was deleted before it was seen to be done; the last of it was: {verdict.message}"
                )

    async def _clear(self, run: _Run, made: Sequence[_Made], what: str = "was not deleted: it") -> None:
        """Delete what is `made`, and wait until it is gone."""
        leaving = []
        for one in made:
            target, live = one
            if target.stays:
                continue
            going = section(live, "metadata").get("deletionTimestamp")
            if not going and await self._ask(run, target, "was not deleted", partial(self._delete, one)):
                continue
            now = await self._read(run, target)
            if now is not None and now["metadata"]["uid"] == live["metadata"]["uid"]:
                leaving.append(_Made(target, now))
        await self._until(run, leaving, _leaving, f"{what} is not gone")

    async def _discard(self, hook: Hook, made: Sequence[_Made], policy: DeletePolicy) -> None:
        """Have deleted what is `made`, if the policy says so. There is a failure to be told already: none is raised."""
        if not deletes(hook, policy):
            return
        for one in made:
            try:
                if not one.target.stays:
                    await self._delete(one)
            except (ApiError, Unreachable) as failure:
                log.info("the hook %s was not deleted: %s", one.target, self._hide(str(failure)))

    async def _delete(self, made: _Made) -> bool:
        """Delete exactly what was made; whether it is known to be gone at once."""
        target, live = made
        try:
            answer = await self._client.delete(
                target.resource, target.ref.name, target.ref.namespace, uid=live["metadata"]["uid"]
            )
        except NotFound:
            return True
        except Conflict:
            return False  # another one has its name
        return bool(answer.get("kind") == "Status")

    async def _read(self, run: _Run, target: _Target) -> Body | None:
        async def read() -> Body | None:
            try:
                found: Body = await self._client.get(target.resource, target.ref.name, target.ref.namespace)
            except NotFound:
                return None
            return found

        return await self._ask(run, target, "cannot be read", read)

    async def _until(
        self, run: _Run, made: Sequence[_Made], waits: Callable[[Following], str], what: str
    ) -> list[Following]:
        """Follow what is `made` until none of it `waits` for anything."""
        woken = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            seen = [
                await stack.enter_async_context(Following(self._client, target.resource, live, woken))
                for target, live in made
            ]
            while True:
                woken.clear()
                for (target, _), one in zip(made, seen, strict=True):
                    try:
                        await one.look()
                    except ApiError as failure:
                        raise self._failure(run, target, f"can be neither watched nor read: {failure}") from failure
                late = next((place for place, one in enumerate(seen) if waits(one)), None)
                if late is None:
                    return seen
                target = made[late].target
                if run.outdated():
                    raise Superseded(run.event, str(target))
                left = run.deadline - self._clock.monotonic()
                if left <= 0:
                    words = await self._words(seen[late].last, waits(seen[late]))
                    old = f" ({seen[late].problem})" if seen[late].problem else ""
                    raise self._failure(run, target, f"{what} after {self._timeout_s:g} s: {words}{old}")
                await pause(self._clock, min(left, _TICK_S), woken)

    async def _ask(self, run: _Run, target: _Target | str, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """The answer to `call`, which may be asked again while the server cannot be reached or is not ready."""
        pause_s, longest_s = _PAUSES_S
        end = min(run.deadline, self._clock.monotonic() + _PATIENCE_S)
        while True:
            try:
                return await call()
            except Fenced:
                raise
            except (ApiError, Unreachable, StaleGroup) as failure:
                if not failure.transient or self._clock.monotonic() + pause_s > end:
                    raise self._failure(run, target, f"{what}: {failure}") from failure
            if run.outdated():
                raise Superseded(run.event, str(target))
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, longest_s)

    async def _words(self, body: Body, said: str) -> str:
        """`said` of an object, and what its Pods say where it is a Job and they may be read."""
        told = [cut(said)]
        if kind_of(body) == ("batch", "Job"):
            metadata = body["metadata"]
            selector = f"controller-uid={metadata['uid']}"
            try:
                page = await self._client.page(
                    _PODS, metadata["namespace"], label_selector=selector, limit=_MOST_PODS, type=dict
                )
            except NO_ANSWER:
                return told[0]
            pods = [(pod["metadata"]["name"], containers(pod)) for pod in page.items or ()]
            told += [f"Pod {name}: {words}" for name, words in pods if words][:_MOST_TOLD]
        return "; ".join(told)

    def _output(self, run: _Run, target: _Target) -> str:
        """Where the output of what failed is."""
        if deletes(run.hook, DeletePolicy.FAILED):
            return f"; it is deleted with its output, as its delete policy {DeletePolicy.FAILED} says"
        return f"; for its output: `kubectl logs -n {target.ref.namespace} {target.ref.kind.lower()}/{target.ref.name}`"

    def _ended(self, seen: Following) -> str:
        """What an object is at that has not ended and is still there."""
        if seen.gone:
            return ""
        verdict = ending(seen.last, self._context)
        return verdict.message or "nothing is known of it" if verdict.state is State.InProgress else ""

    def _failure(self, run: _Run, target: _Target | str, cause: str) -> HookFailed:
        return HookFailed(run.event, run.hook, str(target), self._hide(cause))

    def _mark(self, run: _Run) -> str:
        return f"{self._revision} {run.event}"

    @property
    def _context(self) -> Context:
        return Context(self._clock.now())


def _leaving(seen: Following) -> str:
    """What keeps an object that is to go."""
    held = section(seen.last, "metadata").get("finalizers")
    return "" if seen.gone else f"it waits for {', '.join(map(str, held))}" if held else "it is being deleted"
