"""Markers: comments such as `# {"$imagepolicy": "shop:app:tag"}`, and the value that each of them marks.

As in Flux, a marker stands behind a value on its line, or alone on the line above an item of a list, or above a value
on a line of its own. Beyond Flux, one behind the key of a mapping (`image: # {…}`), or above a mapping in a list, marks
the image in it, and no marker is passed over silently: one that marks nothing says why.
"""

import json
import re
from bisect import bisect_right
from enum import StrEnum
from typing import Final, NamedTuple

from trimtab.images.nodes import Alias, Mapping, Scalar, Sequence, Stream
from trimtab.manifests.refs import Key

TOKEN: Final = "$imagepolicy"  # noqa: S105 - what a marker is told by
_LONGEST: Final = 1024
_FORM: Final = f'{{"{TOKEN}": "NAMESPACE:POLICY"}}'
_BREAKS: Final = "\n\r\x85\u2028\u2029"
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_COMMENT_LINE = re.compile("[ \t]*#[^\n\r\x85\u2028\u2029]*(?:\r\n|[\n\r\x85\u2028\u2029])")
_TO_ITEM = re.compile(r"[ \t]*(?:-[ \t]+)?")
_BEHIND_VALUE = re.compile(r"[ \t]*(?:,[ \t]*)?")
_BEHIND_KEY = re.compile(r"[ \t]*:(?:[ \t]+[&!]\S*)*[ \t]*")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?")


class Part(StrEnum):
    """What of an image a marker asks for."""

    WHOLE = ""
    NAME = "name"
    TAG = "tag"
    DIGEST = "digest"


class Mark(NamedTuple):
    """A marker. `target` is what it marks: one value, or the mapping that describes an image; else see `trouble`."""

    line: int
    policy: Key | None
    part: Part
    target: Scalar | Mapping | None
    trouble: str = ""

    @property
    def setter(self) -> str:
        """What the marker says, as it is told in commits."""
        return ":".join(part for part in (*(self.policy or ()), self.part) if part)


def find_marks(text: str, stream: Stream) -> list[Mark]:
    """All markers in `text`, from top to bottom."""
    return _Finder(text, stream).marks()


class _Finder:
    def __init__(self, text: str, stream: Stream) -> None:
        self._text = text
        self._tokens = stream.tokens
        self._begins = [token.begin for token in stream.tokens]
        self._ends: dict[int, int] = {}

    def marks(self) -> list[Mark]:
        """One for each line that has one. Lines are counted from marker to marker, so that it is done once."""
        text, found = self._text, []
        line, counted, at = 1, 0, 0
        while (at := text.find(TOKEN, at)) >= 0:
            start = max(text.rfind(char, counted, at) for char in _BREAKS) + 1
            line += _breaks(text, counted, start)
            counted = start
            broken = _BREAK.search(text, at)
            end = broken.start() if broken else len(text)
            found.append(self._mark(line, start, end))
            at = end
        return found

    def _mark(self, line: int, start: int, end: int) -> Mark:
        comment = self._comment(start, end)
        if comment is None:
            return Mark(line, None, Part.WHOLE, None, "stands in a text, where it is no comment")
        try:
            policy, part = _read(self._text[comment:end])
        except ValueError as problem:
            return Mark(line, None, Part.WHOLE, None, str(problem))
        target = self._target(start, comment)
        if isinstance(target, str):
            return Mark(line, policy, part, None, target)
        return Mark(line, policy, part, target)

    def _comment(self, start: int, end: int) -> int | None:
        """Where the comment of the line begins, which has to have the marker in it."""
        last = self._text.rfind(TOKEN, start, end)
        at = start - 1
        while (at := self._text.find("#", at + 1, last)) >= 0:
            if (at == start or self._text[at - 1] in " \t") and not self._covered(at):
                return at
        return None

    def _before(self, at: int) -> Scalar | Alias | None:
        """The last value, key or alias that begins before `at`."""
        place = bisect_right(self._begins, at)
        return self._tokens[place - 1] if place else None

    def _covered(self, at: int) -> bool:
        """Whether what stands at `at` belongs to a value. The head of a block of text may have a comment."""
        token = self._before(at)
        if not isinstance(token, Scalar) or at >= token.end or at < token.start:
            return False
        return not token.block or _BREAK.search(self._text, token.start, at) is not None

    def _target(self, start: int, comment: int) -> Scalar | Mapping | str:
        if not self._text[start:comment].strip():
            return self._below(comment)
        token = self._before(comment)
        if token is None:
            return "marks nothing: it belongs behind a value, on its line"
        if isinstance(token, Alias):
            if self._text[token.begin : comment].strip(" \t,") != f"*{token.anchor}":
                return "marks nothing: it belongs behind a value, on its line"
            there = f", at line {token.target.line}" if token.target is not None else ""
            return f"marks an alias of {token.anchor}: put it where the value is written{there}"
        if token.block and token.start <= comment < token.end:
            return token
        if token.is_key:
            return self._of_key(token, comment)
        if not _BEHIND_VALUE.fullmatch(self._text, token.end, comment):
            if self._text[token.end : comment].strip(" \t,]}") == "":
                return (
                    "stands behind a list or a mapping: write the value on a line of its own, and the marker behind it"
                )
            return "marks nothing: it belongs behind a value, on its line"
        return token

    def _of_key(self, key: Scalar, comment: int) -> Scalar | Mapping | str:
        value = None
        if _BEHIND_KEY.fullmatch(self._text, key.end, comment):
            value = key.value_node
        match value:
            case Mapping():
                return value
            case Sequence():
                return "marks a list: put it behind an item"
            case Scalar() | Alias():
                return f"marks nothing: put it behind the value, at line {value.line}"
            case _:
                return "marks a key, which is never changed"

    def _below(self, comment: int) -> Scalar | Mapping | str:
        """The item, or the value on a line of its own, that follows a comment on a line of its own."""
        end = _BREAK.search(self._text, comment)
        at = self._behind_comments(end.end() if end else len(self._text))
        head = _TO_ITEM.match(self._text, at)
        begin = head.end() if head else at
        token = self._before(begin)
        if isinstance(token, Scalar) and token.begin == begin and not token.empty:
            if not token.is_key:
                return token
            if "-" in self._text[at:begin] and isinstance(token.holder, Mapping):
                return token.holder
        return "marks nothing: it belongs behind a value, on its line"

    def _behind_comments(self, at: int) -> int:
        """Where the lines that are comments end. What is known of one line is known of those before it."""
        passed: list[int] = []
        while at not in self._ends and (again := _COMMENT_LINE.match(self._text, at)):
            passed.append(at)
            at = again.end()
        end = self._ends.get(at, at)
        self._ends |= dict.fromkeys(passed, end)
        return end


def _breaks(text: str, start: int, end: int) -> int:
    """How many lines end between two places."""
    return sum(text.count(char, start, end) for char in _BREAKS) - text.count("\r\n", start, end)


def _read(comment: str) -> tuple[Key, Part]:
    """What a comment says. Raises ValueError."""
    if len(comment) > _LONGEST:
        raise ValueError(f"cannot be read: it has more than {_LONGEST} characters")
    try:
        said = json.loads(comment.lstrip("#"))
    except (ValueError, RecursionError):
        said = None
    words = said.get(TOKEN) if isinstance(said, dict) else None
    if not isinstance(words, str) or not all(isinstance(value, str) for value in said.values()):
        raise ValueError(f"cannot be read: the comment has to be {_FORM} and nothing else")
    namespace, _, rest = words.partition(":")
    name, colon, part = rest.partition(":")
    if colon and part not in (Part.NAME, Part.TAG, Part.DIGEST):
        raise ValueError(f"asks for {part[:40]!a}: behind NAMESPACE:POLICY there can be :name, :tag or :digest")
    if not _NAME.fullmatch(namespace) or not _NAME.fullmatch(name):
        raise ValueError(f"cannot be read: {words[:100]!a} is not NAMESPACE:POLICY")
    return Key(namespace, name), Part(part)
