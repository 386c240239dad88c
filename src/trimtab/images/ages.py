"""When the images behind tags were created: asked for once for each digest, and remembered for ever.

A tag is looked up when it is seen for the first time. The few that were created last are looked up again when the list
of tags has changed: one may have been pushed anew. An older one that is pushed anew keeps the time it had.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from trimtab.base.abreast import abreast
from trimtab.base.errors import Terminal
from trimtab.images import creation
from trimtab.images.scanning import Scanner, ScanSpec
from trimtab.images.tagstore import TagStore
from trimtab.remotes.oci.wire import Access

MOST_CANDIDATES: Final = 1_000
"""Images whose age may be asked for: each costs up to three requests, once."""
LOOKED_AT_AGAIN: Final = 3
_AT_ONCE: Final = 4


class Ages:
    """Knows, or asks. Raises as Scanner does, OSError, and Terminal (InvalidPolicy) for more than it asks for."""

    def __init__(self, scanner: Scanner, store: TagStore) -> None:
        self._scanner = scanner
        self._store = store

    async def of(self, uid: str, spec: ScanSpec, access: Access, tags: Iterable[str]) -> Mapping[str, datetime]:
        """When the images of `tags` were created, without those that do not say. `uid` is the ImageRepository's."""
        wanted = sorted(tags)
        if len(wanted) > MOST_CANDIDATES:
            raise Terminal(
                "InvalidPolicy",
                f"{len(wanted):,} tags pass the filters, and the age of {MOST_CANDIDATES:,} images at most is asked "
                "for: let spec.filterTags, trimtab.dev/filter-glob or a range of versions leave out more",
            )
        known = await asyncio.to_thread(self._store.pushed, uid, wanted)
        newest = sorted(known, key=lambda tag: (known[tag][1] is not None, known[tag][1], tag))[-LOOKED_AT_AGAIN:]
        looked = [*(tag for tag in wanted if tag not in known), *newest]

        async def look(tag: str) -> None:
            digest = await self._scanner.digest(spec, access, tag)
            if tag not in known or known[tag][0] != digest:
                known[tag] = (digest, await self._created(uid, spec, access, tag, digest))

        await abreast(look, looked, _AT_ONCE)
        return {tag: created for tag, (_, created) in known.items() if created is not None}

    async def _created(self, uid: str, spec: ScanSpec, access: Access, tag: str, digest: str) -> datetime | None:
        found = await asyncio.to_thread(self._store.created, digest)
        if found is None:
            async with self._scanner.asking(spec, access):
                found = (await creation.created(self._scanner.registry, spec.repository, access, digest),)
        await asyncio.to_thread(self._store.note, uid, tag, digest, found[0])
        return found[0]
