"""How the controller of a kind says something of an object: in its status, where that changes, and by events."""

from dataclasses import dataclass

import msgspec

from trimtab.api import annotations
from trimtab.controllers.offering import Named, about
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.manifests.refs import Gvk
from trimtab.runtime.events import EventType, Recorder
from trimtab.runtime.status import merge_difference, patch_status


@dataclass(frozen=True, slots=True)
class Voice:
    """Speaks of objects of `gvk`; `manager` is the field manager of their status."""

    client: Client
    recorder: Recorder
    gvk: Gvk
    manager: str

    async def write(self, item: Named, before: msgspec.Struct, after: msgspec.Struct) -> bool:
        """Change the status of `item` from `before` to `after`. False: nothing differs, or the object is gone.

        Raises what a write to the API server raises.
        """
        change = merge_difference(msgspec.to_builtins(before), msgspec.to_builtins(after))
        if not change:
            return False
        resource = await self.client.discovery.find(self.gvk)
        try:
            await patch_status(self.client, resource, item.key, change, manager=self.manager)
        except NotFound:
            return False
        return True

    def say(self, item: Named, type_: EventType, reason: str, message: str) -> None:
        """An event about `item`."""
        self.recorder.record(about(item), type_, reason, message, {})

    def strangers(self, item: Named, told: list[str]) -> list[str]:
        """Say which annotations of ours have no meaning, unless that was `told`; what is told by now."""
        strange: list[str] = annotations.strangers(self.gvk.kind, item.metadata.annotations)
        if strange and strange != told:
            self.say(item, "Warning", annotations.UNKNOWN, "; ".join(strange))
        return strange
