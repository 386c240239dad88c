"""Which kinds the cluster serves, and where.

Two requests tell everything (aggregated discovery). Who calls `start` gets it kept fresh by watching what changes it,
CustomResourceDefinitions and APIServices; without that a miss asks again, at most every ten seconds.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from trimtab.base.tasks import Tasks
from trimtab.kube.errors import NO_ANSWER, StaleGroup, UnknownKind
from trimtab.kube.kinds import ACCEPT, Kinds, read_groups
from trimtab.kube.pause import pause
from trimtab.kube.resource import Resource
from trimtab.kube.store import Applied, Event
from trimtab.manifests.refs import Gvk

if TYPE_CHECKING:
    from trimtab.kube.client import Client
    from trimtab.kube.informer import Informer

__all__ = ["Discovery", "Resource", "StaleGroup", "UnknownKind"]

log = logging.getLogger(__name__)

_DOCUMENTS = ("/api", "/apis")
_BETWEEN_REFRESHES_S = 10.0
_POLL_S = 1.0
# After a change: the first look is a debounce, the later ones wait for the server's own controllers to follow.
_LOOKS_S = (0.2, 0.3, 0.5, 1.0, 2.0, 4.0)
_PRIORITY = 0  # everything else waits for the answer

_VERBS = frozenset({"get", "list", "watch"})
CRDS = Resource(
    Gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), "customresourcedefinitions", False, _VERBS
)
API_SERVICES = Resource(Gvk("apiregistration.k8s.io", "v1", "APIService"), "apiservices", False, _VERBS)


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    resource_version: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None


class _Definition(msgspec.Struct, frozen=True):
    metadata: _Metadata


class _ServiceRef(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""


class _ApiServiceSpec(msgspec.Struct, frozen=True):
    group: str = ""
    version: str = ""
    service: _ServiceRef | None = None


class _Condition(msgspec.Struct, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _ApiServiceStatus(msgspec.Struct, frozen=True):
    conditions: tuple[_Condition, ...] | None = None


class _ApiService(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _ApiServiceSpec = _ApiServiceSpec()
    status: _ApiServiceStatus = _ApiServiceStatus()

    def trouble(self) -> str | None:
        """Why the server behind this group does not answer, in the cluster's words."""
        for condition in self.status.conditions or ():
            if condition.type == "Available" and condition.status != "True" and self.spec.service is not None:
                return condition.message or condition.reason or "it is not available"
        return None


class _Document(NamedTuple):
    etag: str
    body: bytes


class Discovery:
    """The kinds of one cluster. Shared by all views of a client."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._kinds = Kinds(())
        self._documents: dict[str, _Document] = {}
        self._listeners: list[Callable[[], None]] = []
        self._schema_listeners: list[Callable[[str], None]] = []
        self._lock = asyncio.Lock()
        self._started = 0  # refreshes begun
        self._done = 0  # number of the last one that succeeded
        self._refreshed = float("-inf")
        self._dirty = asyncio.Event()
        self._news = asyncio.Event()
        self._vanished: set[str] = set()
        self._unavailable: dict[tuple[str, str], str] = {}  # group and version, and why
        self._definitions: Informer[_Definition] | None = None
        self._services: Informer[_ApiService] | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self, tasks: Tasks) -> None:
        """Read what there is, and keep it fresh as long as `tasks` live; then it may be started again.

        Raises as a request does.
        """
        if self._following is not None and not self._following.done():
            return
        # here, because commands do not watch, and have to answer in less time than it takes to load
        from trimtab.kube.informer import Informer

        await self.refresh()
        self._schema_listeners.clear()
        self._vanished.clear()
        self._unavailable.clear()
        self._definitions = Informer(
            self._client, CRDS, decode=msgspec.json.Decoder(_Definition).decode, metadata_only=True
        )
        self._services = Informer(self._client, API_SERVICES, decode=msgspec.json.Decoder(_ApiService).decode)
        self._definitions.add_handler(self._definition_changed)
        self._services.add_handler(self._service_changed)
        for informer in (self._definitions, self._services):
            informer.start(tasks)
        self._following = tasks.keep(self._follow, name="discovery")

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the kinds that are served have changed."""
        self._listeners.append(listener)

    def add_schema_listener(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the group of every definition whose spec has changed."""
        self._schema_listeners.append(listener)

    def remove_listener(self, listener: Callable[[], None]) -> None:
        """Undo `add_listener`; unknown listeners are fine."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    async def find(self, gvk: Gvk) -> Resource:
        """Where objects of this kind live.

        Raises UnknownKind if the cluster does not serve it, StaleGroup if that cannot be known now, and what a
        request raises if nothing is known yet and the server cannot be asked.
        """
        try:
            return self._look(gvk)
        except (UnknownKind, StaleGroup):
            if not await self._refresh_after_miss():
                raise
        return self._look(gvk)

    def serves(self, gvk: Gvk) -> bool:
        """Whether the kind was served when the server was last asked."""
        return self._kinds.get(gvk) is not None

    async def find_kind(self, group: str, kind: str) -> Resource:
        """As `find`, in the version that the server prefers."""
        if (resource := self._kinds.preferred(group, kind)) is None:
            await self._refresh_after_miss()
            resource = self._kinds.preferred(group, kind)
        if resource is None:
            # The kind may be hidden behind the group's silent server in any of its versions.
            for version, why in self._troubles(group).items():
                raise _stale(group, version, why)
            raise UnknownKind(self._kinds.words_for_missing(Gvk(group, "*", kind)))
        return self._look(resource.gvk)

    async def all(self) -> tuple[Resource, ...]:
        """Every kind that is served, in the version that the server prefers, as it is now."""
        await self.refresh()
        return self._kinds.all()

    async def served(self) -> tuple[Resource, ...]:
        """Every kind that is served, in all its versions.

        No request where the kinds are kept fresh, else at most one look every ten seconds.
        """
        if self._dirty.is_set() or not self._kept_fresh():
            await self._refresh_after_miss()
        return self._kinds.served()

    @property
    def silent(self) -> frozenset[tuple[str, str]]:
        """Groups and versions whose server did not answer when it was last asked: `all` has nothing of them."""
        return frozenset(self._kinds.stale | self._unavailable.keys())

    async def find_by_name(self, text: str) -> Resource:
        """The kind that a person means: `deploy`, `deployments`, `Deployment`, `deployments.apps`, `….v1.apps`."""
        resource = self._kinds.by_name(text)
        if resource is None:
            await self._refresh_after_miss()
            resource = self._kinds.by_name(text)
        if resource is None:
            raise UnknownKind(f"the cluster serves no kind named {text!r}; `kubectl api-resources` lists them")
        return self._look(resource.gvk)

    async def wait_for(self, gvk: Gvk, timeout: float) -> Resource:
        """As `find`, but give the cluster `timeout` seconds to begin serving the kind."""
        clock = self._client.clock
        deadline = clock.monotonic() + timeout
        while True:
            try:
                return self._look(gvk)
            except (UnknownKind, StaleGroup):
                left = deadline - clock.monotonic()
                if left <= 0:
                    raise
            self._news.clear()
            if not await pause(clock, min(left, _POLL_S), self._news) and not self._live():
                await self.refresh()

    async def refresh(self) -> None:
        """Ask the server now. Callers that come while a request is under way share the next one."""
        asked = self._started
        async with self._lock:
            if self._done <= asked:
                await self._ask()

    async def _ask(self) -> None:
        self._started += 1
        number = self._started
        self._dirty.clear()
        try:
            changed = [await self._read(path) for path in _DOCUMENTS]
        except NO_ANSWER:
            self._dirty.set()
            raise
        self._done = number
        self._refreshed = self._client.clock.monotonic()
        if any(changed):
            documents = [self._documents[path].body for path in _DOCUMENTS]
            self._kinds = Kinds(group for body in documents for group in read_groups(body, self._client.server))
            self._tell()

    async def _read(self, path: str) -> bool:
        known = self._documents.get(path)
        condition = {"If-None-Match": known.etag} if known is not None and known.etag else None
        answer = await self._client.exchange("GET", path, accept=ACCEPT, headers=condition, priority=_PRIORITY)
        if answer.status == 304:
            return False
        read_groups(answer.body, self._client.server)  # what cannot be understood must not replace what could
        self._documents[path] = _Document(answer.headers.get("ETag", ""), answer.body)
        return known is None or known.body != answer.body

    def _look(self, gvk: Gvk) -> Resource:
        api = gvk[:2]
        if api in self._unavailable or api in self._kinds.stale:
            raise _stale(*api, self._unavailable.get(api, ""))
        if (resource := self._kinds.get(gvk)) is None:
            raise UnknownKind(self._kinds.words_for_missing(gvk))
        return resource

    def _troubles(self, group: str) -> dict[str, str]:
        """The versions of a group whose server does not answer, and why."""
        troubles = {version: "" for of, version in self._kinds.stale if of == group}
        troubles.update({version: why for (of, version), why in self._unavailable.items() if of == group})
        return troubles

    async def _refresh_after_miss(self) -> bool:
        if not self._due():
            return False
        async with self._lock:
            if self._due():  # somebody else may have asked while we waited for the lock
                await self._ask()
        return True

    def _due(self) -> bool:
        return self._dirty.is_set() or self._client.clock.monotonic() - self._refreshed >= _BETWEEN_REFRESHES_S

    def _kept_fresh(self) -> bool:
        return self._live() and self._following is not None and not self._following.done()

    def _live(self) -> bool:
        return self._definitions is not None and self._definitions.problem is None

    def _definition_changed(self, event: Event[_Definition]) -> None:
        name = event.new.metadata.name if isinstance(event, Applied) else event.old.metadata.name
        if isinstance(event, Applied):
            self._vanished.discard(name)
            if event.old is not None and event.old.metadata.generation != event.new.metadata.generation:
                for listener in self._schema_listeners:
                    listener(name.partition(".")[2])
        else:
            self._vanished.add(name)
        self._dirty.set()

    def _service_changed(self, event: Event[_ApiService]) -> None:
        last = event.new if isinstance(event, Applied) else event.old
        trouble = event.new.trouble() if isinstance(event, Applied) else None
        api = (last.spec.group, last.spec.version)
        if self._unavailable.get(api) != trouble:
            self._unavailable.pop(api, None)
            if trouble is not None:
                self._unavailable[api] = trouble
            self._tell()
        self._dirty.set()

    def _tell(self) -> None:
        self._news.set()
        for listener in list(self._listeners):
            listener()

    async def _follow(self) -> None:
        clock = self._client.clock
        while True:
            await self._dirty.wait()
            for delay in _LOOKS_S:
                await clock.sleep(delay)
                try:
                    await self.refresh()
                except NO_ANSWER as failure:
                    log.info("the kinds of %s could not be read again: %s", self._client.server, failure)
                    continue
                if self._dirty.is_set() or self._settled():
                    break
            self._vanished.clear()

    def _settled(self) -> bool:
        """Whether discovery has caught up with the definitions that were seen to come and go."""
        if self._definitions is None:
            return True
        present = {
            item.metadata.name for item in self._definitions.store.values() if item.metadata.deletion_timestamp is None
        }
        return self._kinds.names >= present and not (self._kinds.names & self._vanished)


def _stale(group: str, version: str, why: str) -> StaleGroup:
    api = f"{group}/{version}"
    cause = f": {why}" if why else ""
    return StaleGroup(
        f"the server behind the API {api} does not answer, so its kinds are unknown{cause}; "
        f"see `kubectl get apiservice {version}.{group}`"
    )
