"""The story of a source that somebody else publishes: Flux's source-controller, or a producer nobody here knows."""

from collections.abc import Callable
from typing import Generic

from trimtab.artifacts.fetch import fetch_artifact
from trimtab.artifacts.store import Store
from trimtab.base.errors import TrimtabError
from trimtab.base.http import Transport
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.controllers.offering import Offered
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests.refs import Key
from trimtab.runtime.controller import Done, Result

BACKOFF_CAP_S = 30.0


class RemoteSources(Generic[Offered]):
    """Offers every artifact that a status promises, once its bytes are here and match their digest.

    Nothing is written: the status belongs to whoever publishes. An artifact that cannot be had leaves the last one in
    force, and those who wait for a first one are told why. `ours` tells the objects whose artifacts this process
    publishes, and offers, itself. `wanted` tells those that somebody here asked for: where others need the rest, it is
    theirs to fetch. `warn` is told once of every artifact that cannot be had.
    """

    def __init__(
        self,
        kind: str,
        objects: Informer[Offered],
        index: SourceIndex,
        store: Store,
        transport: Transport,
        *,
        ours: Callable[[Key], bool] = lambda _key: False,
        wanted: Callable[[Key], bool] = lambda _key: True,
        warn: Callable[[Offered, str, str], None] = lambda _item, _reason, _words: None,
    ) -> None:
        self._kind = kind
        self._objects = objects
        self._index = index
        self._store = store
        self._transport = transport
        self._ours = ours
        self._wanted = wanted
        self._warn = warn

    async def reconcile(self, key: Key) -> Result:
        """One pass. Raises Transient while the artifact cannot be had, Terminal if it is refused for what it is."""
        item = self._objects.store.get(key)
        source = SourceId(self._kind, key)
        if not self._wanted(key) or self._ours(key):
            return Done()
        if item is None or item.metadata.deleted:
            self._index.drop(source)
            return Done()
        artifact, known = item.status.artifact, self._index.known(source)
        if artifact is None or (known is not None and known.artifact == artifact):
            return Done()
        try:
            snapshot = await fetch_artifact(self._transport, artifact, self._store)
        except TrimtabError as failure:
            if self._index.blame(source, artifact, failure.message):
                kept = f"; revision '{known.artifact.revision}' stays in force" if known else ""
                self._warn(item, failure.reason, failure.message + kept)
            raise
        self._index.put(source, Published(artifact, snapshot))
        return Done()


def is_news(event: Event[Offered]) -> Key | None:
    """The source whose artifact moved, if `event` says so."""
    if not isinstance(event, Applied):
        return event.old.key
    moved = event.old is None or event.old.status.artifact != event.new.status.artifact
    return event.new.key if moved else None
