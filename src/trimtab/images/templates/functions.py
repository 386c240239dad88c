"""The functions of templates: Go's own, and those of sprig that messages are made with. None looks outside.

Each gets its values checked for number and kind by the way it is written: what does not fit raises ValueError.
"""

import itertools
import math
import posixpath
from collections.abc import Callable, Mapping
from typing import Any, Final

from trimtab.images.templates.formats import quoted, sprintf
from trimtab.images.templates.values import LONGEST, Record, is_true, kind_of, show

Call = Callable[..., Any]
_LONGEST_LIST: Final = 10_000
_DEEPEST: Final = 3


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"wants a text, not {kind_of(value)}")
    return value


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"wants a number, not {kind_of(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("wants a number that is not too large")
    return int(value)


def _list(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list) or isinstance(value, Record):
        raise ValueError(f"wants a list, not {kind_of(value)}")
    return tuple(value)


def _map(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"wants a map, not {kind_of(value)}")
    return value


def _alike(one: Any, other: Any) -> None:
    if kind_of(one) != kind_of(other) or isinstance(one, Mapping | list):
        raise ValueError(f"cannot compare {kind_of(one)} with {kind_of(other)}")


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise ValueError("wants something to compare with")
    for other in others:
        if first is not None and other is not None:
            _alike(first, other)
        if first == other:
            return True
    return False


def _lt(one: Any, other: Any) -> bool:
    _alike(one, other)
    if not isinstance(one, str | int | float) or isinstance(one, bool):
        raise ValueError(f"cannot order {kind_of(one)}")
    return bool(one < other)


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())  # as in Go, which counts bytes
    return len(value) if isinstance(value, Mapping) else len(_list(value))


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            empty: Any = "" if all(isinstance(part, str) for part in value.values()) else ()
            value = value.get(key, empty)
            continue
        at, items = _number(key), _list(value)
        if not 0 <= at < len(items):
            raise ValueError(f"there is no item {at}: there are {len(items)}")
        value = items[at]
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    numbers = [_number(bound) for bound in bounds]
    content = value.encode() if isinstance(value, str) else _list(value)
    start, end = (numbers[0] if numbers else 0), (numbers[1] if len(numbers) > 1 else len(content))
    if len(numbers) > 2 or not 0 <= start <= end <= len(content):
        raise ValueError(f"{numbers} are no bounds in {len(content)}")
    part = content[start:end]
    return part.decode(errors="replace") if isinstance(part, bytes) else part


def _print(*values: Any) -> str:
    """As Go's Print: a blank between two values of which none is a text."""
    parts = [show(values[0])] if values else []
    for before, value in itertools.pairwise(values):
        if not isinstance(before, str) and not isinstance(value, str):
            parts.append(" ")
        parts.append(show(value))
    return "".join(parts)


def _trunc(count: Any, text: Any) -> str:
    number, word = _number(count), _text(text)
    return word[number:] if number < 0 else word[:number]


def _repeat(count: Any, text: Any) -> str:
    number, word = _number(count), _text(text)
    if number < 0 or number * len(word) > _LONGEST_LIST:
        raise ValueError(f"makes at most {_LONGEST_LIST:,} characters")
    return word * number


def _indent(spaces: Any, text: Any) -> str:
    number = _number(spaces)
    if not 0 <= number <= 100:
        raise ValueError("indents by 0 to 100")
    return " " * number + _text(text).replace("\n", "\n" + " " * number)


def _join(separator: Any, items: Any) -> str:
    values = items if isinstance(items, tuple | list) and not isinstance(items, Record) else (items,)
    between, parts, room = _text(separator), list[str](), LONGEST
    for value in values:
        if value is not None:
            parts.append(show(value))
            room -= len(parts[-1]) + (len(between) if len(parts) > 1 else 0)
            if room < 0:  # before it is made
                raise ValueError(f"makes more than {LONGEST:,} characters")
    return between.join(parts)


def _replace(old: Any, new: Any, text: Any) -> str:
    before, after, word = _text(old), _text(new), _text(text)
    if len(after) * (word.count(before) + 1) > 10 * _LONGEST_LIST:
        raise ValueError("makes too long a text")
    return word.replace(before, after)


def _default(otherwise: Any, given: Any = None) -> Any:
    return given if is_true(given) else otherwise


def _ternary(yes: Any, no: Any, condition: Any) -> Any:
    if not isinstance(condition, bool):
        raise ValueError(f"wants true or false, not {kind_of(condition)}")
    return yes if condition else no


def _depth(value: Any) -> int:
    if isinstance(value, Record) or not isinstance(value, Mapping | tuple | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, Mapping) else value), default=0)


def _made(*values: Any) -> tuple[Any, ...]:
    """A list. Lists in lists grow beyond all bounds when they are put into each other often enough."""
    if _depth(values) > _DEEPEST:
        raise ValueError(f"lists are nested more than {_DEEPEST} deep")
    return values


def _split(separator: Any, text: Any) -> tuple[str, ...]:
    return tuple(_text(text).split(_text(separator)) if _text(separator) else _text(text))


def _dict(*pairs: Any) -> dict[str, Any]:
    _made(*pairs)
    return {show(key): pairs[at * 2 + 1] if at * 2 + 1 < len(pairs) else "" for at, key in enumerate(pairs[::2])}


def _substr(start: Any, end: Any, text: Any) -> str:
    first, last, word = _number(start), _number(end), _text(text)
    return word[max(first, 0) :] if last < 0 or last > len(word) else word[max(first, 0) : last]


def _abbrev(width: Any, text: Any) -> str:
    number, word = _number(width), _text(text)
    return word if number < 4 or len(word) <= number else word[: number - 3] + "..."


FUNCTIONS: Final[Mapping[str, Call]] = {
    # Go's own; `and` and `or`, which need not look at all they get, are in `execute`
    "not": lambda value: not is_true(value),
    "eq": _eq,
    "ne": lambda one, other: not _eq(one, other),
    "lt": _lt,
    "le": lambda one, other: _lt(one, other) or one == other,
    "gt": lambda one, other: _lt(other, one),
    "ge": lambda one, other: _lt(other, one) or one == other,
    "len": _len,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": lambda *values: " ".join(show(value) for value in values) + "\n",
    "printf": lambda form, *values: sprintf(_text(form), values),
    # sprig's
    "abbrev": _abbrev,
    "add": lambda *values: sum(_number(value) for value in values),
    "base": lambda path: posixpath.basename(_text(path).rstrip("/")),
    "cat": lambda *values: " ".join(show(value) for value in values if value is not None),
    "coalesce": lambda *values: next((value for value in values if is_true(value)), None),
    "contains": lambda part, text: _text(part) in _text(text),
    "default": _default,
    "dict": _dict,
    "dir": lambda path: posixpath.dirname(_text(path)) or ".",
    "empty": lambda value: not is_true(value),
    "ext": lambda path: posixpath.splitext(_text(path))[1],
    "first": lambda items: next(iter(_list(items)), None),
    "get": lambda table, key: _map(table).get(key, ""),
    "has": lambda item, items: item in _list(items),
    "hasKey": lambda table, key: key in _map(table),
    "hasPrefix": lambda part, text: _text(text).startswith(_text(part)),
    "hasSuffix": lambda part, text: _text(text).endswith(_text(part)),
    "indent": _indent,
    "int": lambda value: _number(float(value) if isinstance(value, str) and value.isdecimal() else value),
    "join": _join,
    "keys": lambda table: tuple(sorted(_map(table), key=show)),
    "last": lambda items: next(reversed(_list(items)), None),
    "list": _made,
    "lower": lambda text: _text(text).lower(),
    "nindent": lambda spaces, text: "\n" + _indent(spaces, text),
    "nospace": lambda text: "".join(_text(text).split()),
    "plural": lambda one, many, count: one if _number(count) == 1 else many,
    "quote": lambda *values: " ".join(quoted(show(value)) for value in values if value is not None),
    "repeat": _repeat,
    "replace": _replace,
    "rest": lambda items: _list(items)[1:],
    "sortAlpha": lambda items: tuple(sorted(show(item) for item in _list(items))),
    "splitList": _split,
    "squote": lambda *values: " ".join(f"'{show(value)}'" for value in values if value is not None),
    "sub": lambda one, other: _number(one) - _number(other),
    "substr": _substr,
    "ternary": _ternary,
    "title": lambda text: " ".join(word[:1].upper() + word[1:] for word in _text(text).split(" ")),
    "toString": show,
    "trim": lambda text: _text(text).strip(),
    "trimAll": lambda characters, text: _text(text).strip(_text(characters)),
    "trimPrefix": lambda part, text: _text(text).removeprefix(_text(part)),
    "trimSuffix": lambda part, text: _text(text).removesuffix(_text(part)),
    "trunc": _trunc,
    "uniq": lambda items: tuple(dict.fromkeys(_list(items))),
    "untitle": lambda text: " ".join(word[:1].lower() + word[1:] for word in _text(text).split(" ")),
    "upper": lambda text: _text(text).upper(),
    "values": lambda table: tuple(_map(table).values()),
}
