"""One value set at a path, by the rules of Helm's `--set`, `--set-string` and `--set-literal`. Pure.

Errors say what is wrong with the path or with the form of the value and never show either: the value may be secret,
and where a comma is not escaped, part of it is read as a path.
"""

import re
from collections.abc import Callable
from typing import Any, Final

MAX_INDEX: Final = 65_536
MAX_LEVELS: Final = 30

_INTEGER = re.compile(r"[+-]?[0-9]+")
_INT64: Final = range(-(1 << 63), 1 << 63)
_WORDS: Final = {"true": True, "false": False, "null": None}


class BadSetting(Exception):
    """It cannot be set. The message shows nothing of the value."""


class _End(Exception):
    """There is nothing more to read."""


def set_value(into: dict[str, Any], text: str) -> None:
    """Set `path=value` in `into`, in place; the value becomes what it looks like. Raises BadSetting."""
    _Setting(text, typed).into(into)


def set_text(into: dict[str, Any], text: str) -> None:
    """Set `path=value` in `into`, in place; the value stays text. Raises BadSetting."""
    _Setting(text, str).into(into)


def set_literal(into: dict[str, Any], text: str) -> None:
    """Set `path=value` in `into`, in place; all after the first `=` is the value. Raises BadSetting."""
    _Literal(text, str).into(into)


def typed(text: str) -> Any:
    """What Helm takes an unquoted value for: a boolean, null, an integer without leading zeros, or text."""
    lowered = text.lower()
    if lowered in _WORDS:
        return _WORDS[lowered]
    if text == "0":
        return 0
    if not text.startswith("0") and _INTEGER.fullmatch(text) and (number := int(text)) in _INT64:
        return number
    return text


class _Setting:
    """A text that is read from the left; what was read is not looked at again."""

    key_ends = "=[,."
    escapes = True

    def __init__(self, text: str, reader: Callable[[str], Any]) -> None:
        self._text = text
        self._at = 0
        self._read = reader

    def into(self, values: dict[str, Any]) -> None:
        try:
            while True:
                self._assign(values, 0)
        except _End:
            return

    def _assign(self, values: dict[str, Any], level: int) -> None:
        """Read one `key=value` and set it; _End when there was nothing or nothing more."""
        key, end = self._until(self.key_ends)
        match end:
            case "":
                if not key:
                    raise _End
                raise BadSetting(_NO_VALUE)
            case "[":
                index = self._index()
                held = _reaching(values.get(key, []), index)
                self._set(values, key, held)
                self._item(held, index, level)
            case "=":
                value, ended = self._value()
                self._set(values, key, value)
                if ended:
                    raise _End
            case ",":
                raise BadSetting(_NO_VALUE)
            case _:
                self._descend(values, key, level)

    def _descend(self, values: dict[str, Any], key: str, level: int) -> None:
        inner = values.get(key, {})
        if not isinstance(inner, dict):
            raise BadSetting("the path leads through a value that is no map")
        try:
            self._below(inner, level)
        finally:
            if inner:
                self._set(values, key, inner)
        if not inner:
            raise BadSetting(_NO_VALUE)

    def _item(self, items: list[Any], index: int, level: int) -> None:
        """Read what follows `[index]` and set it in `items`, which is long enough, in place."""
        key, end = self._until("[.=")
        if key:
            raise BadSetting("something stands between an index and what follows it")
        match end:
            case "":
                raise _End
            case "=":
                items[index], ended = self._value()
                if ended:
                    raise _End
            case "[":
                following = self._index()
                held = items[index]
                items[index] = nested = _reaching([] if held is None else held, following)
                self._item(nested, following, level)
            case _:
                held = items[index]
                items[index] = inner = held if isinstance(held, dict) else {}
                self._below(inner, level)

    def _below(self, inner: dict[str, Any], level: int) -> None:
        if level + 1 > MAX_LEVELS:
            raise BadSetting(f"the path has more than {MAX_LEVELS} levels")
        self._assign(inner, level + 1)

    def _index(self) -> int:
        digits, end = self._until("]")
        if not end or not _INTEGER.fullmatch(digits):
            raise BadSetting("an index is not a number in brackets")
        index = int(digits) if len(digits) < 10 else MAX_INDEX + 1
        if not 0 <= index <= MAX_INDEX:
            raise BadSetting(f"an index is not between 0 and {MAX_INDEX}")
        return index

    def _value(self) -> tuple[Any, bool]:
        """The value, and whether the text ended with it."""
        if self._at == len(self._text):
            return "", True
        if self._text[self._at] == "{":
            self._at += 1
            return self._list(), False
        value, end = self._until(",")
        return self._read(value), not end

    def _list(self) -> list[Any]:
        items: list[Any] = []
        while True:
            item, end = self._until(",}")
            if not end:
                raise BadSetting("a list that starts with { does not end with }")
            items.append(self._read(item))
            if end == "}":
                if self._text.startswith(",", self._at):
                    self._at += 1
                return items

    def _until(self, ends: str) -> tuple[str, str]:
        """The text up to one of `ends`, and which it was: nothing at the end of the text."""
        found: list[str] = []
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character in ends:
                return "".join(found), character
            if character == "\\" and self.escapes:
                if self._at == len(self._text):
                    break
                character = self._text[self._at]
                self._at += 1
            found.append(character)
        return "".join(found), ""

    @staticmethod
    def _set(values: dict[str, Any], key: str, value: Any) -> None:
        if key:
            values[key] = value


class _Literal(_Setting):
    """Without escapes, lists and a second assignment: only the path has a form."""

    key_ends = "=[."
    escapes = False

    def _value(self) -> tuple[Any, bool]:
        value, self._at = self._text[self._at :], len(self._text)
        return value, True


_NO_VALUE: Final = (
    "a key has no value; a comma in a value ends it and starts the next key, so write it as \\, or set `literal: true`"
)


def _reaching(items: Any, index: int) -> list[Any]:
    """`items` if it has that index, else a longer copy: what else refers to the list does not grow with it."""
    if not isinstance(items, list):
        raise BadSetting("the path has an index where there is no list")
    return items if index < len(items) else [*items, *[None] * (index + 1 - len(items))]
