"""Selectors over labels or annotations: as text (`app=web,tier in (a, b),!legacy`), or as objects have them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Selects: TypeAlias = Callable[[Mapping[str, str]], bool]

_KEY = r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?"
_REQUIREMENT = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<gone>{_KEY})"
    rf"|(?P<key>{_KEY})\s*(?:(?P<sign>==|=|!=)\s*(?P<value>[^,()\s]*)|\s(?P<among>in|notin)\s*\((?P<values>[^()]*)\))?)"
    r"\s*(?:,|$)"
)


def parse(text: str) -> Selects:
    """The selector that `text` says; an empty one selects everything. Raises ValueError."""
    requirements: list[Selects] = []
    at = 0
    while at < len(text):
        found = _REQUIREMENT.match(text, at)
        if found is None:
            raise ValueError(f"{text!r} is not a selector; stuck at character {at + 1}")
        requirements.append(_requirement(found))
        at = found.end()
    return lambda values: all(requirement(values) for requirement in requirements)


def complement(text: str) -> str:
    """A selector of all that `text` does not select; empty, which selects everything, where none can be written.

    Raises ValueError.
    """
    parse(text)
    found = _REQUIREMENT.fullmatch(text)
    if found is None:
        return ""  # of several requirements any may fail: a selector has no "or"
    if found["absent"]:
        return found["gone"]
    key = found["key"]
    if found["among"]:
        return f"{key} {'notin' if found['among'] == 'in' else 'in'} ({found['values']})"
    if found["sign"] is None:
        return f"!{key}"
    return f"{key}{'=' if found['sign'] == '!=' else '!='}{found['value']}"


def _requirement(found: re.Match[str]) -> Selects:
    if found["absent"]:
        name = found["gone"]
        return lambda values: name not in values
    key = found["key"]
    if found["among"]:
        wanted = {value.strip() for value in found["values"].split(",")}
        if found["among"] == "in":
            return lambda values: values.get(key) in wanted
        return lambda values: values.get(key) not in wanted
    if found["sign"] is None:
        return lambda values: key in values
    value = found["value"]
    if found["sign"] == "!=":
        return lambda values: values.get(key) != value
    return lambda values: values.get(key) == value


def selected(selector: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    """Whether a LabelSelector, as objects have it, selects `labels`. What it says wrongly selects nothing."""
    wanted = selector.get("matchLabels")
    if isinstance(wanted, dict) and any(labels.get(name) != value for name, value in wanted.items()):
        return False
    expressions = selector.get("matchExpressions")
    return all(_holds(one, labels) for one in expressions) if isinstance(expressions, list) else True


def _holds(expression: Any, labels: Mapping[str, Any]) -> bool:
    if not isinstance(expression, dict):
        return False
    key, values = str(expression.get("key")), expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False
