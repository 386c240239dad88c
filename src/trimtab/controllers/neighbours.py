"""The apps that other processes look after, where several share the work: read when something depends on it.

Nothing of them is watched or kept. What an app desires is on record in its own status before it takes effect: its
inventory, and what of that it does not desire any more (`status.planned`). So whoever is about to apply what somebody
else holds asks the server for that one app, and whoever is about to delete for all others, a list at a time.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.api.kustomizestatus import PlannedRevision
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.controllers.app import UNREAD, App
from trimtab.controllers.index import SourceId
from trimtab.controllers.records import Records
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, NotFound, UnknownKind, Unreachable
from trimtab.manifests import selectors
from trimtab.manifests.inventory import encode_id
from trimtab.manifests.refs import Key, Ref

FRESH_S: Final = 1.0
"""So long an answer serves everybody who asks."""
POLL_S: Final = 2.0
MOST_LEAVING: Final = 5_000
"""So many objects that an app does not desire any more are told to others; with more, they wait until it has let go."""
_PAGE: Final = 200
_REFUSALS: Final = (ApiError, UnknownKind, StaleGroup, Unreachable)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An app of another process, by its own record. `planned` is the revision at which that tells what it desires.

    `tried` is the revision it has got no further with; `wants` are its objects without those it no longer desires.
    """

    source: SourceId
    cluster: str
    suspended: bool
    deleted: bool
    planned: str
    tried: str
    wants: frozenset[Ref]
    trusted: bool

    @classmethod
    def of(cls, ks: Kustomization, app: App, home: str) -> "Neighbour":
        told, status = ks.status.planned, ks.status
        current = status.observed_generation == ks.metadata.generation
        if told is not None:
            planned = told.revision if told.generation == ks.metadata.generation else ""
        else:  # written by Flux: what it has applied it has planned
            planned = status.last_applied_revision if current else ""
        left = frozenset(told.leaving) if told is not None else frozenset()
        return cls(
            source=SourceId(ks.spec.source_ref.kind, ks.source_key),
            cluster=app.cluster or ("" if ks.spec.kube_config is not None else home),
            suspended=ks.spec.suspend,
            deleted=ks.metadata.deleted,
            planned=planned,
            tried=status.last_attempted_revision if current else "",
            wants=frozenset(ref for ref in app.inventory if token(ref) not in left),
            trusted=not app.problem,
        )


class Neighbours:
    """Looks at the apps that `selector` does not select. `home` is our own cluster; `wake` gives an app another pass.

    `last` is what the last `survey` found.
    """

    def __init__(
        self, client: Client, records: Records, selector: str, home: str, clock: Clock, wake: Callable[[Key], None]
    ) -> None:
        self._client = client
        self._records = records
        self._selects = selectors.parse(selector)
        self._others = selectors.complement(selector)
        self._home = home
        self._clock = clock
        self._wake = wake
        self._visited: dict[Key, tuple[float, Kustomization | None, App | None]] = {}
        self._awaited: dict[Key, set[Key]] = {}
        self._surveying = asyncio.Lock()
        self._surveyed = float("-inf")
        self.last: Mapping[Key, Neighbour] = {}

    # --- one by one

    async def visit(self, keys: Iterable[Key]) -> None:
        """Ask for each of `keys`, unless that was done just now. Raises what the client raises, and Transient.

        Who expects one that is in another state now is given another pass, whoever has asked.
        """
        for key in keys:
            known = self._visited.get(key)
            if known is None or self._clock.monotonic() - known[0] >= FRESH_S:
                found = (self._clock.monotonic(), *await self._read(key))
                before, self._visited[key] = self.seen(key), found
                if _state(self.seen(key)) != _state(before):
                    for app in self._awaited.pop(key, ()):
                        self._wake(app)

    async def _read(self, key: Key) -> tuple[Kustomization | None, App | None]:
        resource = await self._client.discovery.find(KUSTOMIZATION)
        try:
            ks = await self._client.get(resource, key.name, key.namespace, type=Kustomization)
        except NotFound:
            return None, None
        return ks, await self._recorded(ks)

    async def _recorded(self, ks: Kustomization) -> App:
        app = App.of(ks)
        return await self._records.read(ks) if app.problem == UNREAD else app

    def seen(self, key: Key) -> Kustomization | None:
        """The app as it was when it was visited last."""
        return self._visited[key][1] if key in self._visited else None

    def record(self, key: Key) -> App | None:
        """What it had on record then."""
        return self._visited[key][2] if key in self._visited else None

    def neighbour(self, key: Key) -> Neighbour | None:
        """The same, as far as it matters to others; None if there is no such app."""
        _, ks, app = self._visited.get(key, (0.0, None, None))
        return Neighbour.of(ks, app, self._home) if ks is not None and app is not None else None

    def holds(self, key: Key, ref: Ref, cluster: str) -> bool:
        """Whether `key` has `ref` and wants to keep it. Who was not asked yet may have anything."""
        if key not in self._visited:
            return True
        found = self.neighbour(key)
        if found is None or found.deleted or found.cluster != cluster:
            return False
        return not found.trusted or ref in found.wants

    def revision_of(self, key: Key) -> str | None:
        """The revision at which `key` said it was ready when it was visited; None where it did not."""
        ks = self.seen(key)
        if ks is None or ks.ready is None or not ks.ready.true:
            return None
        return ks.status.last_applied_revision if ks.status.observed_generation == ks.metadata.generation else None

    # --- news

    def expect(self, app: Key, keys: Iterable[Key]) -> None:
        """Give `app` another pass when one of `keys` is in another state than when it was visited."""
        for key in keys:
            self._awaited.setdefault(key, set()).add(app)

    async def run(self) -> None:
        """Look at what is expected, until cancelled; where nothing is, nothing is asked."""
        while True:
            await self._clock.sleep(POLL_S)
            for key in list(self._awaited):
                with contextlib.suppress(*_REFUSALS, Transient):
                    await self.visit([key])
            for key in self._visited.keys() - self._awaited.keys():
                if self._clock.monotonic() - self._visited[key][0] > POLL_S * 5:
                    del self._visited[key]

    # --- all of them

    async def survey(self) -> None:
        """Look at all others. Raises what the client raises, and Transient."""
        async with self._surveying:
            began = self._clock.monotonic()
            if began - self._surveyed >= FRESH_S:
                self.last = dict([found async for found in self._all()])
                self._surveyed = began

    async def _all(self) -> AsyncIterator[tuple[Key, Neighbour]]:
        resource = await self._client.discovery.find(KUSTOMIZATION)
        more = ""
        while True:
            page = await self._client.page(
                resource, "", more, label_selector=self._others, limit=_PAGE, type=Kustomization
            )
            for ks in page.items or ():
                if self._others or not self._selects(ks.metadata.labels):
                    yield ks.key, Neighbour.of(ks, await self._recorded(ks), self._home)
            more = page.metadata.continue_
            if not more:
                return

    def wanting(self, refs: Iterable[Ref], cluster: str) -> Iterator[Ref]:
        """Those of `refs` that one of the others had and wanted when they were surveyed, or may have."""
        there = [one for one in self.last.values() if one.cluster == cluster and not one.deleted]
        known = frozenset().union(*(one.wants for one in there))
        return (ref for ref in refs if ref in known)

    def behind(self, source: SourceId, revision: str, cluster: str) -> tuple[set[Key], set[Key]]:
        """Who of the others may desire anything of `source` at `revision`.

        Those that have not looked, and those that have and got no further.
        """
        fed = {
            key: one
            for key, one in self.last.items()
            if one.source == source and one.cluster in (cluster, "") and not one.suspended and not one.deleted
        }
        unknown = {key for key, one in fed.items() if one.planned != revision or not one.trusted}
        stuck = {key for key in unknown if fed[key].tried == revision}
        return unknown - stuck, stuck


def planned(revision: str, generation: int, leaving: Iterable[Ref]) -> PlannedRevision:
    """What an app tells others of its plan: at which revision its record says what it desires, but for `leaving`."""
    told = sorted(token(ref) for ref in leaving)
    return PlannedRevision(revision=revision, generation=generation, leaving=tuple(told[:MOST_LEAVING]))


def token(ref: Ref) -> str:
    """A short name of an object, as the status has it."""
    return hashlib.sha256(encode_id(ref).encode()).hexdigest()[:16]


def _state(ks: Kustomization | None) -> tuple[object, ...]:
    if ks is None:
        return ()
    ready = ks.ready
    told = (ready.status, ready.reason, ready.message) if ready is not None else ()
    return ks.metadata.generation, ks.metadata.deleted, ks.status.last_applied_revision, told
