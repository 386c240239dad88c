"""What a plain YAML scalar means: the rules of go-yaml, which decide for kubectl (v2) and for kustomize (v3).

The result is a JSON value as the API server would hold it after the same detour through Go: an integral float is an
integer, an integer beyond 64 bits is a float, and a timestamp (v3) is its RFC 3339 text. PyYAML's own rules differ
(`12:30:45` is a sexagesimal number there, `1e3` a string, `2024-01-01` a date), and a scalar read differently is a
silently different deployment.
"""

import base64
import binascii
import calendar
import re
import struct
from decimal import Decimal
from typing import Final, Literal, TypeAlias

Dialect: TypeAlias = Literal["kustomize", "kubernetes"]
"""Whose rules: `kustomize` is go-yaml v3, for the files of an app; `kubernetes` is v2, for every other stream."""

Scalar: TypeAlias = str | int | float | bool | None

_INT64: Final = range(-(1 << 63), 1 << 63)
_UINT64_END: Final = 1 << 64
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DOT_FLOAT = re.compile(r"\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?")
_BASE_0 = re.compile(
    r"([-+]?)(?:0[xX](?P<x>[0-9a-fA-F]+)|0[bB](?P<b>[01]+)|0[oO]?(?P<o>[0-7]+)|(?P<d>0|[1-9][0-9]*))", re.ASCII
)
_RADIX = {"x": 16, "b": 2, "o": 8}
_WIDEST_DECIMAL: Final = 20
"""Digits of 2^64 - 1: longer ones are no integers to go-yaml, and need not be handed to int()."""

_SPELLED: Final[dict[str, Scalar]] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_SPELLED_V2: Final[dict[str, Scalar]] = {
    **_SPELLED,
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF"), False),
}
HINTS: Final = frozenset("0123456789+-.yYnNtTfFoO~")
"""First characters of plain scalars that may be something else than a string; so may the empty one."""


class ScalarError(ValueError):
    """A scalar that has no JSON value, or not the one its tag claims."""


def resolve(text: str, dialect: Dialect) -> Scalar:
    """The value of a plain, untagged scalar. Raises ScalarError for NaN and the infinities."""
    if text and text[0] not in HINTS:
        return text
    spelled = _SPELLED if dialect == "kustomize" else _SPELLED_V2
    if text in spelled:
        value = spelled[text]
        if type(value) is float:
            raise ScalarError(f"{text} has no value in JSON; quote it if a string is meant")
        return value
    first = text[0]
    if first == ".":
        return _float(text) if _DOT_FLOAT.fullmatch(text) else text
    if first in "+-0123456789":
        return _number(text, dialect)
    return text


def resolve_tagged(text: str, tag: str, dialect: Dialect, *, plain: bool) -> Scalar:
    """The value of a scalar with an explicit tag (short form). Raises ScalarError where text and tag disagree."""
    if tag == "!!str":
        return text
    if tag == "!!binary":
        return _binary(text)
    value = resolve(text, dialect)
    match value:
        case bool():
            actual = "!!bool"
        case int() | float():
            actual = "!!float" if _integer(text.replace("_", ""), dialect) is None else "!!int"
        case None:
            actual = "!!null"
        case _:
            actual = "!!str"
    if tag == actual or (tag == "!!float" and actual == "!!int"):
        return value
    shown = "plain scalar" if plain else "quoted scalar"
    raise ScalarError(f"a {shown} that reads as {actual} cannot be tagged {tag}")


def resolve_key(text: str, dialect: Dialect) -> str:
    """The JSON key for a plain scalar in the place of a key. Raises ScalarError where there is none.

    kustomize refuses keys that are not strings; kubectl writes booleans and numbers out (sigs.k8s.io/yaml), so `on:`
    becomes the key `true`.
    """
    if text and text[0] not in HINTS:
        return text
    value = resolve(text, dialect)
    if type(value) is str:
        if value != text:
            raise ScalarError(f"the key {text} reads as a timestamp; quote it")
        return text
    if dialect == "kustomize" or value is None:
        shown = "null" if value is None else f"a {_KIND_WORDS[type(value)]}"
        raise ScalarError(f"the key {text or '(empty)'} reads as {shown}, and keys have to be strings; quote it")
    if type(value) is bool:
        return "true" if value else "false"
    number = _integer(text.replace("_", ""), dialect)
    if number is None:
        return _float32_text(float(text.replace("_", "")))
    if number not in _INT64:
        raise ScalarError(f"the key {text} is a number beyond 64 bits; quote it")
    return str(number)


_KIND_WORDS: Final = {bool: "boolean", int: "number", float: "number"}


def _number(text: str, dialect: Dialect) -> Scalar:
    if dialect == "kustomize":
        stamp = _timestamp(text)
        if stamp is not None:
            return stamp
    bare = text.replace("_", "")
    number = _integer(bare, dialect)
    if number is not None:
        return number if number in _INT64 else float(number)
    if _FLOAT.fullmatch(bare):
        value = _float(bare)
        return text if type(value) is str else value
    return text


def _integer(bare: str, dialect: Dialect) -> int | None:
    """What strconv.ParseInt and ParseUint make of it with base 0, and go-yaml's own prefixes after that."""
    if match := _BASE_0.fullmatch(bare):
        sign = match[1]
        group = match.lastgroup
        digits = match[group] if group else ""
        if group == "d" and len(digits) > _WIDEST_DECIMAL:
            return None
        number = int(digits, _RADIX.get(group or "", 10))
        if sign == "-":
            number = -number
        return number if number in _INT64 or (not sign and number < _UINT64_END) else None
    # `0b-1` and `0b+1`: go-yaml cuts the prefix and parses what is left, sign included.
    prefixes = {"0b": 2, "0o": 8} if dialect == "kustomize" else {"0b": 2}
    radix = prefixes.get(bare[:2])
    if radix is None or bare[2:3] not in ("-", "+"):
        return None
    digits = bare[3:]
    if not digits or not digits.isascii() or not digits.isdigit() or int(max(digits)) >= radix:
        return None
    number = int(bare[2:], radix)
    return number if number in _INT64 else None


def _float(text: str) -> Scalar:
    """The float, as an integer where Go's JSON would print it as one; the text where it overflows, as in go-yaml."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return text
    if not value.is_integer() or abs(value) >= 1e21:
        return value
    # Go prints the shortest digits that identify the float and fills up with zeros; int(value) would be exact instead.
    number = int(Decimal(repr(value)))
    return number if number in _INT64 else value


_GO_EXPONENT: Final = 6
"""From this power of ten on, Go's shortest form has an exponent."""


def _float32_text(value: float) -> str:
    """Go's FormatFloat(value, 'g', -1, 32): the shortest digits that identify the value as a float32."""
    try:
        narrow = struct.pack("<f", value)
    except OverflowError:
        raise ScalarError(f"the key {value!r} is a number out of range; quote it") from None
    text = next(text for digits in range(1, 18) if struct.pack("<f", float(text := f"{value:.{digits}e}")) == narrow)
    mantissa, _, exponent = text.partition("e")
    power = int(exponent)
    if power < -4 or power >= _GO_EXPONENT:
        return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{power:+03d}"
    plain = f"{Decimal(text):f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _binary(text: str) -> str:
    try:
        data = base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except binascii.Error as error:
        raise ScalarError(f"!!binary is not base64: {error}") from None
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ScalarError("!!binary holds bytes that are not UTF-8, which JSON cannot carry") from None


_STAMP = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:(?P<sep>[Tt]| +)(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{1,2}):(?P<second>[0-9]{1,2})"
    r"(?:[.,](?P<fraction>[0-9]+))?(?P<zone>Z|[-+][0-9]{2}:[0-9]{2})?)?",
    re.ASCII,
)


def _timestamp(text: str) -> str | None:
    """RFC 3339 as kustomize prints a timestamp, or None where go-yaml's four layouts do not match."""
    match = _STAMP.fullmatch(text)
    if not match:
        return None
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    # calendar wants a year from 1; year 0 is a leap year, as 4 is.
    if not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(year or 4, month)[1]:
        return None
    date = f"{year:04d}-{month:02d}-{day:02d}"
    if match["sep"] is None:
        return f"{date}T00:00:00Z"
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"])
    zone = match["zone"]
    if hour > 23 or minute > 59 or second > 59 or (match["sep"][0] == " ") is not (zone is None):
        return None
    fraction = (match["fraction"] or "")[:9].rstrip("0")
    if zone in (None, "Z", "+00:00", "-00:00"):
        zone = "Z"
    elif int(zone[1:3]) > 24 or int(zone[4:]) > 60:
        return None
    elif int(zone[1:3]) == 24 or int(zone[4:]) == 60:
        raise ScalarError(f"the timestamp {text} has an offset that JSON cannot carry; quote it")
    return f"{date}T{hour:02d}:{minute:02d}:{second:02d}{'.' if fraction else ''}{fraction}{zone}"
