"""What writes the status of a Kustomization, at once or late, and remembers what the server has."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from trimtab.api import names
from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomizestatus import KustomizationStatus
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.controllers import basis
from trimtab.controllers.app import App
from trimtab.controllers.laggards import Laggards
from trimtab.controllers.records import Records
from trimtab.kube.client import Client
from trimtab.kube.errors import Conflict, NotFound
from trimtab.manifests.refs import Body, Key
from trimtab.runtime.status import merge_difference, merged, patch_status
from trimtab.targets.kubernetes import inventory

_LOWEST_PRIORITY = 50


@dataclass(slots=True)
class Pen:
    """One per process. `records` keeps the inventories; `find` gives what is remembered of an app.

    `laggards` are the statuses that follow late; whoever has a pen keeps them running.
    """

    client: Client
    clock: Clock
    records: Records
    find: Callable[[Key], App | None]
    laggards: Laggards = field(init=False)

    def __post_init__(self) -> None:
        self.laggards = Laggards(self._catch_up, self.clock)

    def on_record(self, app: App) -> bool:
        """Whether the inventory, as it is known now, is what was written last."""
        return self._recorded(app) == app.recorded

    async def _catch_up(self, key: Key, status: KustomizationStatus) -> None:
        app = self.find(key)
        if app is not None:
            with contextlib.suppress(basis.Outdated):  # the next pass reads it anew, and writes what is missing
                await self.write(app, status, self.client.with_priority(_LOWEST_PRIORITY))

    async def write(
        self, app: App, status: KustomizationStatus, client: Client | None = None, *, failing: bool = False
    ) -> bool:
        """Patch the status if it differs from the last one written. Says whether it did.

        `failing`: what went wrong is said even where the inventory cannot be written.
        """
        status = app.hiding.status(status)
        if self.on_record(app) and not app.untidy:
            return await self._patch(app, status, {}, app.recorded, client)
        async with app.recording:
            if self.records.beside_status(app):
                await basis.recall(self.client, app)
            try:
                document, checksum = await self.records.put(app)
            except Transient:
                if not failing:
                    raise
                return await self._patch(app, status, {}, app.recorded, client)
            wrote = await self._patch(app, status, {"inventory": document}, checksum, client)
            await (self.records.tidy(app) if wrote else self.records.release(app))
        return wrote

    async def _patch(
        self, app: App, status: KustomizationStatus, more: Body, checksum: str, client: Client | None
    ) -> bool:
        late, before = client is not None, app.status
        if not late:
            self.laggards.forget(app.key)
        change = _change(app, status) | more
        if not change:
            return False
        resource = await self.client.discovery.find(KUSTOMIZATION)
        manager, version = names.STATUS_MANAGER, app.version if app.seen is not None else None
        try:
            await patch_status(
                client or self.client, resource, app.key, change, manager=manager, resource_version=version
            )
        except Conflict:
            if version is None:
                raise
            await basis.recall(self.client, app)
            return await self._patch(app, status, more, checksum, client)
        except NotFound:
            app.stale = True
            return False
        app.seen = None
        if more:
            app.recorded = checksum
        if app.status is before:
            app.status, app.crossed = status, None
        else:
            # Nobody knows which of the two the server took last: the late one gives way, wherever they differ.
            app.status, app.crossed = (app.status, status) if late else (status, app.status)
            # As a copy: by `before`, each write tells whether another has ended since it began.
            self.laggards.add(app.key, msgspec.structs.replace(app.status))
        if checksum:
            self.records.settled(app)
        return True

    def _recorded(self, app: App) -> str:
        """The checksum that the inventory as known now has on record; nothing for one that never was."""
        if not app.inventory and not app.recorded:
            return ""
        return inventory.checksum(inventory.lines(app.inventory))


def _change(app: App, status: KustomizationStatus) -> Body:
    """The patch that makes `status` of what the server may have."""
    after: Body = msgspec.to_builtins(status)
    change = merge_difference(msgspec.to_builtins(app.status), after)
    if app.crossed is None:
        return change
    return merged(merge_difference(msgspec.to_builtins(app.crossed), after), change)
