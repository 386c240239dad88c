"""The inventory: what an app owns, written before the effect and shrunk only after a confirmed deletion. Pure.

A list of up to `INLINE` entries is one document (format 1). A longer one is kept in parts, and the document names the
objects that hold them as its entries (format 2): clients of Flux then see where the list is, and a server that prunes
the fields that are ours alone still keeps the reference.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from trimtab.manifests import codec
from trimtab.manifests.inventory import decode_id, encode_id
from trimtab.manifests.refs import Gvk, Ref

FORMAT = 1
IN_PARTS = 2
INLINE = 1_000
"""So many entries are one document: a status and its echo in every watch stay small."""
PART_BYTES = 256 * 1024
"""What a part holds on average; none holds more than twice that. The server takes no Secret beyond 1 MiB."""
SUFFIX = ".inventory.trimtab.dev"
"""Ends the names of the Secrets that hold inventories."""

Line = Mapping[str, str]


class Entry(NamedTuple):
    """One owned object: its API version as applied, and its uid once known."""

    ref: Ref
    version: str
    uid: str = ""

    @property
    def gvk(self) -> Gvk:
        return Gvk(self.ref.group, self.version, self.ref.kind)


Inventory = Mapping[Ref, Entry]


def read(entries: Iterable[Line]) -> dict[Ref, Entry]:
    """The entries of a status, ours or Flux's. Raises ValueError for an id that is none."""
    found = (Entry(decode_id(entry["id"]), entry.get("v", ""), entry.get("uid", "")) for entry in entries)
    return {entry.ref: entry for entry in found}


def lines(inventory: Inventory) -> list[dict[str, str]]:
    """The entries as they are written, in the order of their ids."""
    written = []
    for entry in inventory.values():
        line = {"id": encode_id(entry.ref), "v": entry.version}
        if entry.uid:
            line["uid"] = entry.uid
        written.append(line)
    return sorted(written, key=lambda line: line["id"])


def write(inventory: Inventory, cluster: str) -> dict[str, object]:
    """`inventory` as one document, with our extension: format, cluster id and checksum (ENGINE.md §4)."""
    return document(lines(inventory), cluster)


def document(entries: Sequence[Line], cluster: str) -> dict[str, object]:
    """The document that holds `entries` themselves."""
    return {"entries": list(entries), "format": FORMAT, "cluster": cluster, "checksum": checksum(entries)}


def index(holders: Iterable[Ref], entries: Sequence[Line], cluster: str) -> dict[str, object]:
    """The document of a list that is kept in parts: it names the `holders` and vouches for all `entries`."""
    named = [{"id": encode_id(ref), "v": "v1"} for ref in sorted(holders)]
    whole = {"cluster": cluster, "checksum": checksum(entries), "count": len(entries)}
    return {"entries": named, "format": IN_PARTS, **whole}


def parts(entries: Sequence[Line]) -> list[list[Line]]:
    """`entries` in parts of a bounded size. Most changes leave most parts as they are."""
    sizes = [len(codec.encode(line)) + 1 for line in entries]
    number = 1
    while True:
        buckets: list[list[Line]] = [[] for _ in range(number)]
        weights = [0] * number
        for line, size in zip(entries, sizes, strict=True):
            chosen = zlib.crc32(line["id"].encode()) % number
            buckets[chosen].append(line)
            weights[chosen] += size
        if sum(weights) <= number * PART_BYTES and max(weights) <= 2 * PART_BYTES:
            return [bucket for bucket in buckets if bucket]
        number *= 2


def holder_of(ref: Ref, namespace: str) -> bool:
    """Whether `ref` is the name of a Secret that holds a part of an inventory."""
    return (ref.group, ref.kind, ref.namespace) == ("", "Secret", namespace) and ref.name.endswith(SUFFIX)


def problem(form: int, recorded: str, entries: Iterable[Line]) -> str:
    """Why a recorded list must not be acted on, or nothing. One without a format was written by Flux and is trusted."""
    if form > IN_PARTS:
        return f"its format is {form}, written by a newer version; this one knows {IN_PARTS}"
    if form and checksum(entries) != recorded:
        return "its checksum does not fit its entries: somebody else has changed or cut it"
    return ""


def checksum(entries: Iterable[Line]) -> str:
    """The digest that tells a list that was edited or cut from one that we wrote."""
    return codec.digest([[entry["id"], entry.get("v", ""), entry.get("uid", "")] for entry in entries])


def union(old: Inventory, new: Iterable[Entry]) -> dict[Ref, Entry]:
    """Old and new together, what must be on record before the first write. A known uid is kept."""
    merged = dict(old)
    for entry in new:
        before = merged.get(entry.ref)
        merged[entry.ref] = entry if entry.uid or before is None else entry._replace(uid=before.uid)
    return merged
