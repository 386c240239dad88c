"""The text of a YAML stream as nodes that know where they stand, so that one of them can be replaced in the text.

Nothing is resolved and nothing copied: an alias stays an alias, a value stays its text, and what cannot be parsed is
said so with its line. Iterative, as the builder of `manifests`, with the same limits.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from yaml import YAMLError
from yaml._yaml import CParser
from yaml.error import MarkedYAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from trimtab.manifests.builder import MAX_DEPTH, MAX_DOCUMENTS, MAX_NODES

_PROPERTY = re.compile(r"(?:[&!][^\s,\[\]{}]*|#[^\n\r\x85\u2028\u2029]*|\s+)+")
_PLAIN: Final = ""


class Unreadable(ValueError):
    """A text that is no YAML, or too much of it. `line` counts from 1; 0 where it is not known."""

    def __init__(self, line: int, cause: str) -> None:
        super().__init__(cause)
        self.line = line


@dataclass(slots=True, eq=False)
class Scalar:
    """A value or a key. `begin` is where its anchor or tag stands, `start` and `end` bound the value itself."""

    value: str
    begin: int
    start: int
    end: int
    line: int
    style: str
    tag: str | None
    anchor: str | None
    flow: bool
    event: int
    is_key: bool = False
    value_node: "Node | None" = None
    """Of a key: what it is the key of."""
    holder: "Mapping | Sequence | None" = None
    name: str = ""

    @property
    def plain(self) -> bool:
        """Whether it is written without quotes, on one line or several."""
        return self.style == _PLAIN

    @property
    def block(self) -> bool:
        """Whether it is a block of text (`|` or `>`)."""
        return self.style in ("|", ">")

    @property
    def empty(self) -> bool:
        """Whether nothing is written."""
        return self.start == self.end


@dataclass(slots=True, eq=False)
class Mapping:
    """Values by their keys; of two with one key the first. A key that is no scalar is none that we look for."""

    line: int
    anchor: str | None
    flow: bool
    values: "dict[str, Node]" = field(default_factory=dict)
    holder: "Mapping | Sequence | None" = None
    name: str = ""

    def get(self, key: str) -> "Node | None":
        """The value of `key`, as it is written: what a `<<` brings along is not looked at."""
        return self.values.get(key)

    def text(self, *keys: str) -> str:
        """The text that `keys` lead to, through mappings and aliases; empty if there is none."""
        node: Node | None = self
        for key in keys:
            node = followed(node)
            node = node.get(key) if isinstance(node, Mapping) else None
        node = followed(node)
        return node.value if isinstance(node, Scalar) else ""


@dataclass(slots=True, eq=False)
class Sequence:
    """The items of a list."""

    line: int
    anchor: str | None
    flow: bool
    items: "list[Node]" = field(default_factory=list)
    holder: "Mapping | Sequence | None" = None
    name: str = ""


@dataclass(slots=True, eq=False)
class Alias:
    """A place that repeats what stands at an anchor."""

    anchor: str
    begin: int
    line: int
    target: "Node | None"
    is_key: bool = False
    holder: "Mapping | Sequence | None" = None
    name: str = ""


Node: TypeAlias = Scalar | Mapping | Sequence | Alias


class Stream(NamedTuple):
    """A whole text: its documents, what stands in it from top to bottom, and the events it is made of."""

    documents: list[Node]
    tokens: list[Scalar | Alias]
    events: list[tuple[Any, ...]]


def parse(text: str) -> Stream:
    """Read `text`, which has no byte order mark. Raises Unreadable."""
    try:
        parser = CParser(text)
        try:
            return _stream(parser, text)
        finally:
            parser.dispose()
    except MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        raise Unreadable(
            mark.line + 1 if mark else 0, f"is no YAML, perhaps a template ({error.problem or error.context})"
        ) from None
    except (YAMLError, UnicodeEncodeError):
        raise Unreadable(0, "is no YAML: it has characters that may not be in one") from None


def followed(node: Node | None) -> Node | None:
    """What `node` stands for, if it is an alias: aliases of aliases there are none."""
    return node.target if isinstance(node, Alias) else node


def path_of(node: Node) -> str:
    """Where `node` stands in its document, for people."""
    parts: list[str] = []
    at: Node | None = node
    while at is not None and at.holder is not None:
        parts.append(f"[{at.name}]" if isinstance(at.holder, Sequence) else f".{at.name}")
        at = at.holder
    return "".join(reversed(parts)).removeprefix(".")


def root_of(node: Node) -> Node:
    """The document that `node` is in."""
    while node.holder is not None:
        node = node.holder
    return node


def objects(documents: list[Node]) -> Iterator[Mapping]:
    """The mappings that may be objects of Kubernetes, those in lists instead of the list. An alias is none: it could be
    of the list that it is in.
    """
    waiting = list(reversed(documents))
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Mapping):
            continue
        items = node.get("items")
        if node.text("kind").endswith("List") and isinstance(items, Sequence):
            waiting += reversed(items.items)
        else:
            yield node


def object_of(node: Node) -> Mapping | None:
    """The object that `node` is a part of: the item of a List, else the document."""
    root = root_of(node)
    if not isinstance(root, Mapping):
        return None
    at: Node | None = node
    while at is not None and root.text("kind").endswith("List"):
        if isinstance(at, Mapping) and at.holder is not None and at.get("kind") is not None and at.get("apiVersion"):
            return at
        at = at.holder
    return root


def identity(body: Mapping | None) -> str:
    """`apiVersion/kind/namespace/name` of an object, as far as it says them."""
    if body is None:
        return ""
    named = (body.text("metadata", "namespace"), body.text("metadata", "name"))
    return "/".join(part for part in (body.text("apiVersion"), body.text("kind"), *named) if part)


def _stream(parser: Any, text: str) -> Stream:
    stream = Stream([], [], [])
    parser.get_event()
    while type(event := parser.get_event()) is DocumentStartEvent:
        if len(stream.documents) >= MAX_DOCUMENTS:
            raise Unreadable(0, f"has more than {MAX_DOCUMENTS:,} documents")
        stream.events.append(("document", event.explicit))
        stream.documents.append(_document(parser, text, stream))
        parser.get_event()
    return stream


def _document(parser: Any, text: str, stream: Stream) -> Node:
    """The node that a document consists of; its events are noted down in `stream`."""
    anchors: dict[str, Node] = {}
    stack: list[Mapping | Sequence] = []
    keys: list[Node | None] = []
    while True:
        event: Any = parser.get_event()
        kind = type(event)
        if kind is MappingEndEvent or kind is SequenceEndEvent:
            stream.events.append(("end",))
            closed = stack.pop()
            keys.pop()
            if not stack:
                return closed
            continue
        top = stack[-1] if stack else None
        node = _node(event, text, top, anchors, stream)
        if (anchor := event.anchor) is not None and kind is not AliasEvent:
            anchors[anchor] = node
        if isinstance(top, Mapping):
            key = keys[-1]
            if key is None:
                if isinstance(node, Scalar | Alias):
                    node.is_key = True
                keys[-1] = node
            else:
                if isinstance(key, Scalar):
                    key.value_node = node
                    top.values.setdefault(key.value, node)
                node.name = key.value if isinstance(key, Scalar) else "?"
                keys[-1] = None
        elif top is not None:
            node.name = str(len(top.items))
            top.items.append(node)
        if isinstance(node, Mapping | Sequence):
            stack.append(node)
            keys.append(None)
            if len(stack) > MAX_DEPTH:
                raise Unreadable(node.line, f"is more than {MAX_DEPTH} levels deep")
        elif top is None:
            return node
        if len(stream.events) > MAX_NODES:
            raise Unreadable(node.line, f"has more than {MAX_NODES:,} values")


def _node(event: Any, text: str, holder: Mapping | Sequence | None, anchors: dict[str, Node], stream: Stream) -> Node:
    line, kind = event.start_mark.line + 1, type(event)
    if kind is ScalarEvent:
        begin, end = event.start_mark.index, event.end_mark.index
        start = begin
        if (event.anchor or event.tag) and (skipped := _PROPERTY.match(text, begin, end)):
            start = skipped.end()
        style = event.style or _PLAIN
        flow = holder is not None and holder.flow
        number = len(stream.events)
        scalar = Scalar(
            event.value, begin, start, end, line, style, event.tag, event.anchor, flow, number, holder=holder
        )
        stream.events.append(("scalar", event.value, event.anchor, event.tag, style))
        stream.tokens.append(scalar)
        return scalar
    if kind is AliasEvent:
        stream.events.append(("alias", event.anchor))
        alias = Alias(event.anchor, event.start_mark.index, line, anchors.get(event.anchor), holder=holder)
        stream.tokens.append(alias)
        return alias
    if kind is MappingStartEvent:
        stream.events.append(("mapping", event.anchor, event.tag, event.flow_style))
        return Mapping(line, event.anchor, event.flow_style, holder=holder)
    if kind is SequenceStartEvent:
        stream.events.append(("sequence", event.anchor, event.tag, event.flow_style))
        return Sequence(line, event.anchor, event.flow_style, holder=holder)
    raise Unreadable(line, "is no YAML: a document ends too early")
