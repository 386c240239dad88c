"""The record of an app that has no object of its own: what `trimtab apply` has put into a cluster, in Secrets.

The head is one Secret for each app, with the inventory and what is known of its origin; it is written with the version
that was read as a precondition, so that nobody writes over what another one has recorded. A list that is too long for
it is kept in parts, which the head owns: new parts first, under names that were never used before, then the head, then
the removal of what nothing refers to any more. A crash between any two of these leaves a list that is complete.
"""

import base64
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from trimtab.api import names
from trimtab.api.kustomizestatus import Inventory, lines_of
from trimtab.api.meta import ObjectMeta
from trimtab.base.errors import Terminal, Transient
from trimtab.controllers.reading import FIELD, SECRET
from trimtab.kube.client import Client
from trimtab.kube.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound
from trimtab.manifests import codec
from trimtab.manifests.inventory import decode_id, encode_id
from trimtab.manifests.refs import Body, Gvk, Key, Ref
from trimtab.targets.kubernetes import inventory
from trimtab.targets.kubernetes.inventory import Entry, Line

TYPE: Final = "trimtab.dev/inventory"
SUFFIX: Final = f".apply{inventory.SUFFIX}"
"""Ends the name of the head of an app. Those of all parts end with `inventory.SUFFIX`, too."""
_ABOUT: Final = "app"
_NAMESPACE: Final = Gvk("", "v1", "Namespace")
_MANAGER: Final = "trimtab-apply"
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)


class Moved(Transient):
    """The record is not the one any more that was read: somebody else has applied the app since."""

    def __init__(self, message: str) -> None:
        super().__init__(names.Reason.CONFLICT, message)


class About(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Where an app comes from. `source` is the repository, `path` the directory in it; empty where nobody can tell.

    `revision` is the one that was planned last; `plain` says that its build takes nothing but the directory. `applied`
    is the digest of what was applied in full; empty while that is under way. `leaving` are the ids of what is on record
    and no longer wished. `approval` is the digest of deletions that were approved, `granted` their tokens.
    """

    source: str = ""
    path: str = ""
    revision: str = ""
    plain: bool = False
    applied: str = ""
    leaving: tuple[str, ...] = ()
    approval: str = ""
    granted: tuple[str, ...] = ()


class _Held(msgspec.Struct, frozen=True, kw_only=True):
    metadata: ObjectMeta
    data: Mapping[str, bytes] = {}


@dataclass(slots=True)
class ApplyRecord:
    """What is on record of the app `key`. `uid` and `version` are those of its head, empty where there is none.

    `problem` is why the record cannot be trusted: then nothing is done for the app, and `legible` is what can be read
    of it all the same. `written` is what it says now.
    """

    key: Key
    uid: str = ""
    version: str = ""
    cluster: str = ""
    inventory: dict[Ref, Entry] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    about: About = field(default_factory=About)
    problem: str = ""
    legible: dict[Ref, Entry] = field(default_factory=dict)
    written: tuple[dict[Ref, Entry], About] | None = None

    @property
    def wished(self) -> set[Ref]:
        """What the app desired when it was planned last."""
        return self.inventory.keys() - {decode_id(one) for one in self.about.leaving}

    def leave(self, refs: Collection[Ref]) -> None:
        """Of what is on record, `refs` are no longer wished."""
        gone = tuple(sorted(encode_id(ref) for ref in refs if ref in self.inventory))
        self.about = msgspec.structs.replace(self.about, leaving=gone)

    def check(self) -> None:
        """Raise Terminal while the record cannot be trusted (ENGINE.md, P13)."""
        if self.problem:
            raise Terminal(
                names.Reason.READ_ONLY,
                f"the record of app {self.key} cannot be trusted: {self.problem}. Nothing is applied or deleted: "
                f"`trimtab repair inventory {self.key.name} -n {self.key.namespace}` builds it anew; or restore Secret "
                f"{head_of(self.key)}",
            )


def checked(name: str) -> str:
    """`name`, if it may be that of an app: it is the value of a label. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for an app: up to 63 of a-z, 0-9 and -, and no - at an end")
    return name


def head_of(key: Key) -> Key:
    """The Secret with the record of the app `key`."""
    return Key(key.namespace, f"{key.name}{SUFFIX}")


async def cluster_of(client: Client) -> str:
    """What records call the cluster; empty for who may not know. Raises what the client raises for anything else."""
    try:
        body = await client.get(await client.discovery.find(_NAMESPACE), "kube-system")
    except Forbidden:
        return ""
    return str(body["metadata"]["uid"])


class ApplyRecords:
    """Reads and writes the records of one cluster, which is called `cluster`."""

    def __init__(self, client: Client, cluster: str) -> None:
        self._client = client
        self._cluster = cluster

    # --- read

    async def read(self, key: Key) -> ApplyRecord:
        """The record of `key`; an empty one where there is none. Raises what the client raises."""
        resource = await self._client.discovery.find(SECRET)
        head = head_of(key)
        try:
            return await self._read(await self._client.get(resource, head.name, head.namespace, type=_Held))
        except NotFound:
            return ApplyRecord(key, cluster=self._cluster)

    async def all(self, namespace: str = "") -> list[ApplyRecord]:
        """The records of all apps of `namespace`, or of every one. Raises what the client raises."""
        resource = await self._client.discovery.find(SECRET)
        found = await self._client.list(resource, namespace, label_selector=names.APPLIED_RECORD, type=_Held)
        heads = [secret for secret in found.items if secret.metadata.name.endswith(SUFFIX)]
        return [await self._read(head) for head in heads]

    async def within_reach(self, namespace: str) -> list[ApplyRecord]:
        """The records of all apps; where Secrets may not be listed everywhere, of those of `namespace`."""
        try:
            return await self.all()
        except Forbidden:
            return await self.all(namespace)

    async def _read(self, head: _Held) -> ApplyRecord:
        metadata = head.metadata
        key = Key(metadata.namespace, metadata.name.removesuffix(SUFFIX))
        record = ApplyRecord(key, metadata.uid, metadata.resource_version)
        try:
            document = msgspec.json.decode(head.data.get(FIELD, b""), type=Inventory)
            lines = lines_of(document.entries)
            if document.format == inventory.IN_PARTS:
                lines = await self._parts(record, lines)
            if not document.cluster or document.cluster == self._cluster:
                record.legible = inventory.read(lines)
            record.about = msgspec.json.decode(head.data.get(_ABOUT, b""), type=About)
            record.problem = record.problem or inventory.problem(document.format or 1, document.checksum, lines)
            if not record.problem:
                record.inventory, record.cluster = inventory.read(lines), document.cluster
                _ = record.wished  # what is no id is a damage as well
                record.written = (dict(record.inventory), record.about)
        except (msgspec.DecodeError, ValueError, KeyError) as failure:
            record.problem = f"Secret {metadata.key} is damaged: {failure}"
        if not record.problem and self._cluster and record.cluster and record.cluster != self._cluster:
            record.problem = f"it was made in another cluster ({record.cluster}), and this one is {self._cluster}"
        return record

    async def _parts(self, record: ApplyRecord, holders: Sequence[Line]) -> list[dict[str, str]]:
        resource = await self._client.discovery.find(SECRET)
        lines: list[dict[str, str]] = []
        for holder in holders:
            ref = decode_id(holder["id"])
            if not inventory.holder_of(ref, record.key.namespace):
                record.problem = f"it names {ref} as a part of itself"
                return []
            try:
                part = await self._client.get(resource, ref.name, ref.namespace, type=_Held)
            except NotFound:
                record.problem = f"Secret {ref.namespace}/{ref.name}, which holds a part of it, is gone"
                return []
            document = msgspec.json.decode(part.data.get(FIELD, b""), type=Inventory)
            lines += lines_of(document.entries)
            record.parts[document.checksum] = ref.name
        return sorted(lines, key=lambda line: line["id"])

    async def check_place(self, record: ApplyRecord) -> None:
        """Raise Terminal if `record` would have no place: it is new, and its namespace is not there."""
        if record.uid:
            return
        try:
            await self._client.get(await self._client.discovery.find(_NAMESPACE), record.key.namespace)
        except NotFound:
            raise _homeless(record.key) from None
        except Forbidden:
            return  # then the first write tells

    # --- write

    async def write(self, record: ApplyRecord) -> None:
        """Write `record`, unless it stands as it is. Raises Transient where somebody else has written meanwhile."""
        if record.uid and record.written == (record.inventory, record.about):
            return
        before = set(record.parts.values())
        if not record.uid:
            await self._create_head(record)
        lines = inventory.lines(record.inventory)
        if len(lines) <= inventory.INLINE:
            document, record.parts = inventory.document(lines, self._cluster), {}
        else:
            record.parts = await self._put_parts(record, lines)
            holders = [Ref("", SECRET.kind, record.key.namespace, name) for name in record.parts.values()]
            document = inventory.index(holders, lines, self._cluster)
        await self._put_head(record, document)
        record.cluster, record.written = self._cluster, (dict(record.inventory), record.about)
        for name in before - set(record.parts.values()):
            await self._remove(Key(record.key.namespace, name))

    async def forget(self, record: ApplyRecord) -> None:
        """Remove the record of an app that has nothing any more. Its parts go with it."""
        if record.uid:
            await self._remove(head_of(record.key), uid=record.uid)
            record.uid = record.version = ""

    async def _create_head(self, record: ApplyRecord) -> None:
        resource = await self._client.discovery.find(SECRET)
        head = head_of(record.key)
        empty = inventory.document([], self._cluster)
        body = _secret(record, head.name, _data(empty, About()))
        try:
            created = await self._client.create(resource, body, head.namespace, field_manager=_MANAGER, type=_Held)
        except AlreadyExists:
            raise _overtaken(record.key) from None
        except NotFound as refusal:
            raise _homeless(record.key) from refusal
        record.uid, record.version = created.metadata.uid, created.metadata.resource_version

    async def _put_head(self, record: ApplyRecord, document: Mapping[str, object]) -> None:
        resource = await self._client.discovery.find(SECRET)
        head = head_of(record.key)
        patch: Body = {
            "metadata": {"uid": record.uid, "resourceVersion": record.version},
            "data": _data(document, record.about),
        }
        try:
            written = await self._client.merge_patch(
                resource, head.name, head.namespace, patch, field_manager=_MANAGER, type=_Held
            )
        except (Conflict, NotFound):
            raise _overtaken(record.key) from None
        record.version = written.metadata.resource_version

    async def _put_parts(self, record: ApplyRecord, lines: Sequence[Line]) -> dict[str, str]:
        resource = await self._client.discovery.find(SECRET)
        parts: dict[str, str] = {}
        for part in inventory.parts(lines):
            content = inventory.document(part, self._cluster)
            checksum = str(content["checksum"])
            name = record.parts.get(checksum)
            if name is None:
                name = f"{record.key.name}.{secrets.token_hex(4)}{inventory.SUFFIX}"
                body = _secret(record, name, {FIELD: _encoded(content)}) | {"immutable": True}
                body["metadata"]["ownerReferences"] = [_owner(record)]
                await self._client.create(resource, body, record.key.namespace, field_manager=_MANAGER)
            parts[checksum] = name
        return parts

    async def _remove(self, key: Key, uid: str | None = None) -> None:
        resource = await self._client.discovery.find(SECRET)
        try:
            await self._client.delete(resource, key.name, key.namespace, uid=uid)
        except NotFound:
            return
        except ApiError:
            if uid is not None:
                raise
            # A part that nothing refers to harms nobody, and goes with the head.


def _homeless(key: Key) -> Terminal:
    return Terminal(
        names.Reason.RECONCILIATION_FAILED,
        f"the record of app {key} cannot be kept, since its namespace is not there: create namespace {key.namespace} "
        "first, also where it is among what is applied, or choose another for the record by -n",
    )


def _overtaken(key: Key) -> Moved:
    return Moved(f"somebody else has changed the record of app {key} meanwhile: look again, then apply")


def _owner(record: ApplyRecord) -> Body:
    return {"apiVersion": "v1", "kind": SECRET.kind, "name": head_of(record.key).name, "uid": record.uid}


def _secret(record: ApplyRecord, name: str, data: Mapping[str, str]) -> Body:
    labels = {names.APPLIED_RECORD: record.key.name}
    metadata = {"name": name, "namespace": record.key.namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": SECRET.kind, "type": TYPE, "metadata": metadata, "data": dict(data)}


def _data(document: Mapping[str, object], about: About) -> dict[str, str]:
    return {FIELD: _encoded(document), _ABOUT: _encoded(msgspec.to_builtins(about))}


def _encoded(content: object) -> str:
    return base64.b64encode(codec.encode(content)).decode()
