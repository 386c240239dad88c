"""From libyaml's events to values: the rules, the limits, and the copies that aliases become."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from yaml._yaml import CParser
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from trimtab.base.errors import Terminal
from trimtab.manifests.folded import refolded
from trimtab.manifests.refs import Origin
from trimtab.manifests.scalars import HINTS, Dialect, ScalarError, resolve, resolve_key, resolve_tagged

MAX_DEPTH: Final = 200
MAX_DOCUMENTS: Final = 1_000
MAX_NODES: Final = 1_000_000
MAX_EXPANSION: Final = 10
"""Aliases may make a stream this many times as big as its file; small ones are free up to `FREE_EXPANSION` bytes."""
FREE_EXPANSION: Final = 256 << 10

_TAG_PREFIX: Final = "tag:yaml.org,2002:"
_SCALAR_TAGS: Final = frozenset({"!!str", "!!int", "!!float", "!!bool", "!!null", "!!binary"})
_MERGE: Final = "<<"
_MERGE_KEY: Final = object()
_UNFINISHED: Final = object()


class YamlError(Terminal):
    """A file that cannot be read; the message starts with file:line:column. Reason BuildFailed."""

    def __init__(self, file: str, line: int, column: int, cause: str) -> None:
        super().__init__("BuildFailed", f"{file}:{line}:{column}: {cause}" if line else f"{file}: {cause}")
        self.file = file
        self.line = line
        self.column = column


class Document(NamedTuple):
    """One document of a stream; the origin's line is where its content starts."""

    value: Any
    origin: Origin


class _Open:
    """A collection that is being read, the key that waits for its value, and the line of every key before it."""

    __slots__ = ("anchor", "flow", "key", "lines", "merges", "value")

    def __init__(self, value: Any, anchor: str | None, *, flow: bool) -> None:
        self.value = value
        self.anchor = anchor
        self.flow = flow
        self.key: Any = None
        self.lines: list[int] = []
        self.merges: list[tuple[int, dict[str, Any]]] = []


class Builder:
    """Events in, values out. Iterative: the depth of the input is only ever the length of a list."""

    def __init__(self, data: bytes, file: str, dialect: Dialect) -> None:
        self._parser = CParser(data)
        self._file = file
        self._dialect: Dialect = dialect
        self._kustomize = dialect == "kustomize"
        self._anchors: dict[str, Any] = {}
        self._nodes = 0
        self._copied = 0
        self._budget = max(FREE_EXPANSION, MAX_EXPANSION * len(data))

    def documents(self) -> list[Document]:
        parser = self._parser
        found: list[Document] = []
        number = 0
        try:
            parser.get_event()
            while type(event := parser.get_event()) is DocumentStartEvent:
                number += 1
                if number > MAX_DOCUMENTS:
                    raise self._error(event, f"more than {MAX_DOCUMENTS:,} documents in one file; split it")
                if event.version or event.tags:
                    raise self._error(event, "directives (%YAML, %TAG) are not supported; remove the line")
                self._anchors.clear()
                first: Any = parser.peek_event()
                line = first.start_mark.line + 1
                value = self._document()
                if value is not None:
                    found.append(Document(value, Origin(self._file, line, number)))
        finally:
            parser.dispose()
        return found

    def _document(self) -> Any:
        """The value of one document, up to and with its end event."""
        get_event: Callable[[], Any] = self._parser.get_event
        hints = HINTS
        stack: list[_Open] = []
        top: _Open | None = None
        root: Any = None
        while True:
            event = get_event()
            kind = type(event)
            # Every turn that does not end in `continue` or `return` yields one value; collections do when they end.
            value: Any
            if kind is ScalarEvent:
                if top is not None and top.key is None and type(top.value) is dict:
                    self._enter(top, event, self._key(event))
                    continue
                text = event.value
                if event.tag is not None:
                    value = self._tagged(event)
                elif event.style == ">" and self._kustomize:
                    value = refolded(text)
                elif not event.implicit[0] or (text and text[0] not in hints):
                    value = text
                elif not text and top is not None and top.flow and self._kustomize:
                    # kustomize writes `{a: }` as `{a: ''}` before it reads it for good.
                    value = ""
                else:
                    value = self._plain(event)
                if event.anchor is not None:
                    self._anchors[event.anchor] = value
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                top = self._open(event, stack, top)
                continue
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                closed = stack.pop()
                value = closed.value
                if closed.merges:
                    value = self._merged(closed)
                if closed.anchor is not None:
                    self._anchors[closed.anchor] = value
                top = stack[-1] if stack else None
            elif kind is AliasEvent:
                value = self._alias(event, len(stack))
                if top is not None and top.key is None and type(top.value) is dict:
                    self._enter(top, event, self._alias_key(event, value))
                    continue
            elif kind is DocumentEndEvent:
                return root
            else:
                raise self._error(event, "unexpected end of the document")
            self._nodes += 1
            if self._nodes > MAX_NODES:
                raise self._error(event, f"more than {MAX_NODES:,} values in one file; split it")
            if top is None:
                root = value
            elif type(top.value) is list:
                top.value.append(value)
            elif top.key is _MERGE_KEY:
                top.key = None
                top.merges.append((len(top.value), self._merge_source(event, value)))
            else:
                top.value[top.key] = value
                top.key = None

    def _plain(self, event: Any) -> Any:
        try:
            return resolve(event.value, self._dialect)
        except ScalarError as error:
            raise self._error(event, str(error)) from None

    def _open(self, event: Any, stack: list[_Open], top: _Open | None) -> _Open:
        mapping = type(event) is MappingStartEvent
        if top is not None and top.key is None and type(top.value) is dict:
            raise self._error(event, f"a {'map' if mapping else 'list'} as a key; keys have to be strings")
        if event.tag is not None and self._short(event.tag) != ("!!map" if mapping else "!!seq"):
            raise self._error(event, f"the tag {self._short(event.tag)} is not supported here")
        opened = _Open({} if mapping else [], event.anchor, flow=event.flow_style)
        stack.append(opened)
        if len(stack) > MAX_DEPTH:
            raise self._error(event, f"more than {MAX_DEPTH} levels deep")
        if event.anchor is not None:
            self._anchors[event.anchor] = _UNFINISHED
        return opened

    def _key(self, event: Any) -> Any:
        text: str = event.value
        if event.tag is not None:
            key = self._tagged(event)
            if type(key) is not str:
                raise self._error(event, f"the tag {self._short(event.tag)} on a key; keys have to be strings")
        elif not event.implicit[0]:
            if text == _MERGE and self._kustomize:
                raise self._error(event, "a quoted << as a key, which kustomize drops without a word")
            key = text
        elif text == _MERGE:
            return _MERGE_KEY
        else:
            try:
                key = resolve_key(text, self._dialect)
            except ScalarError as error:
                raise self._error(event, str(error)) from None
        if event.anchor is not None:
            self._anchors[event.anchor] = key
        return key

    def _alias_key(self, event: Any, value: Any) -> str:
        if type(value) is not str:
            raise self._error(event, f"the key *{event.anchor} is not a string")
        return value

    def _enter(self, top: _Open, event: Any, key: Any) -> None:
        """Make `key` the one that waits for its value."""
        if key is _MERGE_KEY:
            # kubectl takes several merge keys in one map, kustomize does not.
            if top.merges and self._kustomize:
                raise self._error(event, "a second << in one map; use one with a list")
        elif key in top.value:
            first = top.lines[list(top.value).index(key)] + 1
            raise self._error(event, f"duplicate key {_excerpt(key)}, first at line {first}")
        else:
            top.lines.append(event.start_mark.line)
        top.key = key

    def _tagged(self, event: Any) -> Any:
        tag = self._short(event.tag)
        if tag not in _SCALAR_TAGS:
            raise self._error(event, f"the tag {tag} is not supported here")
        # libyaml says of `! x` and `!!str x` alike that they are not plain; the style tells.
        try:
            return resolve_tagged(event.value, tag, self._dialect, plain=not event.style)
        except ScalarError as error:
            raise self._error(event, str(error)) from None

    def _alias(self, event: Any, depth: int) -> Any:
        name = event.anchor
        if name not in self._anchors:
            raise self._error(event, f"unknown anchor {_excerpt(name)}")
        value = self._anchors[name]
        if value is _UNFINISHED:
            raise self._error(event, f"anchor {_excerpt(name)} contains itself")
        return self._copy(event, value, depth)

    def _copy(self, event: Any, value: Any, depth: int) -> Any:
        """A copy that shares nothing, paid for from the budget; recursion ends at MAX_DEPTH."""
        self._nodes += 1
        self._copied += 2 + (len(value) if type(value) is str else 0)
        if self._copied > self._budget or self._nodes > MAX_NODES:
            raise self._error(event, "aliases expand to more than ten times the file; write the values out")
        if isinstance(value, dict | list):
            if depth >= MAX_DEPTH:
                raise self._error(event, f"more than {MAX_DEPTH} levels deep, counted through aliases")
            if isinstance(value, list):
                return [self._copy(event, item, depth + 1) for item in value]
            self._copied += sum(map(len, value))
            return {key: self._copy(event, item, depth + 1) for key, item in value.items()}
        return value

    def _merge_source(self, event: Any, value: Any) -> dict[str, Any]:
        """What a `<<` contributes: of a list, the earlier map wins."""
        maps = [value] if type(value) is dict else value
        if type(maps) is not list or not all(type(each) is dict for each in maps):
            raise self._error(event, "<< wants a map or a list of maps")
        combined: dict[str, Any] = {}
        for each in reversed(maps):
            combined.update(each)
        return combined

    def _merged(self, closed: _Open) -> dict[str, Any]:
        """The map with its merges. kustomize: explicit keys win; kubectl: only those after the `<<` do."""
        value: dict[str, Any] = closed.value
        order = {key: place for place, key in enumerate(value)}
        for place, merge in closed.merges:
            since = 0 if self._kustomize else place
            value.update((key, item) for key, item in merge.items() if order.get(key, -1) < since)
        return value

    def _short(self, tag: str) -> str:
        return "!!" + tag.removeprefix(_TAG_PREFIX) if tag.startswith(_TAG_PREFIX) else tag

    def _error(self, event: Any, cause: str) -> YamlError:
        mark = event.start_mark
        return YamlError(self._file, mark.line + 1, mark.column + 1, cause)


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
