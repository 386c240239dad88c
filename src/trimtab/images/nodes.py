"""The text of a YAML stream as nodes that know where they stand, so that one of them can be replaced in the text.

Nothing is resolved and nothing copied: an alias stays an alias, a value stays its text, and what cannot be parsed is
said so with its line. Iterative, as the builder of `manifests`, with the same limits.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from trimtab.images.events import PLAIN, events

_PROPERTY = re.compile(r"(?:[&!][^\s,\[\]{}]*|#[^\n\r\x85\u2028\u2029]*|\s+)+")


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
    event: int
    is_key: bool = False
    value_node: "Node | None" = None
    """Of a key: what it is the key of."""
    holder: "Mapping | Sequence | None" = None
    name: str = ""

    @property
    def plain(self) -> bool:
        """Whether it is written without quotes, on one line or several."""
        return self.style == PLAIN

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
    """A whole text: its documents, and what stands in it from top to bottom."""

    documents: list[Node]
    tokens: list[Scalar | Alias]


def parse(text: str) -> Stream:
    """Read `text`, which has no byte order mark. Raises Unreadable."""
    return _Reader(text).stream()


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


class _Reader:
    """Events in, nodes out. Iterative: the depth of the input is only ever the length of a list."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found = Stream([], [])
        self._anchors: dict[str, Node] = {}
        self._stack: list[Mapping | Sequence] = []
        self._keys: list[Node | None] = []

    def stream(self) -> Stream:
        for number, event in enumerate(events(self._text)):
            kind = type(event)
            if kind is MappingEndEvent or kind is SequenceEndEvent:
                self._stack.pop()
                self._keys.pop()
            elif kind is DocumentEndEvent:
                self._anchors.clear()
            elif kind in _NODES:
                self._enter(self._node(event, number), event)
        return self._found

    def _enter(self, node: Node, event: Any) -> None:
        """Put `node` where it belongs: into what is open, or among the documents."""
        if not isinstance(node, Alias) and event.anchor is not None:
            self._anchors[event.anchor] = node
        top = self._stack[-1] if self._stack else None
        if isinstance(top, Mapping):
            key = self._keys[-1]
            if key is None:
                if isinstance(node, Scalar | Alias):
                    node.is_key = True
                self._keys[-1] = node
            else:
                if isinstance(key, Scalar):
                    key.value_node = node
                    top.values.setdefault(key.value, node)
                node.name = key.value if isinstance(key, Scalar) else "?"
                self._keys[-1] = None
        elif top is not None:
            node.name = str(len(top.items))
            top.items.append(node)
        else:
            self._found.documents.append(node)
        if isinstance(node, Mapping | Sequence):
            self._stack.append(node)
            self._keys.append(None)

    def _node(self, event: Any, number: int) -> Node:
        line, kind = event.start_mark.line + 1, type(event)
        holder = self._stack[-1] if self._stack else None
        if kind is MappingStartEvent:
            return Mapping(line, event.anchor, event.flow_style, holder=holder)
        if kind is SequenceStartEvent:
            return Sequence(line, event.anchor, event.flow_style, holder=holder)
        if kind is AliasEvent:
            alias = Alias(event.anchor, event.start_mark.index, line, self._anchors.get(event.anchor), holder=holder)
            self._found.tokens.append(alias)
            return alias
        begin, end = event.start_mark.index, event.end_mark.index
        start = begin
        if (event.anchor or event.tag) and (skipped := _PROPERTY.match(self._text, begin, end)):
            start = skipped.end()
        scalar = Scalar(
            event.value, begin, start, end, line, event.style or PLAIN, event.tag, event.anchor, number, holder=holder
        )
        self._found.tokens.append(scalar)
        return scalar


_NODES = (ScalarEvent, MappingStartEvent, SequenceStartEvent, AliasEvent)
