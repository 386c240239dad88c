"""The fields we own in a live object, and whether they still say what we applied.

The server keeps, per field manager, the set of fields it applied (`metadata.managedFields[].fieldsV1`, the format of
structured-merge-diff). The projection is an object reduced to one such set: the values at its leaves, and its list
items in their live order. Two looks at an object in which the projection is equal show no drift of ours, whatever
else has changed, so nothing has to be normalised.

A leaf of a set does not say whether it stands for a whole value or for a map that was declared empty, so unequal
projections are only a candidate; `changes` against the answer of an apply decides.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from trimtab.diff.compare import Difference, Kind, compare, same
from trimtab.manifests import codec
from trimtab.manifests.pointers import ABSENT, Keys, Member, Part, format_path, parse_path
from trimtab.manifests.refs import Body

FIELD_MANAGER: Final = "kustomize-controller"


class Entry(NamedTuple):
    """Our entry in managedFields: the version its paths belong to, the field set in canonical JSON, when it moved."""

    api_version: str
    fields_v1: bytes
    time: str


class Writer(NamedTuple):
    """Who else wrote to an object: a field manager, how (Apply or Update), to which subresource, and when."""

    manager: str
    operation: str
    subresource: str
    time: str


def owned_entry(body: Body, manager: str = FIELD_MANAGER) -> Entry | None:
    """The entry of what `manager` applied to the object itself, or None where it owns nothing any more."""
    for entry in body.get("metadata", {}).get("managedFields") or ():
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource"):
            return Entry(entry.get("apiVersion", ""), _canonical(entry.get("fieldsV1")), entry.get("time", ""))
    return None


def owned_digest(entry: Entry) -> str:
    """The digest of the field set; equal for equal sets, in whichever answer of the server they came."""
    return codec.digest(entry.fields_v1)


def project(body: Body, entry: Entry) -> Any:
    """`body` reduced to the fields of `entry`; list items keep their keys and their live order."""
    reduced = _reduce(_compiled(entry.fields_v1), body)
    return {} if reduced is ABSENT else reduced


def projection_digest(body: Body, entry: Entry) -> str:
    """The digest of the projection. Only comparable where the digest of the field set is equal, too."""
    return codec.digest(project(body, entry))


def changes(live: Body, response: Body, entry: Entry) -> list[Difference]:
    """What an apply changed: from `live` before it to its `response`, on the field set of the response's `entry`.

    Empty means that there was no drift, however the projections differed. Items of ours that stand in another order
    are one difference of kind `moved`, with the list of their keys or values on both sides.
    """
    found: list[Difference] = []
    _Comparison(live, response, found).differ(_compiled(entry.fields_v1), live, response, ())
    return found


def who_changed(live: Body, path: str, *, manager: str = FIELD_MANAGER) -> Writer | None:
    """The newest writer other than `manager` that owns the field at `path` (as in a Difference) in `live`.

    Who removes a field owns nothing there afterwards: then the answer is None.
    """
    newest: Writer | None = None
    for writer in owners(live, path):
        if writer.manager == manager and writer.operation == "Apply" and not writer.subresource:
            continue
        if newest is None or writer.time >= newest.time:
            newest = writer
    return newest


def owners(live: Body, path: str) -> list[Writer]:
    """Everybody who owns the field at `path` (as in a Difference) in `live`, in the order of the server's list."""
    parts = parse_path(path)
    return [
        Writer(
            entry.get("manager", ""), entry.get("operation", ""), entry.get("subresource", ""), entry.get("time", "")
        )
        for entry in live.get("metadata", {}).get("managedFields") or ()
        if _owns(_compiled(_canonical(entry.get("fieldsV1"))), parts)
    ]


class _Node:
    """One step of a compiled field set. `item`: the map or list item as such is owned (`.`), even if it is empty."""

    __slots__ = ("fields", "item", "items", "leaf", "names", "values")

    def __init__(self) -> None:
        self.leaf = True
        self.item = False
        self.fields: dict[str, _Node] = {}
        self.items: dict[str, tuple[Keys, _Node]] = {}
        self.values: dict[str, Any] = {}
        self.names: tuple[tuple[str, ...], ...] = ()


def _canonical(fields: Any) -> bytes:
    if isinstance(fields, bytes | msgspec.Raw):
        fields = codec.decode(bytes(fields))
    return codec.canonical(fields or {})


@lru_cache(maxsize=512)
def _compiled(fields_v1: bytes) -> _Node:
    return _compile(codec.decode(fields_v1))


def _compile(fields: dict[str, Any]) -> _Node:
    node = _Node()
    names: dict[tuple[str, ...], None] = {}
    for key, children in fields.items():
        node.leaf = False
        kind, _, rest = key.partition(":")
        if kind == ".":
            node.item = True
        elif kind == "f":
            node.fields[rest] = _compile(children)
        elif kind == "k":
            pairs = tuple(sorted(codec.decode(rest).items()))
            names[tuple(name for name, _ in pairs)] = None
            node.items[_identity(pairs)] = (Keys(pairs), _compile(children))
        elif kind == "v":
            value = codec.decode(rest)
            node.values[_identity(value)] = value
        else:
            # `i:` (positions) is reserved and written by no server: such a set is compared as a whole.
            return _Node()
    node.names = tuple(names)
    return node


def _identity(value: Any) -> str:
    """Equal for equal JSON values. Numbers of keys come as 80 here and as 80.0 there."""
    return codec.canonical(value).decode()


def _items_of_ours(node: _Node, live: list[Any]) -> Iterator[tuple[str, Keys, "_Node", Any]]:
    """The items of `live` that the set names, in live order. A key that an item leaves out is one with a default."""
    for item in live:
        if not isinstance(item, dict):
            continue
        for names in node.names:
            known = node.items.get(_identity([(name, item[name]) for name in names if name in item]))
            if known is None and not all(name in item for name in names):
                known = next((each for each in node.items.values() if _fits(each[0], item)), None)
            if known is not None:
                yield _identity(known[0].pairs), known[0], known[1], item
                break


def _fits(keys: Keys, item: dict[str, Any]) -> bool:
    present = [(name, value) for name, value in keys.pairs if name in item]
    return bool(present) and all(same(item[name], value) for name, value in present)


def _reduce(node: _Node, value: Any) -> Any:
    if node.leaf or value is ABSENT:
        return value
    if isinstance(value, dict):
        reduced = {
            name: kept
            for name, child in node.fields.items()
            if (kept := _reduce(child, value.get(name, ABSENT))) is not ABSENT
        }
        return reduced if reduced or node.item else ABSENT
    if isinstance(value, list):
        kept_items: list[Any] = [member for member in value if _identity(member) in node.values] if node.values else []
        for _, keys, child, item in _items_of_ours(node, value):
            kept = _reduce(child, item)
            kept_items.append({**dict(keys.pairs), **(kept if isinstance(kept, dict) else {})})
        # A list that holds only what others put there is nothing of ours, like a list that is not there.
        return kept_items if kept_items or node.item else ABSENT
    # Another type than the set was written for: whatever it is, it is not what we applied.
    return value


class _Comparison:
    """One walk over a field set along both sides of a comparison."""

    def __init__(self, live: Body, response: Body, found: list[Difference]) -> None:
        self._bodies = (live, response)
        self._found = found

    def differ(self, node: _Node, live: Any, wanted: Any, at: tuple[Part, ...]) -> None:
        if live is ABSENT or wanted is ABSENT:
            before, after = _reduce(node, live), _reduce(node, wanted)
            if before is ABSENT and after is not ABSENT:
                self._add(at, "added", None, after)
            elif after is ABSENT and before is not ABSENT:
                self._add(at, "removed", before, None)
        elif node.leaf or type(live) is not type(wanted) or not isinstance(live, dict | list):
            differences = compare(live, wanted, at=at)
            if differences and not (isinstance(live, dict) and self._is_granular(at)):
                self._found.extend(differences)
        elif isinstance(live, dict):
            for name, child in node.fields.items():
                self.differ(child, live.get(name, ABSENT), wanted.get(name, ABSENT), (*at, name))
        else:
            self._differ_members(node, live, wanted, at)
            self._differ_items(node, live, wanted, at)

    def _is_granular(self, at: tuple[Part, ...]) -> bool:
        """Whether the fields of the map at `at` have owners of their own, so that a leaf there is a map declared `{}`.

        In a map that is owned as a whole, nobody can own a part. What stands in the other kind is not ours, and may
        well change between a look at the object and the apply.
        """
        entries = (entry for body in self._bodies for entry in body.get("metadata", {}).get("managedFields") or ())
        return any(
            node is not None and not node.leaf
            for entry in entries
            for node in (_below(_compiled(_canonical(entry.get("fieldsV1"))), at),)
        )

    def _differ_members(self, node: _Node, live: list[Any], wanted: list[Any], at: tuple[Part, ...]) -> None:
        old = [member for member in live if _identity(member) in node.values] if node.values else []
        new = [member for member in wanted if _identity(member) in node.values] if node.values else []
        for member in new:
            if member not in old:
                self._add((*at, Member(member)), "added", None, member)
        for member in old:
            if member not in new:
                self._add((*at, Member(member)), "removed", member, None)
        self._moved([member for member in old if member in new], [member for member in new if member in old], at)

    def _differ_items(self, node: _Node, live: list[Any], wanted: list[Any], at: tuple[Part, ...]) -> None:
        old = {identity: item for identity, _, _, item in _items_of_ours(node, live)}
        new = {identity: item for identity, _, _, item in _items_of_ours(node, wanted)}
        for identity in [*new, *(identity for identity in old if identity not in new)]:
            keys, child = node.items[identity]
            self.differ(child, old.get(identity, ABSENT), new.get(identity, ABSENT), (*at, keys))
        before = [dict(node.items[identity][0].pairs) for identity in old if identity in new]
        after = [dict(node.items[identity][0].pairs) for identity in new if identity in old]
        self._moved(before, after, at)

    def _moved(self, before: list[Any], after: list[Any], at: tuple[Part, ...]) -> None:
        if not same(before, after):
            self._add(at, "moved", before, after)

    def _add(self, at: tuple[Part, ...], kind: Kind, before: Any, after: Any) -> None:
        self._found.append(Difference(format_path(at), kind, before, after))


def _below(node: _Node, parts: tuple[Part, ...]) -> _Node | None:
    """The part of a set at `parts`; None where it ends above or has nothing there."""
    for part in parts:
        child: _Node | None = None
        match part:
            case str():
                child = node.fields.get(part)
            case Keys(pairs):
                known = node.items.get(_identity(tuple(sorted(pairs))))
                child = known[1] if known else None
        if child is None:
            return None
        node = child
    return node


def _owns(node: _Node, parts: tuple[Part, ...]) -> bool:
    """Whether the set has the place itself, something below it, or a whole value that holds it."""
    for part in parts:
        if node.leaf:
            return True
        child: _Node | None = None
        match part:
            case str():
                child = node.fields.get(part)
            case Keys(pairs):
                known = node.items.get(_identity(tuple(sorted(pairs))))
                child = known[1] if known else None
            case Member(value):
                return _identity(value) in node.values
            case int():
                return False
        if child is None:
            return False
        node = child
    return True
