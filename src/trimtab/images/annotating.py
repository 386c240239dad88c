"""Annotations in YAML as it is written: one is added, changed or taken away, and every other byte stays.

As with images, what comes out is parsed again before it is handed out: it has to consist of the same events as before,
but for those of the annotation that was meant.
"""

import json
import re
import unicodedata
from collections.abc import Mapping as Dictionary
from typing import Any, Final, NamedTuple

from yaml.events import MappingEndEvent, MappingStartEvent, ScalarEvent

from trimtab.images.events import PLAIN, Unreadable, events, signature
from trimtab.images.named import Named
from trimtab.images.nodes import Mapping, Node, Scalar, Stream, objects, parse
from trimtab.manifests.yaml import MAX_BYTES
from trimtab.sops.formats import Format, is_encrypted

ANNOTATIONS: Final = "annotations"
LONGEST: Final = 1024
"""Characters of a value: a reason is a sentence or two."""
_BOM: Final = b"\xef\xbb\xbf"
_METADATA: Final = "metadata"
_NULL: Final = frozenset({"", "null", "Null", "NULL", "~"})
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_COMMA = re.compile(r"\s*,\s*")
_EMPTY = re.compile(r"[ \t]*:[ \t]*\{[ \t]*\}")
_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9./_-]*", re.ASCII)
_HOW: Final = "write it as lines of its own, and run this again"


class Unfit(ValueError):
    """The annotation cannot be written there; the message says why, and the way out. `line` is where, 0 if nowhere."""

    def __init__(self, line: int, cause: str) -> None:
        super().__init__(cause)
        self.line = line


class Annotated(NamedTuple):
    """A file with the annotations as they are wanted, and what they were before, of those that changed.

    `line` is where the object begins.
    """

    data: bytes
    line: int
    before: Dictionary[str, str | None]


def annotate(data: bytes, named: Named, wanted: Dictionary[str, str | None], *, line: int = 0) -> Annotated:
    """`data` with these annotations on the one object of that name, or at that line; None takes one away.

    Raises Unfit, Unreadable.
    """
    if len(data) > MAX_BYTES:
        raise Unfit(0, f"the file has more than the {MAX_BYTES:,} bytes that are read")
    if is_encrypted(data, Format.YAML) or is_encrypted(data, Format.JSON):
        raise Unfit(0, "the file is encrypted by SOPS, and a change would break its MAC: use `sops` to edit it")
    for name, value in wanted.items():
        _check(name, value)
    bom = _BOM if data.startswith(_BOM) else b""
    text = _decoded(data)
    before: dict[str, str | None] = {}
    for name, value in wanted.items():
        stream = parse(text)
        body = _one(stream, named, line)
        line = body.line
        edit = _edit(text, stream, body, name, value)
        if edit is not None:
            before[name] = edit.before
            text = _carried_out(text, edit, line)
    return Annotated(bom + text.encode(), line, before)


class _Patch(NamedTuple):
    """Events from number `at` on that go away, and those that come in their place."""

    at: int
    gone: int
    new: tuple[tuple[Any, ...], ...]


class _Edit(NamedTuple):
    """Pieces of the text, each with what is put in its place, and what that means in events."""

    pieces: tuple[tuple[int, int, str], ...]
    patch: _Patch
    before: str | None


def _check(name: str, value: str | None) -> None:
    if not _PLAIN_KEY.fullmatch(name):
        raise Unfit(0, f"{name[:80]!a} is no name of an annotation")
    if value is None:
        return
    if len(value) > LONGEST:
        raise Unfit(0, f"what is to be written has {len(value)} characters; the limit is {LONGEST}")
    if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in value):
        raise Unfit(0, "what is to be written has a line break in it, or another character that is not seen")


def _one(stream: Stream, named: Named, line: int) -> Mapping:
    bodies = objects(stream.documents)
    found = [body for body in bodies if (body.line == line if line else named.fits(body))]
    if not found:
        raise Unfit(0, f"there is no {named}")
    if len(found) > 1:
        lines = ", ".join(str(body.line) for body in found)
        raise Unfit(
            found[0].line, f"{named} is there {len(found)} times (lines {lines}): say which, KIND/NAMESPACE/NAME"
        )
    return found[0]


def _edit(text: str, stream: Stream, body: Mapping, name: str, value: str | None) -> _Edit | None:
    """What makes `name` read `value`; nothing if it does. Raises Unfit."""
    metadata = body.get(_METADATA)
    if not isinstance(metadata, Mapping):
        raise Unfit(body.line, f"has its metadata in an alias: {_HOW}")
    if metadata.anchor is not None:
        raise Unfit(metadata.line, f"has its metadata at an anchor, which other places share: {_HOW}")
    outer = _Written(text, stream, body, None)
    written = _Written(text, stream, metadata, outer.key(_METADATA))
    node, key = metadata.get(ANNOTATIONS), written.key(ANNOTATIONS)
    if node is None and metadata.get("<<") is not None:
        raise Unfit(metadata.line, f"may have its annotations by a merge (<<), which other places share: {_HOW}")
    match node:
        case None:
            return None if value is None else written.with_all(name, value)
        case Scalar() if node.plain and node.value in _NULL and node.tag is node.anchor is None and key is not None:
            return None if value is None else written.in_nothing(key, node, name, value)
        case Mapping(anchor=None):
            return _Written(text, stream, node, key).having(name, value, written)
        case _:
            raise Unfit(node.line, f"has its annotations at an anchor or by an alias, which others share: {_HOW}")


class _Written:
    """A mapping as it stands in the text, with its keys in their order, and the key that it is the value of."""

    def __init__(self, text: str, stream: Stream, mapping: Mapping, owner: Scalar | None) -> None:
        self.text = text
        self.mapping = mapping
        self.owner = owner
        self.keys = [token for token in stream.tokens if token.holder is mapping and token.is_key]

    def key(self, name: str) -> Scalar | None:
        """The key of that name."""
        return next((key for key in self.keys if isinstance(key, Scalar) and key.value == name), None)

    def with_all(self, name: str, value: str) -> _Edit:
        """This metadata with `annotations` in it, which it has not."""
        new = (_text(ANNOTATIONS), *_mapped(name, value))
        if self.mapping.flow:
            first = self._first()
            words = f"{_quoted_as(first, ANNOTATIONS)}: {{{_quoted_as(first, name)}: {_said(value)}}}, "
            return _Edit(((first.begin, first.begin, words),), _Patch(first.event, 0, new), None)
        after = self.key("name")
        node = after.value_node if after is not None else None
        if after is None or not isinstance(node, Scalar) or node.block:
            raise Unfit(self.mapping.line, f"has no name that is a text on its line: {_HOW}")
        indent = " " * self.column(after)
        lines = (f"{indent}{ANNOTATIONS}:", f"{indent}{self._step(after)}{name}: {_said(value)}")
        return _Edit((self._below(node.end, lines),), _Patch(node.event + 1, 0, new), None)

    def in_nothing(self, key: Scalar, nothing: Scalar, name: str, value: str) -> _Edit:
        """This metadata with something in its `annotations:`, which are empty."""
        patch = _Patch(nothing.event, 1, _mapped(name, value))
        if self.mapping.flow:
            words = f"{{{_quoted_as(key, name)}: {_said(value)}}}"
            return _Edit(((nothing.start, nothing.end, f" {words}" if nothing.empty else words),), patch, None)
        words = f"{' ' * self.column(key)}{self._step(key)}{name}: {_said(value)}"
        pieces = [self._below(max(key.end, nothing.end), (words,))]
        if not nothing.empty:
            pieces.insert(0, (nothing.start, nothing.end, ""))
        return _Edit(tuple(pieces), patch, None)

    def having(self, name: str, value: str | None, metadata: "_Written") -> _Edit | None:
        """These annotations with `name` reading `value`; nothing if it does."""
        key = self.key(name)
        if key is None:
            return None if value is None else self._with(name, value)
        node = key.value_node
        if not isinstance(node, Scalar):
            raise Unfit(key.line, f"has {name} in a form that is not set, such as an alias: write its value there")
        if value is None:
            return self._without_in_braces(key, node) if self.mapping.flow else self._without(key, node, metadata)
        if node.value == value:
            return None
        if node.block or node.tag is not None or node.anchor is not None:
            raise Unfit(key.line, f"has {name} as a block of text, with a tag, or at an anchor: write it on one line")
        piece = (node.start, node.end, f" {_said(value)}" if node.empty else _said(value))
        return _Edit((piece,), _Patch(node.event, 1, (_text(value),)), node.value)

    def _with(self, name: str, value: str) -> _Edit:
        new = (_text(name), _text(value))
        if not self.keys:
            match = _EMPTY.match(self.text, self.owner.end) if self.owner is not None else None
            if match is None or self.owner is None:
                raise Unfit(self.mapping.line, f"has empty annotations in a form that is not set: {_HOW}")
            end = match.end() - 1
            words = f"{_quoted_as(self.owner, name)}: {_said(value)}"
            return _Edit(((end, end, words),), _Patch(self.owner.event + 2, 0, new), None)
        first, last = self._first(), self.keys[-1]
        if self.mapping.flow:
            words = f"{_quoted_as(first, name)}: {_said(value)}, "
            return _Edit(((first.begin, first.begin, words),), _Patch(first.event, 0, new), None)
        words = f"{' ' * self.column(first)}{name}: {_said(value)}"
        node = last.value_node if isinstance(last, Scalar) else None
        if isinstance(node, Scalar) and not node.block:
            return _Edit((self._below(max(last_end(last), node.end), (words,)),), _Patch(node.event + 1, 0, new), None)
        start = self.line_start(first)
        return _Edit(((start, start, words + self._newline()),), _Patch(first.event, 0, new), None)

    def _without_in_braces(self, key: Scalar, node: Scalar) -> _Edit:
        at, end = self.keys.index(key), last_end(key)
        start = key.begin
        if at + 1 < len(self.keys):
            between = (end, end := self.keys[at + 1].begin)
        else:
            between = (last_end(self.keys[at - 1]), start) if at else (end, end)
            start = between[0] if at else start
        if between[0] != between[1] and not _COMMA.fullmatch(self.text, *between):
            raise Unfit(key.line, f"has a comment beside {key.value[:80]}, in braces: take it out by hand")
        return _Edit(((start, end, ""),), _Patch(key.event, 2, ()), node.value)

    def _without(self, key: Scalar, node: Scalar, metadata: "_Written") -> _Edit:
        start = self.line_start(key)
        end = self._line_end(max(key.end, node.end - 1 if node.block else node.end), with_break=True)
        if len(self.keys) > 1:
            return _Edit((self._taken(start, end),), _Patch(key.event, 2, ()), node.value)
        if (whole := self.owner) is None:
            raise Unfit(key.line, f"has annotations without a key: {_HOW}")
        alone = self._line_end(whole.end, with_break=True) == start and "#" not in self.text[whole.end : start]
        if alone and whole is not metadata.keys[0]:
            piece = self._taken(metadata.line_start(whole), end)
            return _Edit((piece,), _Patch(whole.event, 5, ()), node.value)
        # what was said of the annotations stays, and so does what metadata begins with
        colon = self.text.index(":", whole.end) + 1
        new = ((MappingStartEvent, None, None, True), (MappingEndEvent, None))
        return _Edit(((colon, colon, " {}"), self._taken(start, end)), _Patch(whole.event + 1, 4, new), node.value)

    def _taken(self, start: int, end: int) -> tuple[int, int, str]:
        """Whole lines that go. Where the last of the text has no end, the one that becomes the last has none."""
        if end == len(self.text) and not self.text.endswith(("\n", "\r")):
            start -= len(self._newline()) if start else 0
        return start, end, ""

    def _first(self) -> Scalar:
        if not self.keys or not isinstance(first := self.keys[0], Scalar):
            raise Unfit(self.mapping.line, f"is empty, or begins with an alias: {_HOW}")
        return first

    def column(self, key: Scalar) -> int:
        """How far in `key` stands."""
        return key.begin - self._start_of_line(key.begin)

    def _step(self, key: Scalar) -> str:
        """How much deeper what is below `key` stands: as this mapping below its own key."""
        deeper = self.column(key) - self.column(self.owner) if self.owner is not None else 0
        return " " * (deeper if deeper > 0 else 2)

    def line_start(self, key: Scalar) -> int:
        """Where the line of `key` begins, if there is nothing before it. Raises Unfit."""
        start = self._start_of_line(key.begin)
        if self.text[start : key.begin].strip(" "):
            raise Unfit(key.line, f"has something before {key.value[:80]} on its line: {_HOW}")
        return start

    def _start_of_line(self, at: int) -> int:
        return max(self.text.rfind(char, 0, at) for char in "\n\r\x85\u2028\u2029") + 1

    def _line_end(self, at: int, *, with_break: bool = False) -> int:
        found = _BREAK.search(self.text, at)
        return len(self.text) if found is None else found.end() if with_break else found.start()

    def _below(self, at: int, lines: tuple[str, ...]) -> tuple[int, int, str]:
        """Lines below the one that `at` is in."""
        end = self._line_end(at)
        newline = self.text[end : self._line_end(at, with_break=True)] or self._newline()
        return end, end, "".join(newline + line for line in lines)

    def _newline(self) -> str:
        found = _BREAK.search(self.text)
        return found.group() if found is not None else "\n"


def _carried_out(text: str, edit: _Edit, line: int) -> str:
    """The new text, if it says what is meant and nothing else. Raises Unfit."""
    parts: list[str] = []
    at = 0
    for start, end, new in edit.pieces:
        parts += [text[at:start], new]
        at = end
    result = "".join([*parts, text[at:]])
    patch = edit.patch
    before = [signature(event) for event in events(text)]
    wanted = [*before[: patch.at], *patch.new, *before[patch.at + patch.gone :]]
    try:
        found = [signature(event) for event in events(result)]
    except Unreadable as problem:
        raise Unfit(line, f"with the annotation the file {problem}: {_HOW}") from None
    touched = range(patch.at, patch.at + len(patch.new))
    same = len(found) == len(wanted) and all(
        one == other or (number in touched and _loose(one) == _loose(other))
        for number, (one, other) in enumerate(zip(found, wanted, strict=True))
    )
    if not same:
        raise Unfit(line, f"with the annotation the file is read as something else than was meant: {_HOW}")
    return result


def _loose(said: tuple[Any, ...]) -> tuple[Any, ...]:
    """What is said, without how: quotes, and braces or lines."""
    return said[:-1] if said[0] in (ScalarEvent, MappingStartEvent) else said


def _text(value: str) -> tuple[Any, ...]:
    return (ScalarEvent, None, None, value, PLAIN)


def _mapped(name: str, value: str) -> tuple[tuple[Any, ...], ...]:
    return ((MappingStartEvent, None, None, False), _text(name), _text(value), (MappingEndEvent, None))


def _said(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _quoted_as(key: Scalar, name: str) -> str:
    return json.dumps(name) if key.style == '"' else name


def last_end(key: Node) -> int:
    """Where a key and its value end. Raises Unfit."""
    if not isinstance(key, Scalar) or not isinstance(key.value_node, Scalar):
        raise Unfit(key.line, f"has a value that is no text: {_HOW}")
    return max(key.end, key.value_node.end)


def _decoded(data: bytes) -> str:
    start = len(_BOM) if data.startswith(_BOM) else 0
    try:
        return data[start:].decode()
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, start + problem.start) + 1
        raise Unreadable(line, "is not UTF-8") from None
