"""What a wish declares against what is live, without a server: for files and tests.

In a cluster the server's own answer to an apply decides (`fields.changes`); it knows the schema, the defaults and the
owners. Without it only the declared fields are compared, by rules that hold for all kinds: whatever else is live was
added by a default, a controller or another manager, and a declared value that says nothing is the same as none.
"""

import base64
import json
import re
from fractions import Fraction
from typing import Any, Final

from trimtab.diff import fields
from trimtab.diff.compare import WELL_KNOWN_KEYS, Difference, compare, keyed, same
from trimtab.diff.mask import LAST_APPLIED
from trimtab.manifests.pointers import ABSENT, Keys, Part, format_path, get, parse_path
from trimtab.manifests.refs import Body

_QUANTITY: Final = re.compile(
    r"([+-]?[0-9]{1,30}(?:\.[0-9]{0,30})?)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?", re.ASCII
)
_SCALES: Final = {
    **{
        unit: Fraction(10) ** (3 * power)
        for unit, power in zip("numkMGTPE", (-3, -2, -1, 1, 2, 3, 4, 5, 6), strict=True)
    },
    **{f"{unit}i": Fraction(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}
_OF_QUANTITIES: Final = frozenset({"limits", "requests", "capacity", "hard", "default", "defaultRequest", "overhead"})
"""Fields whose values are quantities, which the server writes in a form of its own."""
OWNER_LABELS: Final = tuple(
    f"{prefix}/{name}"
    for prefix in ("kustomize.toolkit.fluxcd.io", "apply.trimtab.dev")
    for name in ("name", "namespace")
)
_OF_THE_SERVER: Final = frozenset(
    {
        *(("metadata", name) for name in ("creationTimestamp", "generation", "resourceVersion", "selfLink", "uid")),
        ("metadata", "managedFields"),
        ("metadata", "annotations", LAST_APPLIED),
    }
)


def declared_changes(live: Body | None, wished: Body | None, *, manager: str = "") -> list[Difference]:
    """What `wished` declares and `live` does not have so. An object that nobody wishes has nothing declared.

    With `manager`, also what it applied to `live` before and `wished` declares no more, which an apply would remove.
    """
    if wished is None:
        return []
    wished = _as_sent(wished)
    if live is None:
        return [Difference("", "added", None, wished)]
    live = _as_sent(live)
    found: list[Difference] = []
    _differ(live, wished, (), found)
    entry = fields.owned_entry(live, manager) if manager else None
    if entry is not None:
        owned = compare(fields.project(live, entry), wished)
        found.extend(change for change in owned if change.kind == "removed" and not _is_key(parse_path(change.path)))
    return found


def left_behind(live: Body, wished: Body, before: Body) -> list[Difference]:
    """What somebody declared `before` and `wished` declares no more, as far as `live` still has it.

    That is what a deployment by the same means would remove. Lists without keys are compared elsewhere.
    """
    found = []
    for change in compare(_as_sent(before), _as_sent(wished)):
        parts = parse_path(change.path)
        if change.kind != "removed" or _silent(change.before) or parts in _OF_THE_SERVER or _is_key(parts):
            continue
        there = get(live, parts)
        if there is not ABSENT and not any(isinstance(part, int) for part in parts):
            found.append(change._replace(before=there))
    return found


def both_ways(one: Body, other: Body) -> list[Difference]:
    """Every difference between two declarations, but for what is only written differently."""
    return [change for change in compare(_as_sent(one), _as_sent(other)) if not _only_written(change)]


def _only_written(change: Difference) -> bool:
    parts = parse_path(change.path)
    if change.kind == "changed":
        return _equal_quantities(change.before, change.after, parts)
    value = change.after if change.kind == "added" else change.before
    return _is_key(parts) or value in (None, "", {}, [])


def _is_key(parts: tuple[Part, ...]) -> bool:
    """Whether this is what an item of a list is known by: the server fills it in where it is left out."""
    return len(parts) > 1 and isinstance(parts[-2], Keys) and parts[-1] in dict(parts[-2].pairs)


def last_applied(live: Body) -> Body | None:
    """What `kubectl apply` noted on the object that it was given; None where there is no such note."""
    metadata = live.get("metadata")
    notes = metadata.get("annotations") if isinstance(metadata, dict) else None
    text = notes.get(LAST_APPLIED) if isinstance(notes, dict) else None
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def with_owner(wished: Body, live: Body) -> Body:
    """`wished` with the labels that say whose `live` is: a file does not declare them, and the owner stays."""
    labels = (live.get("metadata") or {}).get("labels")
    marks = {name: labels[name] for name in OWNER_LABELS if name in labels} if isinstance(labels, dict) else {}
    if not marks:
        return wished
    metadata = wished.get("metadata") or {}
    return {**wished, "metadata": {**metadata, "labels": {**marks, **(metadata.get("labels") or {})}}}


def _as_sent(body: Body) -> Body:
    """`body` as an apply would carry it: no status, and `stringData`, which nobody can read back, as `data`."""
    sent = {name: value for name, value in body.items() if name != "status"}
    texts, data = sent.get("stringData"), sent.get("data") or {}
    if sent.get("kind") == "Secret" and isinstance(texts, dict) and isinstance(data, dict):
        del sent["stringData"]
        encoded = {name: base64.b64encode(str(text).encode()).decode() for name, text in texts.items()}
        sent["data"] = {**data, **encoded}
    return sent


def _differ(live: Any, wished: Any, at: tuple[Part, ...], found: list[Difference]) -> None:
    if isinstance(wished, dict) and isinstance(live, dict):
        for name, value in wished.items():
            if name in live:
                _differ(live[name], value, (*at, name), found)
            elif not _silent(value):
                found.append(Difference(format_path((*at, name)), "added", None, value))
    elif isinstance(wished, list) and isinstance(live, list):
        _differ_in_lists(live, wished, at, found)
    elif not (_silent(wished) and _silent(live)) and not _equal_quantities(live, wished, at):
        found.extend(compare(live, wished, at=at))


def _differ_in_lists(live: list[Any], wished: list[Any], at: tuple[Part, ...], found: list[Difference]) -> None:
    """Items of a keyed list may have neighbours of others; a list without keys belongs to whoever declares it."""
    by_keys = keyed(live, wished, at, WELL_KNOWN_KEYS)
    if by_keys is not None:
        there, wanted = by_keys
        for keys, item in wanted.items():
            if keys in there:
                _differ(there[keys], item, (*at, keys), found)
            else:
                found.append(Difference(format_path((*at, keys)), "added", None, item))
    elif len(live) == len(wished):
        for index, (there_item, item) in enumerate(zip(live, wished, strict=True)):
            _differ(there_item, item, (*at, index), found)
    else:
        found.extend(compare(live, wished, at=at))


def _silent(value: Any) -> bool:
    """Whether a declared value is what the server leaves out where it is declared."""
    if isinstance(value, dict):
        return all(map(_silent, value.values()))
    return value is None or value == [] or value == "" or same(value, False) or same(value, 0)


def _equal_quantities(live: Any, wished: Any, at: tuple[Part, ...]) -> bool:
    if len(at) < 2 or at[-2] not in _OF_QUANTITIES:
        return False
    one, other = quantity(live), quantity(wished)
    return one is not None and one == other


def quantity(value: Any) -> Fraction | None:
    """The number that `value` is a quantity of; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    matched = _QUANTITY.fullmatch(str(value))
    if matched is None:
        return None
    number, unit = Fraction(matched[1]), matched[2] or ""
    if unit[:1] in ("e", "E") and unit[1:] not in ("", "i"):
        return number * Fraction(10) ** int(unit[1:])
    return number * _SCALES.get(unit, Fraction(1))
