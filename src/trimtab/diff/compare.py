"""What differs between two values, as a list of differences with readable paths."""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from trimtab.manifests import codec
from trimtab.manifests.pointers import Keys, Part, format_path

Kind: TypeAlias = Literal["added", "removed", "changed", "moved"]
SchemaKeys: TypeAlias = Mapping[str, tuple[tuple[str, ...], ...]]
"""Field name of a list → the sets of keys by which its items may be told apart, best first."""


class Difference(NamedTuple):
    """One place where two values differ. What was added has no `before`, what was removed no `after` (None)."""

    path: str
    kind: Kind
    before: Any
    after: Any

    def __str__(self) -> str:
        match self.kind:
            case "added":
                return f"{self.path}: added {_short(self.after)}"
            case "removed":
                return f"{self.path}: removed {_short(self.before)}"
            case _:
                return f"{self.path}: {_short(self.before)} → {_short(self.after)}"


def _short(value: Any) -> str:
    """`value` in one line, cut where it is long."""
    text = codec.encode(value).decode()
    return text if len(text) <= _LINE else text[: _LINE - 1] + "…"


_LINE: Final = 120


# What the API's own types declare (x-kubernetes-list-map-keys and patch merge keys), by field name, since a body alone
# does not carry its schema. A list whose items do not all have the keys, or have equal ones, is compared by position.
WELL_KNOWN_KEYS: Final[SchemaKeys] = {
    "addresses": (("type", "address"),),
    "conditions": (("type",),),
    "configMaps": (("name",),),
    "containers": (("name",),),
    "containerStatuses": (("name",),),
    "entries": (("id",),),
    "env": (("name",),),
    "ephemeralContainers": (("name",),),
    "hostAliases": (("ip",),),
    "imagePullSecrets": (("name",),),
    "images": (("name",),),
    "initContainers": (("name",),),
    "initContainerStatuses": (("name",),),
    "matchConditions": (("name",),),
    "ownerReferences": (("uid",),),
    "paths": (("path", "pathType"),),
    "podIPs": (("ip",),),
    "ports": (("containerPort", "protocol"), ("port", "protocol"), ("name",)),
    "readinessGates": (("conditionType",),),
    "resourceClaims": (("name",),),
    "schedulingGates": (("name",),),
    "secrets": (("name",),),
    "taints": (("key", "effect"),),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "validations": (("expression",),),
    "versions": (("name",),),
    "volumeDevices": (("devicePath",),),
    "volumeMounts": (("mountPath",),),
    "volumes": (("name",),),
    "webhooks": (("name",),),
}
_DEFAULTS: Final = {"protocol": "TCP"}


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: True is not 1, and 1 is 1.0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def compare(
    before: Any, after: Any, *, schema_keys: SchemaKeys = WELL_KNOWN_KEYS, at: tuple[Part, ...] = ()
) -> list[Difference]:
    """The differences from `before` to `after`, in the order of the fields. Neither is changed.

    Items of keyed lists are matched by their keys, and their order makes no difference; other lists are compared in
    order. `at` is where both values stand in their object.
    """
    found: list[Difference] = []
    _compare(before, after, at, schema_keys, found)
    return found


def keyed(
    before: list[Any], after: list[Any], at: tuple[Part, ...], schema_keys: SchemaKeys
) -> tuple[dict[Keys, Any], dict[Keys, Any]] | None:
    """Both lists by the keys of their items, or None where these do not tell the items apart."""
    field = next((part for part in reversed(at) if isinstance(part, str)), "")
    if not at or at[-1] != field:
        return None
    for names in schema_keys.get(field, ()):
        old, new = _by_keys(before, names), _by_keys(after, names)
        if old is not None and new is not None:
            return old, new
    return None


def _compare(before: Any, after: Any, at: tuple[Part, ...], schema_keys: SchemaKeys, found: list[Difference]) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            if name not in after:
                found.append(Difference(format_path((*at, name)), "removed", value, None))
            elif value is not after[name]:
                _compare(value, after[name], (*at, name), schema_keys, found)
        found.extend(
            Difference(format_path((*at, name)), "added", None, value)
            for name, value in after.items()
            if name not in before
        )
    elif isinstance(before, list) and isinstance(after, list):
        pairs = keyed(before, after, at, schema_keys)
        if pairs is None:
            _compare_in_order(before, after, at, schema_keys, found)
            return
        old, new = pairs
        for keys, value in old.items():
            if keys not in new:
                found.append(Difference(format_path((*at, keys)), "removed", value, None))
            else:
                _compare(value, new[keys], (*at, keys), schema_keys, found)
        found.extend(
            Difference(format_path((*at, keys)), "added", None, value) for keys, value in new.items() if keys not in old
        )
    elif not same(before, after):
        found.append(Difference(format_path(at), "changed", before, after))


def _by_keys(items: list[Any], names: tuple[str, ...]) -> dict[Keys, Any] | None:
    found: dict[Keys, Any] = {}
    for item in items:
        if not isinstance(item, dict) or names[0] not in item:
            return None
        values = [(name, item.get(name, _DEFAULTS.get(name))) for name in names]
        if any(isinstance(value, dict | list) for _, value in values):
            return None
        keys = Keys(tuple((name, value) for name, value in values if value is not None))
        if keys in found:
            return None
        found[keys] = item
    return found


def _compare_in_order(
    before: list[Any], after: list[Any], at: tuple[Part, ...], schema_keys: SchemaKeys, found: list[Difference]
) -> None:
    """By position, after what is equal at both ends was set aside: one insertion is one difference."""
    shorter = min(len(before), len(after))
    head = 0
    while head < shorter and same(before[head], after[head]):
        head += 1
    tail = 0
    while tail < shorter - head and same(before[-1 - tail], after[-1 - tail]):
        tail += 1
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    for index, (value, wanted) in enumerate(zip(old, new, strict=False), start=head):
        _compare(value, wanted, (*at, index), schema_keys, found)
    paired = min(len(old), len(new))
    for index, value in enumerate(old[paired:], start=head + paired):
        found.append(Difference(format_path((*at, index)), "removed", value, None))
    for index, value in enumerate(new[paired:], start=head + paired):
        found.append(Difference(format_path((*at, index)), "added", None, value))
