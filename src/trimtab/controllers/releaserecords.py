"""Helm's records of one release, read and written where Helm keeps them: as Secrets, under the release's account."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from trimtab.api.names import HELM_MANAGER, Reason
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.helm import record
from trimtab.helm.record import BadRecord, Record
from trimtab.kube.client import Client
from trimtab.kube.errors import AlreadyExists, Conflict, NotFound
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body, Gvk

_SECRET = Gvk("", "v1", "Secret")
_AT_ONCE = 500


class _Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str
    resource_version: str


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    metadata: _Metadata


class Shelf(NamedTuple):
    """The records of a release, the newest first, and when the newest was written last, in seconds of the epoch."""

    history: tuple[Record, ...]
    touched_at: float = 0.0


def _decoded(secrets: Sequence[Body]) -> list[tuple[Record, Body]]:
    return sorted(((record.decode(item), item) for item in secrets), key=lambda one: -one[0].version)


class ReleaseRecords:
    """The records of the release `name` in `namespace`."""

    def __init__(self, client: Client, clock: Clock, namespace: str, name: str) -> None:
        self._client = client
        self._clock = clock
        self._namespace = namespace
        self._name = name
        self._versions: dict[int, str] = {}

    @property
    def namespace(self) -> str:
        """Where the records are kept."""
        return self._namespace

    async def mark(self) -> frozenset[tuple[str, str]]:
        """Names and versions of the records: equal as long as nobody has written any. Their contents are not read."""
        resource, found, token = await self._resource(), set(), ""
        while True:
            page = await self._client.page(
                resource,
                self._namespace,
                token,
                label_selector=record.selector(self._name),
                limit=_AT_ONCE,
                metadata_only=True,
                type=_Named,
            )
            found |= {(item.metadata.name, item.metadata.resource_version) for item in page.items or ()}
            token = page.metadata.continue_
            if not token:
                return frozenset(found)

    def known(self) -> frozenset[tuple[str, str]]:
        """The same, as far as it was read or written here."""
        return frozenset((record.secret_name(self._name, number), at) for number, at in self._versions.items())

    async def read(self) -> Shelf:
        """All records. Raises Transient for one that cannot be read, since nobody tells when it is mended or deleted.

        They are unpacked beside the event loop: each may be of many megabytes.
        """
        listing = await self._client.list(
            await self._resource(), self._namespace, label_selector=record.selector(self._name)
        )
        try:
            found = await asyncio.to_thread(_decoded, listing.items)
        except BadRecord as bad:
            raise Transient(bad.reason, bad.message, hopeless=True) from bad
        self._versions = {one.version: str(item["metadata"]["resourceVersion"]) for one, item in found}
        return Shelf(tuple(one for one, _ in found), record.touched_at(found[0][1]) if found else 0.0)

    async def create(self, new: Record) -> None:
        """Write a revision that nobody has written. Raises Transient if somebody has, TooLarge."""
        body = await asyncio.to_thread(record.encode, new, self._namespace, self._clock.now())
        try:
            answer = await self._client.create(
                await self._resource(), body, self._namespace, field_manager=HELM_MANAGER, type=_Named
            )
        except AlreadyExists as taken:
            at = await self._written(body["metadata"]["name"], body)
            if at is None:
                raise self._elsewhere(new) from taken
            self._versions[new.version] = at
            return
        self._versions[new.version] = answer.metadata.resource_version

    async def update(self, changed: Record) -> None:
        """Write anew what was read or written here. Raises Transient if somebody else has written meanwhile."""
        body = await asyncio.to_thread(record.encode, changed, self._namespace, self._clock.now())
        patch = {"metadata": {"labels": body["metadata"]["labels"]}, "data": body["data"]}
        if (version := self._versions.get(changed.version)) is not None:
            patch["metadata"]["resourceVersion"] = version
        name = body["metadata"]["name"]
        try:
            answer = await self._client.merge_patch(
                await self._resource(), name, self._namespace, patch, field_manager=HELM_MANAGER, type=_Named
            )
        except Conflict as moved:
            # An answer that got lost was asked for again, and the first request had been heard.
            at = await self._written(name, body)
            if at is None:
                raise self._elsewhere(changed) from moved
            self._versions[changed.version] = at
            return
        except NotFound as moved:
            raise self._elsewhere(changed) from moved
        self._versions[changed.version] = answer.metadata.resource_version

    async def _written(self, name: str, body: Body) -> str | None:
        """The version of the record `name`, if it is exactly what `body` says."""
        try:
            live = await self._client.get(await self._resource(), name, self._namespace)
        except NotFound:
            return None
        labels = live["metadata"].get("labels") or {}
        same = live.get("data") == body["data"] and body["metadata"]["labels"].items() <= labels.items()
        return str(live["metadata"]["resourceVersion"]) if same else None

    async def delete(self, old: Record) -> None:
        """Delete a record; one that is gone is as good."""
        try:
            await self._client.delete(
                await self._resource(), record.secret_name(self._name, old.version), self._namespace
            )
        except NotFound:
            return
        finally:
            self._versions.pop(old.version, None)

    async def _resource(self) -> Resource:
        return await self._client.discovery.find(_SECRET)

    def _elsewhere(self, one: Record) -> Transient:
        return Transient(
            Reason.STATE_ERROR,
            f"somebody else has written revision {one.version} of the release {self._namespace}/{self._name}, "
            "perhaps a `helm` command: it is looked at again",
        )
