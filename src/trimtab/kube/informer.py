"""A shared, always current view of the objects of one kind: the shell around `watch` and `store`."""

import asyncio
import logging
import random
from collections.abc import Callable, Hashable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from trimtab.base.tasks import Tasks
from trimtab.kube import watch
from trimtab.kube.errors import NO_ANSWER, ApiError, Silent, from_status
from trimtab.kube.horizon import Horizon
from trimtab.kube.pause import pause
from trimtab.kube.resource import Resource
from trimtab.kube.store import Applied, Deleted, Event, Store
from trimtab.kube.wire import JSON, METADATA_ONLY

if TYPE_CHECKING:
    from trimtab.kube.client import Client

__all__ = ["Applied", "Deleted", "Event", "Informer", "State"]

log = logging.getLogger(__name__)

T = TypeVar("T")

IDLE_S = 90.0  # bookmarks come about every minute
_SERVER_TIMEOUT_S = (240, 360)
_SHORTEST_STREAM_S = 1.0
_BACKOFF_S = (0.2, 30.0)
_SLOW_S = (25.0, 35.0)
_EAGER_ATTEMPTS = 6


class State(StrEnum):
    """How current the store is. In all but Live, what it holds is what was once seen, not what is."""

    IDLE = "Idle"
    LISTING = "Listing"
    LIVE = "Live"
    RECONNECTING = "Reconnecting"
    FORBIDDEN = "Forbidden"
    GONE = "Gone"


class Informer(Generic[T]):
    """Watches the objects of a kind and keeps them decoded.

    `decode` gets the bytes of one object, which always say apiVersion and kind. Only its result is kept, under the key
    that `key_of` makes of it, else under the object's `Key`. Handlers are told of every change right after the store
    has it; they are called in the event loop, so they must be quick, and must not raise.
    Errors do not end an informer: `state` and `problem` tell of them while it tries again.
    """

    def __init__(
        self,
        client: "Client",
        resource: Resource,
        *,
        decode: Callable[[bytes], T],
        key_of: Callable[[T], Hashable] | None = None,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        name: str = "",
        metadata_only: bool = False,
        streaming: bool = True,
        page: int = 500,
        idle_timeout: float = IDLE_S,
    ) -> None:
        selectors = [field_selector] if field_selector else []
        selectors += [f"metadata.name={name}"] if name else []
        self.resource = resource
        self.synced = asyncio.Event()
        self.state = State.IDLE
        self.problem: str | None = None
        self.last_contact = client.clock.monotonic()
        self._client = client
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = ",".join(selectors)
        self._metadata_only = metadata_only
        self._streaming = streaming
        self._page = page
        self._idle_timeout = idle_timeout
        self._store = Store(decode, key_of)
        self._machine: watch.State = watch.Empty(streaming)
        self._handlers: list[Callable[[Event[T]], None]] = []
        self._watchers: list[Callable[[State], None]] = []
        self._rewinds: list[Callable[[], None]] = []
        self._horizon = Horizon()
        self._tasks: Tasks | None = None
        self._cut_off = False  # the connection was lost: who answers next may be another server, or an older state
        self._woken = asyncio.Event()
        self._random = random.Random()  # noqa: S311 - jitter
        self._failures = 0
        self._eager = 0  # attempts that do not wait long although the kind is not there
        self._asked_to_wait = 0.0
        self._opened = float("-inf")
        self._task: asyncio.Task[Any] | None = None

    def __repr__(self) -> str:
        return f"<Informer {self.resource} {self.state} {len(self.store)} objects>"

    @property
    def store(self) -> dict[Any, T]:
        """The objects by key. Read it, do not change it."""
        return self._store.items

    @property
    def live(self) -> bool:
        """Whether the store holds what is: it was listed, the watch is kept up, and nothing is wrong with it."""
        kept_up = self._task is not None and not self._task.done()
        return kept_up and self.synced.is_set() and self.state in (State.LISTING, State.LIVE)

    @property
    def unreadable(self) -> dict[Any, str]:
        """The objects that `decode` could not read, and why."""
        return self._store.unreadable

    def add_handler(self, handler: Callable[[Event[T]], None]) -> None:
        """Tell `handler` of every change from now on; what is in the store already, it has to read there."""
        self._handlers.append(handler)

    def add_state_handler(self, handler: Callable[[State], None]) -> None:
        """Tell `handler` when the store starts or stops being current."""
        self._watchers.append(handler)

    def add_rewind_handler(self, handler: Callable[[], None]) -> None:
        """Tell `handler` when the server turns out to be older than it was, before it hears what is there now."""
        self._rewinds.append(handler)

    def relist(self) -> None:
        """Read everything anew, whatever version that has."""
        self._horizon.forget()
        if self._task is not None and self._tasks is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            self._task = self._tasks.keep(self._run, name=f"informer-{self.resource}")

    def start(self, tasks: Tasks) -> None:
        """Begin; `synced` is set when the first list is complete."""
        self._tasks = tasks
        if self._task is None:
            self._task = tasks.keep(self._run, name=f"informer-{self.resource}")

    async def stop(self) -> None:
        """End the watch; the store stays as it is."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait({task})
        self._become(State.IDLE, None)

    def wake(self) -> None:
        """Try again now instead of at the end of the pause."""
        self._woken.set()

    def _kinds_changed(self) -> None:
        if self.state is State.GONE and self._client.discovery.serves(self.resource.gvk):
            # A kind is announced a moment before it is served.
            self._eager = _EAGER_ATTEMPTS
            self._failures = 0
            self.wake()

    async def _run(self) -> None:
        self._client.discovery.add_listener(self._kinds_changed)
        try:
            await self._watch()
        finally:
            self._client.discovery.remove_listener(self._kinds_changed)

    async def _watch(self) -> None:
        self._machine = watch.Empty(self._streaming)
        command = self._signal(watch.Begin())
        while True:
            match command:
                case watch.List(token):
                    command = self._signal(await self._read_page(token))
                case watch.Watch(version):
                    command = await self._follow(version)
                case watch.Pause(speed):
                    await self._rest(speed)
                    command = self._signal(watch.Begin())
                case None:
                    raise AssertionError(f"nothing to do in {self._machine}")

    async def _read_page(self, token: str) -> watch.Signal:
        gvk = self.resource.gvk
        try:
            page = await self._client.page(
                self.resource,
                self._namespace,
                token,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                limit=self._page,
                metadata_only=self._metadata_only,
                type=msgspec.Raw,
            )
            objects = [watch.read(bytes(item), gvk.api_version, gvk.kind) for item in page.items or ()]
        except (*NO_ANSWER, msgspec.DecodeError) as failure:
            return self._failed(failure)
        self.last_contact = self._client.clock.monotonic()
        return watch.Page(objects, page.metadata.resource_version, page.metadata.continue_)

    async def _follow(self, version: str | None) -> watch.Command | None:
        """Read one stream until the machine wants something else."""
        clock = self._client.clock
        # However a server behaves, streams are not opened in a tight loop.
        await clock.sleep(max(0.0, self._opened + _SHORTEST_STREAM_S - clock.monotonic()))
        self._opened = clock.monotonic()
        path = self.resource.path(self._namespace)
        accept = METADATA_ONLY if self._metadata_only else JSON
        try:
            async with self._client.watching(
                path, self._query(version), idle_timeout=self._idle_timeout, accept=accept
            ) as lines:
                if version is not None and self._cut_off and await self._lies_ahead(version):
                    return self._signal(watch.Refused(410))
                self._cut_off = False
                command = self._signal(watch.Opened())
                async for line in lines:
                    signal, refusal = watch.parse(line)
                    if refusal is not None:
                        self._failed(from_status(refusal))
                    if (command := self._signal(signal)) is not None:
                        return command
        except (*NO_ANSWER, msgspec.DecodeError) as failure:
            return self._signal(self._failed(failure))
        return self._signal(watch.Ended())

    async def _lies_ahead(self, version: str) -> bool:
        """Whether the server has not come as far as `version`: it was set back.

        It says so to who lists; a watch from its own future it opens without a word, and is silent until it gets there.
        """
        present = await self._client.page(self.resource, self._namespace, limit=1, metadata_only=True, type=msgspec.Raw)
        now = present.metadata.resource_version
        return now.isdecimal() and version.isdecimal() and int(now) < int(version)

    def _query(self, version: str | None) -> dict[str, str]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._random.randint(*_SERVER_TIMEOUT_S)),
        }
        if version is None:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            query["resourceVersion"] = version
        if self._label_selector:
            query["labelSelector"] = self._label_selector
        if self._field_selector:
            query["fieldSelector"] = self._field_selector
        return query

    def _signal(self, signal: watch.Signal) -> watch.Command | None:
        """Advance the machine, keep what it says, tell who listens, and return what it wants."""
        if not isinstance(signal, watch.Begin | watch.Broke | watch.Quiet):
            self.last_contact = self._client.clock.monotonic()
        self._machine, outputs = watch.step(self._machine, signal)
        if isinstance(self._machine, watch.InitialListed | watch.Watching) and self._horizon.rewound(
            self._machine.resource_version
        ):
            log.warning("%s: the server is at an older version than before; it was restored, maybe", self.resource)
            for rewind in self._rewinds:
                rewind()
        command: watch.Command | None = None
        events: list[Event[T]] = []
        for output in outputs:
            match output:
                case watch.List() | watch.Watch() | watch.Pause():
                    command = output
                case _:
                    events += self._store.take(output)
                    if isinstance(output, watch.Init) and self.problem is None:
                        self._become(State.LISTING, None)
                    elif isinstance(output, watch.InitDone):
                        self.synced.set()
        if isinstance(self._machine, watch.Watching) and command is None:
            if self._machine.heard:
                self._failures = 0
            self._become(State.LIVE, None)
        for event in events:
            for handler in self._handlers:
                handler(event)
        return command

    def _failed(self, failure: Exception) -> watch.Signal:
        self._asked_to_wait = 0.0
        match failure:
            case ApiError(status=410):
                self._become(State.RECONNECTING, None)
            case ApiError(status=400 | 422) if isinstance(self._machine, watch.InitialWatch):
                pass  # a server without streaming lists; the pages will tell whether anything is wrong
            case ApiError(status=404):
                words = f"the cluster does not serve {self.resource} ({self.resource.gvk.version})"
                self._become(State.GONE, words)
            case ApiError(status=403):
                self._become(State.FORBIDDEN, f"{self.resource} cannot be watched: {failure.message}")
            case Silent():
                self._become(State.RECONNECTING, f"{self.resource}: no word for {self._idle_timeout:g} s")
                return watch.Quiet()
            case _:
                self._become(State.RECONNECTING, f"{self.resource} cannot be watched: {failure}")
        if not isinstance(failure, ApiError):
            self._cut_off = True
            return watch.Broke()
        self._asked_to_wait = min(failure.retry_after or 0.0, _BACKOFF_S[1])
        return watch.refusal(failure.details, failure.status) if failure.details else watch.Refused(failure.status)

    async def _rest(self, speed: watch.Speed) -> None:
        low, high = _BACKOFF_S
        if speed is watch.Speed.SLOW and self._eager == 0:
            seconds = self._random.uniform(*_SLOW_S)
        else:
            ceiling = min(high, low * 2**self._failures)
            seconds = max(self._asked_to_wait, self._random.uniform(ceiling / 2, ceiling))
            self._failures = min(self._failures + 1, 16)
            self._eager = max(0, self._eager - 1)
        self._woken.clear()
        await pause(self._client.clock, seconds, self._woken)

    def _become(self, state: State, problem: str | None) -> None:
        if problem != self.problem and problem is not None:
            log.info("%s", problem)
        self.problem = problem
        if state is not self.state:
            self.state = state
            for handler in self._watchers:
                handler(state)
