"""One hook at one event: its objects created, followed and deleted, within the time it has."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, TypeVar

from trimtab.api.names import HELM_MANAGER, HOOK_OF, Reason
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient, Waiting
from trimtab.health.context import Context
from trimtab.health.shape import section
from trimtab.health.verdict import State, Verdict
from trimtab.helm.ending import DEFINITION, containers, cut, ending, kind_of
from trimtab.helm.output import DeletePolicy, Event
from trimtab.helm.record import Hook
from trimtab.kube.client import Client
from trimtab.kube.errors import (
    NO_ANSWER,
    ApiError,
    Conflict,
    Fenced,
    Forbidden,
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
_NO_ACCOUNT_YET: Final = "error looking up service account"
"""Said of a Pod in a namespace that is so new that its account is not there yet."""

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
    """The wish changed while a hook was waited for, or before: what is wished now is to be done instead."""

    def __init__(self, event: Event, what: str) -> None:
        super().__init__(
            Reason.PROGRESSING,
            f"the {event} hook {what} is not waited for: what is wished has changed meanwhile",
            after=0.0,
        )


class Target(NamedTuple):
    """An object of a hook as it is sent, and where it belongs."""

    resource: Resource
    ref: Ref
    body: Body

    @property
    def stays(self) -> bool:
        """Whether it is never deleted, whatever its policy says: with a definition goes all that is made of it."""
        return kind_of(self.body) == DEFINITION

    @property
    def way_out(self) -> str:
        """How to get rid of one that is in the way."""
        kubectl = f"kubectl delete -n {self.ref.namespace} {self.resource} {self.ref.name}"
        return f"delete it (`{kubectl}`), or give the hook the delete policy {DeletePolicy.BEFORE_CREATION}"

    def __str__(self) -> str:
        place = "/".join(part for part in (self.ref.namespace, self.ref.name) if part)
        return f"{self.ref.kind} {place}"


class Made(NamedTuple):
    """A target as the server has it."""

    target: Target
    live: Body

    async def delete(self, client: Client) -> bool:
        """Delete exactly what was made; whether it is known to be gone at once. Raises what the client raises."""
        ref = self.target.ref
        try:
            answer = await client.delete(
                self.target.resource, ref.name, ref.namespace, uid=self.live["metadata"]["uid"]
            )
        except NotFound:
            return True
        except Conflict:
            return False  # another one has its name
        return bool(answer.get("kind") == "Status")


@dataclass(frozen=True, slots=True)
class Attempt:
    """`hook` at `event`; `defined`: one before it was a definition. Its methods raise HookFailed and Superseded."""

    event: Event
    hook: Hook
    client: Client
    clock: Clock
    namespace: str
    timeout_s: float
    deadline: float
    outdated: Callable[[], bool]
    hide: Callable[[str], str]
    defined: bool = False

    def failure(self, target: Target | str, cause: str) -> HookFailed:
        """What is raised where the hook cannot succeed any more."""
        return HookFailed(self.event, self.hook, str(target), self.hide(cause))

    def verdict(self, body: Body) -> Verdict:
        """How an object ended, or what it is at."""
        return ending(body, Context(self.clock.now()))

    async def locate(self, manifest: Manifest, mark: str) -> Target:
        """Where an object belongs, and what is sent of it: all that is written, and the `mark`."""
        gvk, ref = manifest.gvk, manifest.ref
        discovery, named = self.client.discovery, f"{gvk.kind} {ref.name}"
        # What a hook before this one defines, the server may need a moment to serve.
        find = partial(discovery.wait_for, gvk, _UNTIL_SERVED_S) if self.defined else partial(discovery.find, gvk)
        try:
            resource = await self._ask(named, "was not created", find)
        except UnknownKind as failure:
            raise self.failure(named, f"was not created: {failure}") from failure
        body: Body = codec.clone(manifest.body)
        metadata = body["metadata"]
        namespace = (ref.namespace or self.namespace) if resource.namespaced else ""
        metadata.pop("namespace", None)
        if namespace:
            metadata["namespace"] = namespace
        metadata["annotations"] = {**section(metadata, "annotations"), HOOK_OF: mark}
        return Target(resource, ref._replace(namespace=namespace), body)

    async def read(self, target: Target) -> Body | None:
        """What is there in its place."""

        async def read() -> Body | None:
            try:
                found: Body = await self.client.get(target.resource, target.ref.name, target.ref.namespace)
            except NotFound:
                return None
            return found

        return await self._ask(target, "cannot be read", read)

    async def apply(self, target: Target) -> Made:
        """Create it, or write onto what is there. Without force: a field that is not ours is somebody else's."""

        async def apply() -> Body:
            return await self.client.apply(
                target.resource,
                target.ref.name,
                target.ref.namespace,
                target.body,
                field_manager=HELM_MANAGER,
                force=False,
            )

        return Made(target, await self._ask(target, "was not created", apply))

    async def settle(self, made: Sequence[Made], way_out: str = "", what: str = "was not done") -> list[Following]:
        """Wait until all that is `made` has ended or is gone. All at once: what is done may be removed at any time."""
        return await self._until(made, self._at, what, way_out)

    async def clear(self, made: Sequence[Made], what: str = "was not deleted: it") -> None:
        """Delete what is `made`, and wait until it is gone."""
        leaving = [left for one in made if not one.target.stays and (left := await self._leave(one)) is not None]
        await self._until(leaving, _leaving, f"{what} is not gone")

    async def _leave(self, one: Made) -> Made | None:
        """Have `one` deleted; what is left of it, which is going."""
        target, live = one
        while True:
            going = section(live, "metadata").get("deletionTimestamp")
            if not going and await self._ask(target, "was not deleted", partial(one.delete, self.client)):
                return None
            now = await self.read(target)
            if now is None or now["metadata"]["uid"] != one.live["metadata"]["uid"]:
                return None
            live = now
            if section(now, "metadata").get("deletionTimestamp") or self.clock.monotonic() > self.deadline:
                return Made(target, now)
            # A conflict that was none: it is still the same object, and nobody deletes it.
            await self.clock.sleep(_PAUSES_S[0])

    async def words(self, body: Body, said: str) -> str:
        """`said` of an object, and what its Pods say where it is a Job and they may be read."""
        told = [cut(said)]
        if kind_of(body) == ("batch", "Job"):
            metadata = body["metadata"]
            selector = f"controller-uid={metadata['uid']}"
            try:
                page = await self.client.page(
                    _PODS, metadata["namespace"], label_selector=selector, limit=_MOST_PODS, type=dict
                )
            except NO_ANSWER:
                return told[0]
            pods = [(pod["metadata"]["name"], containers(pod)) for pod in page.items or ()]
            told += [f"Pod {name}: {words}" for name, words in pods if words][:_MOST_TOLD]
        return "; ".join(told)

    def _at(self, seen: Following) -> str:
        verdict = self.verdict(seen.last)
        ended = seen.gone or verdict.state is not State.InProgress
        return "" if ended else verdict.message or "nothing is known of it"

    async def _until(
        self, made: Sequence[Made], waits: Callable[[Following], str], what: str, way_out: str = ""
    ) -> list[Following]:
        """Follow what is `made` until none of it `waits` for anything."""
        woken = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            seen = [
                await stack.enter_async_context(Following(self.client, target.resource, live, woken))
                for target, live in made
            ]
            while True:
                woken.clear()
                for (target, _), one in zip(made, seen, strict=True):
                    try:
                        await one.look()
                    except ApiError as failure:
                        raise self.failure(target, f"can be neither watched nor read: {failure}") from failure
                late = next((place for place, one in enumerate(seen) if waits(one)), None)
                if late is None:
                    return seen
                target, one = made[late].target, seen[late]
                if self.outdated():
                    raise Superseded(self.event, str(target))
                left = self.deadline - self.clock.monotonic()
                if left <= 0:
                    words = await self.words(one.last, waits(one))
                    old = f" ({one.problem})" if one.problem else ""
                    raise self.failure(target, f"{what} after {self.timeout_s:g} s: {words}{old}{way_out}")
                await pause(self.clock, min(left, _TICK_S), woken)

    async def _ask(self, target: Target | str, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """The answer to `call`, which may be asked again while the server cannot be reached or is not ready."""
        pause_s, longest_s = _PAUSES_S
        end = min(self.deadline, self.clock.monotonic() + _PATIENCE_S)
        while True:
            try:
                return await call()
            except Fenced:
                raise
            except (ApiError, Unreachable, StaleGroup) as failure:
                early = isinstance(failure, Forbidden) and _NO_ACCOUNT_YET in failure.message
                if not (failure.transient or early) or self.clock.monotonic() + pause_s > end:
                    raise self.failure(target, f"{what}: {failure}") from failure
            if self.outdated():
                raise Superseded(self.event, str(target))
            await self.clock.sleep(pause_s)
            pause_s = min(pause_s * 2, longest_s)


def _leaving(seen: Following) -> str:
    """What keeps an object that is to go."""
    held = section(seen.last, "metadata").get("finalizers")
    return "" if seen.gone else f"it waits for {', '.join(map(str, held))}" if held else "it is being deleted"
