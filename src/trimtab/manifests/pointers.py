"""Places inside an object: RFC 6901 pointers for machines, readable paths for people.

A readable path looks like `spec.template.spec.containers[name=app].image`; items of a keyed list are named by their
keys, members of a set by their value (`metadata.finalizers[="a/b"]`), others by position. It can be read back.
"""

import json
import re
from typing import Any, Final, NamedTuple, TypeAlias

from trimtab.manifests import codec


class Keys(NamedTuple):
    """The item of a keyed list whose fields have these values."""

    pairs: tuple[tuple[str, Any], ...]

    def matches(self, item: Any) -> bool:
        return isinstance(item, dict) and all(key in item and item[key] == value for key, value in self.pairs)


class Member(NamedTuple):
    """The member of a set that is this value."""

    value: Any


Part: TypeAlias = str | int | Keys | Member
"""One step: a field, a position, the item with these keys, the member with this value."""

ABSENT: Final = object()
"""What `get` answers where there is nothing; null is a value."""


def parse_pointer(pointer: str) -> tuple[str, ...]:
    """The tokens of an RFC 6901 pointer. Raises ValueError."""
    if pointer == "":
        return ()
    if not pointer.startswith("/"):
        raise ValueError(f"{pointer!r} is not a JSON pointer: it has to start with /")
    if re.search(r"~(?![01])", pointer):
        raise ValueError(f"{pointer!r} is not a JSON pointer: ~ is written ~0 and / is written ~1")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))


def format_pointer(tokens: tuple[str | int, ...]) -> str:
    """The RFC 6901 pointer of `tokens`."""
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def get_pointer(value: Any, pointer: str) -> Any:
    """The value at an RFC 6901 pointer, or ABSENT. Raises ValueError for what is not a pointer."""
    for token in parse_pointer(pointer):
        if isinstance(value, dict):
            value = value.get(token, ABSENT)
        elif isinstance(value, list) and re.fullmatch(r"0|[1-9][0-9]{0,8}", token):
            value = value[int(token)] if int(token) < len(value) else ABSENT
        else:
            return ABSENT
    return value


def get(value: Any, parts: tuple[Part, ...]) -> Any:
    """The value at `parts`, or ABSENT."""
    for part in parts:
        match part, value:
            case str(), dict():
                value = value.get(part, ABSENT)
            case int(), list() if -len(value) <= part < len(value):
                value = value[part]
            case Keys(), list():
                value = next((item for item in value if part.matches(item)), ABSENT)
            case Member(wanted), list():
                value = wanted if wanted in value else ABSENT
            case _:
                return ABSENT
    return value


_FIELD = re.compile(r"[A-Za-z_$@][A-Za-z0-9_$@-]*")
_WORD = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.:-]*")
_INDEX = re.compile(r"-?[0-9]+(?=\])")
_NOT_TEXT: Final = frozenset({"true", "false", "null"})
_scan_json = json.JSONDecoder().raw_decode


def format_path(parts: tuple[Part, ...]) -> str:
    """`parts` for people; `parse_path` reads it back."""
    text: list[str] = []
    for part in parts:
        match part:
            case str() if _FIELD.fullmatch(part):
                text.append(f".{part}" if text else part)
            case str():
                text.append(f"[{_json(part)}]")
            case int():
                text.append(f"[{part}]")
            case Keys(pairs):
                text.append("[" + ",".join(f"{_name(key)}={_value(value)}" for key, value in pairs) + "]")
            case Member(value):
                text.append(f"[={_value(value)}]")
    return "".join(text)


def parse_path(path: str) -> tuple[Part, ...]:
    """The parts of a readable path. Raises ValueError."""
    parts: list[Part] = []
    at = 0
    try:
        while at < len(path):
            if path[at] == "[":
                part, at = _bracket(path, at + 1)
            elif (path[at] == ".") == bool(parts) and (field := _FIELD.match(path, at + bool(parts))):
                part, at = field[0], field.end()
            else:
                raise ValueError
            parts.append(part)
    except (ValueError, IndexError):
        raise ValueError(f"{path!r} is not a path; stuck at character {at + 1}") from None
    return tuple(parts)


def _bracket(path: str, at: int) -> tuple[Part, int]:
    """What stands between brackets, and where the text goes on behind them."""
    if index := _INDEX.match(path, at):
        return int(index[0]), index.end() + 1
    pairs: list[tuple[str, Any]] = []
    while True:
        key = ""
        if path[at] == '"':
            key, at = _scan_json(path, at)
            if path[at] == "]" and not pairs:
                return key, at + 1
        elif field := _FIELD.match(path, at):
            key, at = field[0], field.end()
        if path[at] != "=":
            raise ValueError
        value, at = _scan_value(path, at + 1)
        pairs.append((key, value))
        if path[at] == "]":
            return (Member(value) if len(pairs) == 1 and not key else Keys(tuple(pairs))), at + 1
        if path[at] != ",":
            raise ValueError
        at += 1


def _scan_value(path: str, at: int) -> tuple[Any, int]:
    word = _WORD.match(path, at)
    if word and word[0] not in _NOT_TEXT:
        return word[0], word.end()
    value, end = _scan_json(path, at)
    return value, end


def _json(value: Any) -> str:
    return codec.canonical(value).decode()


def _name(key: str) -> str:
    return key if _FIELD.fullmatch(key) else _json(key)


def _value(value: Any) -> str:
    if isinstance(value, str) and value not in _NOT_TEXT and _WORD.fullmatch(value):
        return value
    return _json(value)
