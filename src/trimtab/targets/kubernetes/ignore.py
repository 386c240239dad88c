"""Fields whose drift is left alone (`spec.ignore`): declared for a new object, then left to others.

Once an object exists, such a field is no longer part of what is applied. Server-side apply would take that for a wish
to remove it, as long as we own it: so it leaves our entry in managedFields first, and its value stays.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from trimtab.api.kustomize import IgnoreRule, Selector
from trimtab.base.errors import Terminal
from trimtab.manifests import codec
from trimtab.manifests.pointers import (
    ABSENT,
    Keys,
    Member,
    Part,
    format_pointer,
    get_pointer,
    parse_path,
    parse_pointer,
)
from trimtab.manifests.refs import Body
from trimtab.manifests.selectors import Selects, parse
from trimtab.targets.kubernetes.desired import PREFIX, Desired
from trimtab.targets.kubernetes.takeover import FieldSet, guarded, is_own, without

_IDENTITY = ("/apiVersion", "/kind", "/metadata/name", "/metadata/namespace", "/metadata/labels")


class Rule(NamedTuple):
    """Pointers, and whom they are for."""

    pointers: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...] = ()
    labels: Selects | None = None
    annotations: Selects | None = None

    def holds_for(self, item: Desired) -> bool:
        """Whether `item` is meant."""
        values = (item.gvk.group, item.gvk.version, item.gvk.kind, item.ref.name, item.ref.namespace)
        if not all(pattern.fullmatch(value) for pattern, value in zip(self.patterns, values, strict=False)):
            return False
        if self.labels is None or self.annotations is None:
            return True
        metadata = item.body["metadata"]
        return self.labels(metadata.get("labels") or {}) and self.annotations(metadata.get("annotations") or {})


def compiled(rules: Iterable[IgnoreRule]) -> list[Rule]:
    """The rules of a Kustomization. Raises Terminal, which names the rule and what is wrong with it."""
    return [_compile(f"spec.ignore[{number}]", rule) for number, rule in enumerate(rules)]


def marked(items: Iterable[Desired], rules: Sequence[Rule]) -> list[Desired]:
    """`items`, each with the pointers that hold for it: another set of them is another wish."""
    return [_mark(item, rules) for item in items] if rules else list(items)


def _mark(item: Desired, rules: Sequence[Rule]) -> Desired:
    pointers = {pointer for rule in rules if rule.holds_for(item) for pointer in rule.pointers}
    if not pointers:
        return item
    ignored = tuple(sorted(pointers))
    return item._replace(ignored=ignored, digest=codec.digest([item.digest, ignored]))


def lean(item: Desired) -> bytes:
    """What is sent once the object exists: without the ignored fields, and without maps that they alone had filled."""
    body: Any = item.body
    # from the back, so that the positions of list items in front stay what they are
    for tokens in sorted(map(parse_pointer, item.ignored), key=_by_position, reverse=True):
        body = _dropped(body, tokens)
    return codec.canonical(body)


def settled(item: Desired, live: Body, manager: str) -> bytes:
    """What can be tried without a change to `live`: as `lean`, but with the live value where we still own a field.

    A dry-run without such a field would show how it is removed.
    """
    body, fields = item.body, _own(live, manager)
    for tokens in sorted(map(parse_pointer, item.ignored), key=_by_position, reverse=True):
        steps = _steps(fields, item.body, tokens)
        value = _at(live, steps) if steps else ABSENT
        if value is ABSENT:
            body = _dropped(body, tokens)
        else:
            holder: Any = get_pointer(body, format_pointer(tokens[:-1]))
            holder[int(tokens[-1]) if isinstance(holder, list) else tokens[-1]] = value
    return codec.canonical(body)


def release(body: Body, item: Desired, manager: str) -> list[Body] | None:
    """The JSON patch that takes the ignored fields out of the entry of `manager`; None where it has none of them."""
    left = fields = _own(body, manager)
    for pointer in item.ignored:
        path = _steps(left, item.body, parse_pointer(pointer))
        left = without(left, *path) if path else left
    if left == fields:
        return None
    entries: list[Body] = []
    for entry in body["metadata"]["managedFields"]:
        if not is_own(entry, manager):
            entries.append(entry)
        elif left:
            entries.append({**entry, "fieldsV1": left})
    return guarded(body, entries)


def pointer_to(item: Desired, answer: Body, path: str, manager: str) -> str:
    """The pointer by which the field at a readable `path` can be left to others; empty where none can.

    Inside of a value that is owned as a whole, that is the whole value. `answer` is the server's to an apply of `item`.
    """
    parts = parse_path(path)
    tokens, holder = [], item.body
    for part in parts:
        token = _token(holder, part)
        if not token:
            return ""
        tokens.append(token)
        holder = get_pointer(holder, format_pointer((token,)))
    if not tokens or (len(parts) > 1 and isinstance(parts[-2], Keys) and parts[-1] in dict(parts[-2].pairs)):
        return ""
    own = _own(answer, manager)
    for length in range(len(tokens), 1, -1):
        place = _steps(own, item.body, tuple(tokens[:length]))
        if place and (length == len(tokens) or not _node(own, place)):
            return "" if _is_identity(tuple(tokens[:length])) else format_pointer(tuple(tokens[:length]))
    return ""


def _token(holder: Any, part: Part) -> str:
    """The step of a pointer into `holder` that `part` stands for, or nothing."""
    match part:
        case str() if isinstance(holder, dict) and part in holder:
            return part
        case int() if isinstance(holder, list) and part < len(holder):
            return str(part)
        case Keys(pairs) if isinstance(holder, list):
            wanted = f"k:{codec.encode(dict(pairs)).decode()}"
            return next((str(at) for at, each in enumerate(holder) if _names(wanted, each)), "")
        case Member(value) if isinstance(holder, list) and value in holder:
            return str(holder.index(value))
    return ""


def _node(fields: FieldSet, steps: tuple[str, ...]) -> FieldSet:
    for step in steps:
        fields = fields[step]
    return fields


def _own(body: Body, manager: str) -> FieldSet:
    entries: list[Body] = body["metadata"].get("managedFields") or []
    fields: FieldSet = next((entry.get("fieldsV1") or {} for entry in entries if is_own(entry, manager)), {})
    return fields


def _compile(place: str, rule: IgnoreRule) -> Rule:
    try:
        for pointer in rule.paths:
            tokens = parse_pointer(pointer)
            if _is_identity(tokens):
                raise ValueError(f"{pointer!r} covers what an object is known by")
        target = rule.target or Selector()
        texts = (target.group, target.version, target.kind, target.name, target.namespace)
        patterns = tuple(re.compile(text or ".*") for text in texts)
        labels = parse(target.label_selector) if target.label_selector else None
        annotations = parse(target.annotation_selector) if target.annotation_selector else None
    except (ValueError, re.error) as failure:
        raise Terminal("BuildFailed", f"{place}: {failure}") from None
    if labels is None and annotations is None:
        return Rule(rule.paths, patterns)
    return Rule(rule.paths, patterns, labels or parse(""), annotations or parse(""))


def _is_identity(tokens: tuple[str, ...]) -> bool:
    if tokens[:2] == ("metadata", "labels") and "".join(tokens[2:3]).startswith(PREFIX):
        return True
    return any(parse_pointer(identity)[: len(tokens)] == tokens for identity in _IDENTITY)


def _by_position(tokens: tuple[str, ...]) -> list[tuple[int, str]]:
    return [(int(token), "") if token.isdecimal() else (-1, token) for token in tokens]


def _dropped(value: Any, tokens: tuple[str, ...]) -> Any:
    """`value` without what is at `tokens`; ABSENT where nothing is left of what held it."""
    token, rest = tokens[0], tokens[1:]
    if isinstance(value, dict) and token in value:
        below = _dropped(value[token], rest) if rest else ABSENT
        kept = {name: child for name, child in value.items() if name != token}
        if below is not ABSENT:
            kept[token] = below
        return kept or ABSENT
    if isinstance(value, list) and token.isdecimal() and int(token) < len(value):
        at = int(token)
        below = _dropped(value[at], rest) if rest else ABSENT
        return [*value[:at], *([] if below is ABSENT else [below]), *value[at + 1 :]] or ABSENT
    return value


def _steps(fields: FieldSet, body: Body, tokens: tuple[str, ...]) -> tuple[str, ...]:
    """The place of a pointer in a field set; nothing where the set has no such place."""
    steps: list[str] = []
    for depth, token in enumerate(tokens):
        holder = get_pointer(body, format_pointer(tokens[:depth]))
        step = f"f:{token}"
        if isinstance(holder, list):
            item = get_pointer(holder, format_pointer((token,)))
            step = next((key for key in fields if _names(key, item)), "")
        if step not in fields:
            return ()
        steps.append(step)
        fields = fields[step]
    return tuple(steps)


def _at(value: Any, steps: tuple[str, ...]) -> Any:
    """The live value at a place of a field set, or ABSENT."""
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step.removeprefix("f:"), ABSENT)
        elif isinstance(value, list):
            value = next((item for item in value if _names(step, item)), ABSENT)
        else:
            return ABSENT
    return value


def _names(key: str, item: Any) -> bool:
    """Whether a step of a field set stands for this item of a list. Keys that an item leaves out are defaulted."""
    kind, _, rest = key.partition(":")
    if kind == "v":
        return bool(codec.decode(rest) == item)
    if kind != "k" or not isinstance(item, dict):
        return False
    present = [(name, value) for name, value in codec.decode(rest).items() if name in item]
    return bool(present) and all(item[name] == value for name, value in present)
