"""The switch that stops every deletion: a ConfigMap in the controller's own namespace (ENGINE.md, P15)."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import msgspec

from trimtab.api.meta import ObjectMeta
from trimtab.base.tasks import Tasks
from trimtab.kube.client import Client
from trimtab.kube.informer import Informer
from trimtab.manifests.refs import Gvk

NAME: Final = "trimtab-freeze"
_SYNC_TIMEOUT_S = 10.0


class _Switch(msgspec.Struct, frozen=True, kw_only=True):
    metadata: ObjectMeta


class Freeze:
    """Whether deletions are frozen, by a watch on that one object. `thawed` is called when they are free again.

    What cannot be watched counts as frozen: nobody could tell us to stop.
    """

    def __init__(self, client: Client, namespace: str, thawed: Callable[[], None]) -> None:
        self._client = client
        self._namespace = namespace
        self._thawed = thawed
        self._informer: Informer[_Switch] | None = None
        self._was_frozen = True

    async def start(self, tasks: Tasks) -> None:
        """Begin to watch, and wait a moment for the first look."""
        resource = await self._client.discovery.find(Gvk("", "v1", "ConfigMap"))
        decoder = msgspec.json.Decoder(_Switch)
        informer = self._informer = Informer(
            self._client,
            resource,
            decode=decoder.decode,
            key_of=lambda item: item.metadata.key,
            namespace=self._namespace,
            name=NAME,
        )
        informer.add_handler(lambda _: self._moved())
        informer.add_state_handler(lambda _: self._moved())
        informer.start(tasks)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SYNC_TIMEOUT_S):
                await informer.synced.wait()

    @property
    def why(self) -> str:
        """Why nothing may be deleted now; empty when it may."""
        switch = f"ConfigMap {self._namespace}/{NAME}"
        if self._informer is None or not self._informer.synced.is_set():
            problem = self._informer.problem if self._informer else None
            return f"{switch}, which freezes deletions, could not be looked at yet{f': {problem}' if problem else ''}"
        if self._informer.store:
            return f"{switch} freezes all deletions; they go on when it is deleted"
        return ""

    def _moved(self) -> None:
        was_frozen, self._was_frozen = self._was_frozen, bool(self.why)
        if was_frozen and not self._was_frozen:
            self._thawed()
