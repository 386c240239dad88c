"""ConfigMaps and Secrets that ask for it by a label: who refers to them is told of a change at once.

Only their names and versions are watched, never what is in them. Where they may not be watched, changes are found when
an app looks again by itself.
"""

from collections.abc import Callable

import msgspec

from trimtab.base.tasks import Tasks
from trimtab.controllers.holders import ABSENT, CONFIG_MAP, SECRET, Holder
from trimtab.kube.client import Client
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests.refs import Gvk, Key


class _Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    namespace: str
    resource_version: str


class _Config(msgspec.Struct, frozen=True, kw_only=True):
    metadata: _Metadata

    @property
    def key(self) -> Key:
        return Key(self.metadata.namespace, self.metadata.name)


class Configs:
    """One watch for each of the two kinds. `stirred` is told of every change, and at which version it was seen."""

    def __init__(self, reader: Client, selector: str, stirred: Callable[[Holder, str], None]) -> None:
        self._reader = reader
        self._selector = selector
        self._stirred = stirred

    async def start(self, tasks: Tasks) -> None:
        """Begin to watch. Nobody waits for the first look: what there is at the start is read by everyone anyway."""
        for gvk in (CONFIG_MAP, SECRET):
            await self._watch(tasks, gvk)

    async def _watch(self, tasks: Tasks, gvk: Gvk) -> None:
        informer = Informer(
            self._reader,
            await self._reader.discovery.find(gvk),
            decode=msgspec.json.Decoder(_Config).decode,
            key_of=lambda config: config.key,
            label_selector=self._selector,
            metadata_only=True,
        )

        def hear(event: Event[_Config]) -> None:
            if isinstance(event, Applied):
                self._stirred(Holder(gvk.kind, event.new.key), event.new.metadata.resource_version)
            else:
                self._stirred(Holder(gvk.kind, event.old.key), ABSENT)

        informer.add_handler(hear)
        informer.start(tasks)
