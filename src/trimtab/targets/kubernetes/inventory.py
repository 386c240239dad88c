"""The inventory: what an app owns, written before the effect and shrunk only after a confirmed deletion. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from trimtab.manifests import codec
from trimtab.manifests.inventory import decode_id, encode_id
from trimtab.manifests.refs import Gvk, Ref

FORMAT = 1


class Entry(NamedTuple):
    """One owned object: its API version as applied, and its uid once known."""

    ref: Ref
    version: str
    uid: str = ""

    @property
    def gvk(self) -> Gvk:
        return Gvk(self.ref.group, self.version, self.ref.kind)


Inventory = Mapping[Ref, Entry]


def read(entries: Iterable[Mapping[str, str]]) -> dict[Ref, Entry]:
    """The entries of a status, ours or Flux's. Raises ValueError for an id that is none."""
    found = (Entry(decode_id(entry["id"]), entry.get("v", ""), entry.get("uid", "")) for entry in entries)
    return {entry.ref: entry for entry in found}


def write(inventory: Inventory, cluster: str) -> dict[str, object]:
    """`inventory` as `status.inventory`, with our extension: format, cluster id and checksum (ENGINE.md §4)."""
    entries = []
    for entry in sorted(inventory.values(), key=lambda item: encode_id(item.ref)):
        line = {"id": encode_id(entry.ref), "v": entry.version}
        if entry.uid:
            line["uid"] = entry.uid
        entries.append(line)
    return {"entries": entries, "format": FORMAT, "cluster": cluster, "checksum": checksum(entries)}


def problem(form: int, recorded: str, entries: Iterable[Mapping[str, str]]) -> str:
    """Why a recorded list must not be acted on, or nothing. One without a format was written by Flux and is trusted."""
    if form > FORMAT:
        return f"its format is {form}, written by a newer version; this one knows {FORMAT}"
    if form and checksum(entries) != recorded:
        return "its checksum does not fit its entries: somebody else has changed or cut it"
    return ""


def checksum(entries: Iterable[Mapping[str, str]]) -> str:
    """The digest that tells a list that was edited or cut from one that we wrote."""
    return codec.digest([[entry["id"], entry.get("v", ""), entry.get("uid", "")] for entry in entries])


def union(old: Inventory, new: Iterable[Entry]) -> dict[Ref, Entry]:
    """Old and new together, what must be on record before the first write. A known uid is kept."""
    merged = dict(old)
    for entry in new:
        before = merged.get(entry.ref)
        merged[entry.ref] = entry if entry.uid or before is None else entry._replace(uid=before.uid)
    return merged
