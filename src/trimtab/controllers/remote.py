"""The story of a source that another process serves, such as Flux's source-controller: fetch its artifact, check it."""

from typing import Generic

from trimtab.artifacts.fetch import fetch_artifact
from trimtab.artifacts.store import Store
from trimtab.base.http import Transport
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.controllers.sourcing import Source
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests.refs import Key
from trimtab.runtime.controller import Done, Result

BACKOFF_CAP_S = 30.0


class RemoteSources(Generic[Source]):
    """Offers every artifact that a status promises, once its bytes are here and match their digest.

    Nothing is written: the status belongs to whoever publishes. An artifact that cannot be had leaves the last one in
    force.
    """

    def __init__(
        self, kind: str, objects: Informer[Source], index: SourceIndex, store: Store, transport: Transport
    ) -> None:
        self._kind = kind
        self._objects = objects
        self._index = index
        self._store = store
        self._transport = transport

    async def reconcile(self, key: Key) -> Result:
        """One pass. Raises Transient while the artifact cannot be had, Terminal if it is refused for what it is."""
        repository = self._objects.store.get(key)
        source = SourceId(self._kind, key)
        if repository is None or repository.metadata.deleted:
            self._index.drop(source)
            return Done()
        artifact, known = repository.status.artifact, self._index.get(source)
        if artifact is not None and (known is None or known.artifact != artifact):
            self._index.put(source, Published(artifact, await fetch_artifact(self._transport, artifact, self._store)))
        return Done()


def is_news(event: Event[Source]) -> Key | None:
    """The source whose artifact moved, if `event` says so."""
    if not isinstance(event, Applied):
        return event.old.key
    moved = event.old is None or event.old.status.artifact != event.new.status.artifact
    return event.new.key if moved else None
