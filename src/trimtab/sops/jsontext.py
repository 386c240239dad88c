"""JSON, and binary files, which sops keeps as one value in JSON."""

import json
import math
from typing import Any, Final

from trimtab.sops.cipher import Comment, Moment, Plain
from trimtab.sops.errors import Damaged
from trimtab.sops.leaves import decimal

_INT64: Final = range(-(1 << 63), 1 << 63)
_WIDEST: Final = 400
"""Digits of a number."""
_PLAIN_FLOATS: Final = (1e-6, 1e21)
"""Between these, Go writes no exponent."""


def parse(data: bytes) -> dict[str, Any]:
    """The object in `data`, in its order. Raises Damaged."""
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_once, parse_int=_integer, parse_float=float, parse_constant=_refuse
        )
    except (ValueError, RecursionError):
        raise Damaged("it is not JSON, or too deep") from None
    if not isinstance(value, dict):
        raise Damaged("it holds no object")
    return value


def write(tree: Any) -> bytes:
    """`tree` as sops writes it. Raises Damaged for text that JSON cannot carry."""
    try:
        return ("".join(_written(tree, 0)) + "\n").encode()
    except UnicodeEncodeError:
        raise Damaged("a value in it is not UTF-8, which JSON cannot carry") from None


def _written(value: Any, depth: int) -> list[str]:
    inner, outer = "\n" + "\t" * (depth + 1), "\n" + "\t" * depth
    parts: list[str] = []
    if isinstance(value, dict) and value:
        for at, (key, item) in enumerate(value.items()):
            parts += [f",{inner}" if at else "{" + inner, scalar(key), ": ", *_written(item, depth + 1)]
        return [*parts, outer, "}"]
    if isinstance(value, list) and value:
        for at, item in enumerate(value):
            parts += [f",{inner}" if at else "[" + inner, *_written(item, depth + 1)]
        return [*parts, outer, "]"]
    return ["{}" if value == {} else "[]" if value == [] else scalar(value)]


def scalar(value: Plain) -> str:
    """One value as Go's encoder writes it: what could end a script element is escaped."""
    match value:
        case float():
            return _float(value)
        case Moment() | Comment():
            value = value.text
    text = json.dumps(value, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _float(number: float) -> str:
    if not math.isfinite(number):
        raise Damaged("a number in it is infinite, which JSON cannot carry")
    if number == 0 or _PLAIN_FLOATS[0] <= abs(number) < _PLAIN_FLOATS[1]:
        return decimal(number)
    mantissa, _, exponent = f"{number!r}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}" if exponent else mantissa


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _integer(digits: str) -> int | float:
    if len(digits) > _WIDEST:
        raise ValueError("too long a number")
    number = int(digits)
    return number if number in _INT64 else float(number)


def _refuse(_: str) -> Any:
    raise ValueError("not JSON")
