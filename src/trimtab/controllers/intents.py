"""What new apps are about to apply, put on record together: one request before the first writes of many of them.

An inventory belongs into the status of its app (ENGINE.md §4), and with the end of its first pass it is there. Before
the first write it only has to survive a crash, and for that the objects that many new apps are about to apply may
stand in one ConfigMap of ours: a status is the dearest request there is, and nobody reads the one that says for a
moment that something was begun. Who begins while the server is busy waits a moment for others, and goes with them.

There are a few ConfigMaps of a bounded size; a write is the whole of one that has room. A line is left out
of the next one once its app has a record of its own; until then it says nothing that is not so. Whatever does not fit,
or cannot be written here, is not taken: it goes into the status of its app, as everything does that is not new.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from trimtab.api.installed import INTENTS, PART_OF
from trimtab.api.kustomize import Kustomization
from trimtab.api.kustomizestatus import InventoryEntry, lines_of
from trimtab.base.abreast import abreast
from trimtab.base.clock import Clock
from trimtab.base.errors import TrimtabError
from trimtab.base.flows import NOBODY, flow
from trimtab.base.tasks import Tasks
from trimtab.controllers.app import App
from trimtab.controllers.holders import CONFIG_MAP
from trimtab.kube.client import Client
from trimtab.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    NotFound,
    StaleGroup,
    UnknownKind,
    Unreachable,
)
from trimtab.manifests.refs import Body, Key
from trimtab.targets.kubernetes import inventory

log = logging.getLogger(__name__)

MOST_OBJECTS: Final = 20
"""A new app of more objects has a status of its own that says so before the first is written."""
MOST_BYTES: Final = 64 << 10
"""Of the lines of one ConfigMap: each write carries all of them, so that much goes to the disk of etcd each time."""
GATHER_S: Final = 0.1
"""So long those who begin wait for others, while there is much else to ask of the server."""
_AGAIN_S: Final = 60.0
"""So long nothing is taken after a refusal that will not go away by itself."""
_KEY: Final = "intents"
_PRIORITY: Final = 1
_REFUSALS = (ApiError, Unreachable, UnknownKind, StaleGroup, TrimtabError)


class Intent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line: the app, by uid and name, and what it is about to apply in which cluster."""

    uid: str
    app: str
    cluster: str = ""
    entries: tuple[InventoryEntry, ...] = ()


class _Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    resource_version: str = ""


class _Holder(msgspec.Struct, frozen=True, kw_only=True):
    metadata: _Metadata
    data: Mapping[str, str] = {}


@dataclass(slots=True, eq=False)
class _Page:
    """One ConfigMap: its lines by the uid of their app, and its version when it was seen last; empty: there is none."""

    name: str
    lines: dict[str, bytes] = field(default_factory=dict)
    version: str = ""

    @property
    def size(self) -> int:
        return sum(len(line) + 1 for line in self.lines.values())

    def text(self) -> str:
        return b"\n".join(self.lines.values()).decode()


class Intents:
    """One per process. `client` may write our ConfigMaps in `namespace`, `objects` are the apps as they are seen.

    `shared`: other processes look after other apps, and read the plans of ours in their status; nothing is taken then.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        objects: Mapping[Key, Kustomization],
        clock: Clock,
        tasks: Tasks,
        *,
        shared: bool = False,
    ) -> None:
        self._client = client.with_priority(_PRIORITY)
        self._objects = objects
        self._namespace = namespace
        self._clock = clock
        self._tasks = tasks
        self._shared = shared
        self._pages = [_Page(name) for name in INTENTS]
        self._at: dict[str, _Page] = {}
        self._loaded = False
        self._closed_until = 0.0
        self._lock = asyncio.Lock()
        self._waiting: dict[str, bytes] = {}
        self._round: asyncio.Task[Collection[str]] | None = None

    @property
    def _closed(self) -> bool:
        return self._clock.monotonic() < self._closed_until

    async def take(self, app: App) -> bool:
        """Put on record what `app` owns and is about to own. False: it was not done, and has to be done elsewhere."""
        if self._shared or not _new(app) or self._closed:
            return False
        intent = Intent(
            uid=app.uid,
            app=f"{app.key.namespace}/{app.key.name}",
            cluster=app.cluster,
            entries=tuple(InventoryEntry(id=line["id"], v=line["v"]) for line in inventory.lines(app.inventory)),
        )
        self._waiting[app.uid] = msgspec.json.encode(intent)
        if self._round is None:
            self._round = self._tasks.spawn(self._write(), name="intents")
        # whoever of them is called off must not take the others with it
        return app.uid in await asyncio.shield(self._round)

    async def recall(self, app: App) -> None:
        """Give an app that has nothing on record what a process before this one put down here.

        Who may not read it never wrote it: an installation whose rights are of an earlier version has none. Raises
        what the client raises for anything else.
        """
        if app.problem or app.recorded or app.inventory or self._closed:
            return
        try:
            async with self._lock:
                await self._load()
        except Forbidden as refusal:
            self._give_up(refusal)
            return
        if (page := self._at.get(app.uid)) is not None:
            intent = msgspec.json.decode(page.lines[app.uid], type=Intent)
            app.inventory, app.cluster = inventory.read(lines_of(intent.entries)), intent.cluster

    def holds(self, app: App) -> bool:
        """Whether all that `app` owns now is on record here."""
        page = self._at.get(app.uid)
        if page is None:
            return False
        intent = msgspec.json.decode(page.lines[app.uid], type=Intent)
        return inventory.read(lines_of(intent.entries)).keys() >= app.inventory.keys()

    def settle(self, uid: str) -> None:
        """The app with that `uid` has a record of its own: the next write leaves its line out."""
        if (page := self._at.pop(uid, None)) is not None:
            page.lines.pop(uid, None)

    async def _write(self) -> Collection[str]:
        """Write what waits; the uids of those whose line is on the server. Never raises."""
        with flow(NOBODY):
            if not self._client.calm:
                await self._clock.sleep(GATHER_S)
            async with self._lock:
                self._round = None
                waiting, self._waiting = self._waiting, {}
                mine: Collection[str] = ()
                page = self._pages[0]
                try:
                    await self._load()
                    page = self._roomiest()
                    if mine := self._place(waiting, page):
                        await self._save(page)
                except _REFUSALS as refusal:
                    for uid in mine:
                        page.lines.pop(uid, None)
                    self._give_up(refusal)
                    return ()
                self._at.update(dict.fromkeys(mine, page))
                return mine

    def _roomiest(self) -> _Page:
        """The first page that is less than half full, so that few apps do not spread over all; or the emptiest."""
        sizes = [page.size for page in self._pages]
        half_empty = (number for number, size in enumerate(sizes) if size < MOST_BYTES // 2)
        return self._pages[next(half_empty, sizes.index(min(sizes)))]

    def _place(self, waiting: Mapping[str, bytes], page: _Page) -> Collection[str]:
        """Put lines on `page` as far as there is room; the uids of their apps."""
        placed, size = set[str](), page.size
        for uid, line in waiting.items():
            if size + len(line) < MOST_BYTES:
                size += len(line) + 1
                page.lines[uid] = line
                placed.add(uid)
        return placed

    async def _save(self, page: _Page) -> None:
        """Write `page` as a whole, over what was seen and nothing else."""
        for again in (True, False):
            try:
                if page.version:
                    await self._patch(page)
                else:
                    await self._create(page)
            except (Conflict, AlreadyExists, NotFound):
                if not again:
                    raise
                await self._look(page)
            else:
                return

    async def _patch(self, page: _Page) -> None:
        change: Body = {"metadata": {"resourceVersion": page.version}, "data": {_KEY: page.text()}}
        resource = await self._client.discovery.find(CONFIG_MAP)
        saved = await self._client.merge_patch(resource, page.name, self._namespace, change, type=_Holder)
        page.version = saved.metadata.resource_version

    async def _create(self, page: _Page) -> None:
        metadata: Body = {"name": page.name, "namespace": self._namespace, "labels": PART_OF}
        body: Body = {"apiVersion": "v1", "kind": CONFIG_MAP.kind, "metadata": metadata, "data": {_KEY: page.text()}}
        resource = await self._client.discovery.find(CONFIG_MAP)
        saved = await self._client.create(resource, body, self._namespace, type=_Holder)
        page.version = saved.metadata.resource_version

    async def _load(self) -> None:
        if not self._loaded:
            await abreast(self._look, self._pages)
            self._loaded = True

    async def _look(self, page: _Page) -> None:
        resource = await self._client.discovery.find(CONFIG_MAP)
        try:
            holder = await self._client.get(resource, page.name, self._namespace, type=_Holder)
        except NotFound:
            page.version = ""
            return
        page.version = holder.metadata.resource_version
        for line in holder.data.get(_KEY, "").encode().splitlines():
            try:
                intent = msgspec.json.decode(line, type=Intent)
                inventory.read(lines_of(intent.entries))
            except (msgspec.DecodeError, ValueError) as failure:
                log.warning("ConfigMap %s: a damaged line is left out: %s", page.name, failure)
                continue
            if intent.uid not in self._at and intent.uid not in page.lines and not self._over(intent):
                page.lines[intent.uid], self._at[intent.uid] = line, page

    def _over(self, intent: Intent) -> bool:
        """Whether its app has a record of its own, or is another one by now. One that is not seen may yet be."""
        ks = self._objects.get(Key(*intent.app.split("/", 1)))
        return ks is not None and (ks.metadata.uid != intent.uid or ks.status.inventory is not None)

    def _give_up(self, refusal: Exception) -> None:
        way_out = "; `trimtab install` renews the rights" if isinstance(refusal, Forbidden) else ""
        words = "what new apps are about to apply goes into their status, not into ConfigMaps %s… of namespace %s: %s%s"
        log.info(words, INTENTS[0][:-1], self._namespace, refusal, way_out)
        if isinstance(refusal, (Forbidden, NotFound)):
            self._closed_until = self._clock.monotonic() + _AGAIN_S


def _new(app: App) -> bool:
    """Whether nothing is on record of `app`, nothing was told of it, and the server has just been seen to say so."""
    nothing = not app.recorded and not app.status.conditions and app.seen is None
    return nothing and not app.headed and len(app.inventory) <= MOST_OBJECTS
