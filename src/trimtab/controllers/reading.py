"""What is on record of an app, wherever it is kept: read, checked, and never trusted where it does not fit (P13)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from trimtab.api.kustomize import Kustomization
from trimtab.api.kustomizestatus import Inventory, lines_of
from trimtab.api.meta import ObjectMeta
from trimtab.base.abreast import abreast
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.manifests.inventory import decode_id
from trimtab.manifests.refs import Gvk, Key, Ref
from trimtab.targets.kubernetes import inventory
from trimtab.targets.kubernetes.inventory import Entry, Line

if TYPE_CHECKING:
    from trimtab.controllers.app import App

SECRET = Gvk("", "v1", "Secret")
FIELD = "inventory"
"""The entry of a Secret that has the document."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A Secret that holds an inventory, or a part of one."""

    metadata: ObjectMeta
    data: Mapping[str, bytes] = {}

    def belongs_to(self, uid: str) -> bool:
        """Whether the app with that uid owns it."""
        return any(owner.uid == uid for owner in self.metadata.owner_references)


@dataclass(slots=True)
class Reading:
    """What was read of a record: its lines as far as they are legible, and why they are not to be trusted, if so.

    `parts` are the Secrets that hold it, by the checksum of what is in them. `stale`: it has to be written again.
    `form` 0: Flux wrote it, or some of it.
    """

    lines: list[Line] = field(default_factory=list)
    form: int = inventory.FORMAT
    cluster: str = ""
    checksum: str = ""
    problem: str = ""
    parts: dict[str, str] = field(default_factory=dict)
    headed: bool = False
    stale: bool = False
    _refs: dict[str, Ref] = field(default_factory=dict)

    def doubt(self, why: str) -> None:
        """The first doubt is the one that is told."""
        self.problem = self.problem or why

    def decoded(self, secret: Holder) -> Inventory | None:
        """The document in `secret`; None, and a doubt, if there is none."""
        try:
            return msgspec.json.decode(secret.data.get(FIELD, b""), type=Inventory)
        except msgspec.DecodeError as failure:
            self.doubt(f"Secret {secret.metadata.key} is damaged: {failure}")
            return None

    def ref_of(self, line: Line) -> Ref | None:
        """The object that `line` is about; None, and a doubt, if it is about none."""
        id_ = line["id"]
        try:
            if (ref := self._refs.get(id_)) is None:
                ref = self._refs[id_] = decode_id(id_)
        except ValueError as failure:
            self.doubt(str(failure))
            return None
        return ref

    def entries(self) -> dict[Ref, Entry]:
        """What is on record, by object."""
        return {
            ref: Entry(ref, line.get("v", ""), line.get("uid", ""))
            for line in self.lines
            if (ref := self.ref_of(line)) is not None
        }

    def compare(self, document: Inventory | None, listed: Inventory, namespace: str) -> None:
        """Take over what the status lists and the record does not: Flux may have worked in between."""
        mirrored = {entry.id for entry in document.entries} if document else set()
        if mirrored == {entry.id for entry in listed.entries}:
            return
        self.stale = True
        known = {line["id"] for line in self.lines}
        for line in lines_of(listed.entries):
            ref = self.ref_of(line)
            if ref is not None and line["id"] not in known and not inventory.holder_of(ref, namespace):
                self.lines.append(line)
                self.form = 0

    def app(self, ks: Kustomization) -> "App":
        """`ks` with what is on record of it. What cannot be trusted is neither acted on nor written over (P13)."""
        # here, because commands that only read a record should not wait for all that converges it
        from trimtab.controllers.app import App

        app = App.unread(ks)
        app.problem, app.headed = self.problem, self.headed
        if not self.problem:
            app.inventory, app.parts, app.cluster = self.entries(), dict(self.parts), self.cluster
            app.imported, app.untidy = not self.form, self.stale
            app.recorded = self.checksum
            if not self.form:
                app.recorded = "by Flux" if self.lines or self.checksum else ""
        return app


async def look(client: Client, ks: Kustomization, *, apart: bool) -> Reading:
    """What is on record of `ks`, as far as it can be read. Raises what the client raises.

    `apart`: the status cannot hold what is ours alone, a Secret does.
    """
    listed, reading = ks.status.inventory, Reading()
    if apart or (listed is not None and not listed.format):
        head = await _get(client, head_of(ks.key))
        if head is not None and head.belongs_to(ks.metadata.uid):
            reading.headed, reading.stale = True, not apart
            if (document := reading.decoded(head)) is not None:
                await _read(client, ks, document, reading)
            if listed is None:
                reading.stale = True
            else:
                reading.compare(document, listed, ks.key.namespace)
            return reading
    if listed is not None:
        await _read(client, ks, listed, reading)
    return reading


async def _read(client: Client, ks: Kustomization, document: Inventory, reading: Reading) -> None:
    reading.form, reading.cluster, reading.checksum = document.format, document.cluster, document.checksum
    in_parts = document.format in (0, inventory.IN_PARTS)
    parts: list[Key] = []
    for line in lines_of(document.entries):
        ref = reading.ref_of(line)
        if ref is not None and in_parts and inventory.holder_of(ref, ks.key.namespace):
            parts.append(Key(ref.namespace, ref.name))
        elif ref is not None:
            reading.lines.append(line)
    if in_parts:
        for key, secret in zip(parts, await abreast(partial(_get, client), parts), strict=True):
            _take_part(ks, key, secret, reading)
        reading.lines.sort(key=lambda line: line["id"])
    reading.doubt(inventory.problem(document.format, document.checksum, reading.lines))


def _take_part(ks: Kustomization, key: Key, secret: Holder | None, reading: Reading) -> None:
    if secret is None:
        reading.doubt(f"Secret {key}, which holds a part of it, is gone")
    elif not secret.belongs_to(ks.metadata.uid):
        reading.doubt(f"Secret {key}, which should hold a part of it, belongs to another object")
    elif (part := reading.decoded(secret)) is not None:
        lines = lines_of(part.entries)
        if why := inventory.problem(part.format, part.checksum, lines):
            reading.doubt(f"Secret {key}, which holds a part of it: {why}")
        reading.lines += [line for line in lines if reading.ref_of(line) is not None]
        if secret.metadata.deleted:
            # it stays while it has our finalizer: the next write puts its lines elsewhere
            reading.stale = True
        else:
            reading.parts[part.checksum] = key.name


async def _get(client: Client, key: Key) -> Holder | None:
    resource = await client.discovery.find(SECRET)
    try:
        return await client.get(resource, key.name, key.namespace, type=Holder)
    except NotFound:
        return None


def head_of(key: Key) -> Key:
    """The Secret that has the record of the app `key` where its status cannot hold it."""
    return Key(key.namespace, f"{key.name}{inventory.SUFFIX}")
