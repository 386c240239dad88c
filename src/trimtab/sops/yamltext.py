"""YAML as sops writes it: opened in its own text, so that the order, the comments and the layout stay.

What comes out is read again and has to be the tree that was proven: a value cannot become anything but itself. Where
the text cannot be kept, the tree is written anew. Aliases, tags and directives are refused, since sops writes none.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import yaml
from yaml._yaml import CEmitter, CParser
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from trimtab.manifests.builder import MAX_DEPTH, MAX_DOCUMENTS, MAX_NODES
from trimtab.manifests.emit import to_yaml
from trimtab.manifests.scalars import ScalarError, resolve, resolve_key
from trimtab.manifests.yaml import YamlError, load
from trimtab.sops.cipher import Cipher, Comment, Moment, Plain, sealed_in
from trimtab.sops.errors import Damaged
from trimtab.sops.leaves import Leaf, decimal, into_tree, place_of
from trimtab.sops.metadata import BLOCK

_INDENT: Final = 4
_WIDE: Final = 1 << 30
_TIME_LIKE: Final = 10
_OLD_BOOLEANS: Final = frozenset(
    word for text in ("y", "yes", "on", "n", "no", "off") for word in (text, text.capitalize(), text.upper())
)
_MERGE: Final = "<<"
_SIMPLE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:[ ./-][A-Za-z0-9_]+)*")
_WORDS: Final = frozenset(("y", "yes", "on", "n", "no", "off", "true", "false", "null"))
_SIGNS: Final = frozenset("0123456789+-.")


class Spot(NamedTuple):
    """A leaf, the column of what it lies in, and whether that is a list, or written in braces."""

    leaf: Leaf
    column: int
    item: bool
    flow: bool


class Document(NamedTuple):
    """One document: its tree without the sops block, that block, its leaves, and the lines of the block."""

    tree: Any
    block: Any
    spots: list[Spot]
    dropped: tuple[int, int] | None

    @property
    def leaves(self) -> list[Leaf]:
        return [spot.leaf for spot in self.spots]


class _Open:
    """A collection that is being read."""

    __slots__ = ("column", "flow", "key", "path", "value")

    def __init__(self, value: Any, path: tuple[str, ...], column: int, *, flow: bool) -> None:
        self.value = value
        self.path = path
        self.column = column
        self.flow = flow
        self.key: str | None = None


def parse(text: str) -> list[Document]:
    """The documents of a stream, empty ones left out. Raises Damaged."""
    # Before it is parsed: what cannot be encoded is not YAML.
    try:
        parser = CParser(text)
    except (UnicodeEncodeError, yaml.YAMLError):
        raise Damaged("it is not YAML") from None
    try:
        return _documents(parser, text)
    except yaml.YAMLError:
        raise Damaged("it is not YAML") from None
    except (ScalarError, YamlError):
        raise Damaged("a key or a value in it is not one that sops writes") from None
    finally:
        parser.dispose()


def rewritten(text: str, documents: Sequence[Document], plains: Sequence[Plain], cipher: Cipher) -> str:
    """`text` with every leaf opened to one of `plains`, and without the sops blocks."""
    values = iter(plains)
    expected = [into_tree(document.tree, values) for document in documents]
    edited = _edited(text, documents, plains, cipher)
    if edited is not None and _reads_as(edited, expected):
        return edited
    return "---\n".join(to_yaml(tree) for tree in expected)


def _documents(parser: Any, text: str) -> list[Document]:
    found: list[Document] = []
    nodes = 0
    parser.get_event()
    while type(event := parser.get_event()) is DocumentStartEvent:
        if event.version or event.tags or len(found) > MAX_DOCUMENTS:
            raise Damaged("it has directives, or too many documents")
        document, nodes = _document(parser, text, nodes)
        if document is not None:
            found.append(document)
    return found


def _document(parser: Any, text: str, nodes: int) -> tuple[Document | None, int]:
    stack: list[_Open] = []
    spots: list[Spot] = []
    root: Any = None
    block_from, block_to = -1, -1
    while True:
        event: Any = parser.get_event()
        kind = type(event)
        nodes += 1
        if nodes > MAX_NODES or len(stack) > MAX_DEPTH:
            raise Damaged("it has too many values, or is too deep")
        if kind is AliasEvent or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise Damaged("it has aliases or tags, and sops writes none: encrypt it anew")
        top = stack[-1] if stack else None
        value: Any
        if kind is ScalarEvent:
            if top is not None and top.key is None and type(top.value) is dict:
                key = event.value if not event.implicit[0] else resolve_key(event.value, "kustomize")
                if key in top.value or key == _MERGE:
                    raise Damaged("it has a key twice, or merges another mapping, which sops writes out")
                top.key = key
                if len(stack) == 1 and key == BLOCK:
                    block_from = text.rfind("\n", 0, event.start_mark.index) + 1
                continue
            value = event.value if not event.implicit[0] else resolve(event.value, "kustomize")
            if top is None:
                root = value
            elif block_from < 0 or block_to >= 0:
                path = top.path if top.key is None else (*top.path, top.key)
                leaf = Leaf(path, value, event.start_mark.index, event.end_mark.index)
                spots.append(Spot(leaf, top.column, top.key is None, top.flow))
        elif kind is MappingStartEvent or kind is SequenceStartEvent:
            if top is not None and top.key is None and type(top.value) is dict:
                raise Damaged("it has a key that is not text")
            above = () if top is None else top.path if top.key is None else (*top.path, top.key)
            opened: Any = {} if kind is MappingStartEvent else []
            stack.append(_Open(opened, above, event.start_mark.column, flow=event.flow_style))
            continue
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            value = stack.pop().value
            top = stack[-1] if stack else None
            if len(stack) == 1 and top is not None and top.key == BLOCK and type(top.value) is dict:
                block_to = text.rfind("\n", 0, event.end_mark.index) + 1 if not top.flow else event.end_mark.index
                if not text[event.end_mark.index :].strip():
                    block_to = len(text)
        elif kind is DocumentEndEvent:
            return _finished(root, spots, block_from, block_to), nodes
        else:
            raise Damaged("it is not YAML")
        if top is None:
            root = value
        elif type(top.value) is list:
            top.value.append(value)
        else:
            top.value[top.key] = value
            top.key = None


def _finished(root: Any, spots: list[Spot], block_from: int, block_to: int) -> Document | None:
    if root is None:
        return None
    if not isinstance(root, dict):
        raise Damaged("a document in it is not a mapping")
    block = root.pop(BLOCK, None)
    return Document(root, block, spots, (block_from, block_to) if 0 <= block_from <= block_to else None)


# --- from values to text


def _edited(text: str, documents: Sequence[Document], plains: Sequence[Plain], cipher: Cipher) -> str | None:
    changes: list[tuple[int, int, str]] = []
    spots = [spot for document in documents for spot in document.spots]
    for spot, plain in zip(spots, plains, strict=True):
        if plain == spot.leaf.value and type(plain) is type(spot.leaf.value):
            continue
        change = _change(text, spot, plain)
        if change is None:
            return None
        changes.append(change)
    for document in documents:
        if document.dropped is None:
            return None
        changes.append((*document.dropped, ""))
    changes += _comments(text, spots, changes, cipher)
    parts: list[str] = []
    at = 0
    for start, end, new in sorted(changes):
        if start < at:
            return None
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def _change(text: str, spot: Spot, plain: Plain) -> tuple[int, int, str] | None:
    leaf = spot.leaf
    if not isinstance(plain, Comment):
        # As go-yaml lays it out: items of lists two further, values of mappings at the next stop.
        inner = spot.column + 2 if spot.item else (spot.column // _INDENT + 1) * _INDENT
        return leaf.start, leaf.end, scalar(plain, spot.column, inner, flow=spot.flow)
    # sops writes the comments of a list as items of it.
    line = text.rfind("\n", 0, leaf.start) + 1
    head = text[line : leaf.start]
    if not spot.item or head.strip() != "-" or "\n" in plain.text:
        return None
    return line + head.index("-"), leaf.end, "#" + plain.text


def _comments(
    text: str, spots: Sequence[Spot], taken: Sequence[tuple[int, int, str]], cipher: Cipher
) -> Iterator[tuple[int, int, str]]:
    """Encrypted comments. Which collection one belongs to the text alone does not tell: its neighbours are tried."""
    covered = sorted((start, end) for start, end, _ in taken)
    leaves = [spot.leaf for spot in spots]
    starts = [leaf.start for leaf in leaves]
    for start, end in sealed_in(text):
        if text[start - 1 : start] != "#":
            continue
        at = bisect_right(covered, (start, len(text)))
        if at and start < covered[at - 1][1]:
            continue
        place = bisect_left(starts, start)
        before = leaves[place - 1].path if place else ()
        after = leaves[place].path if place < len(leaves) else ()
        for path in dict.fromkeys([*_ancestors(after), *_ancestors(before)]):
            try:
                plain = cipher.open(text[start:end], place_of(path))
            except Damaged:
                continue
            if isinstance(plain, Comment) and "\n" not in plain.text:
                yield start, end, plain.text
            break


def _ancestors(path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (path[:size] for size in range(len(path), -1, -1))


def _reads_as(text: str, expected: Sequence[Any]) -> bool:
    try:
        documents = load(text.encode(), BLOCK)
    except (YamlError, UnicodeEncodeError):
        return False
    read = [document.value for document in documents]
    return read == list(expected) and _types(read) == _types(list(expected))


def _types(tree: Any) -> Any:
    """What `==` takes for the same and YAML does not: true and 1."""
    if isinstance(tree, dict):
        return {key: _types(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_types(item) for item in tree]
    return bool if isinstance(tree, bool) else int if isinstance(tree, float) else type(tree)


def scalar(plain: Plain, outer: int, inner: int, *, flow: bool) -> str:
    """One value as go-yaml writes it; in what begins at the column `outer`, lines of a block begin at `inner`."""
    match plain:
        case None:
            return "null"
        case bool():
            return "true" if plain else "false"
        case int():
            return str(plain)
        case float():
            return _float(plain)
        case Moment():
            return plain.text
    text = str(plain)
    if _SIMPLE.fullmatch(text) and text.lower() not in _WORDS:
        return text
    style: str | None = '"'
    if "\n" in text:
        style = style if flow else "|"
    elif _reads_plain(text):
        style = None
    mapping = (
        StreamStartEvent(),
        DocumentStartEvent(explicit=False),
        MappingStartEvent(None, None, implicit=True, flow_style=flow),
        ScalarEvent(None, None, (True, True), "k"),
        ScalarEvent(None, None, (True, True), text, style=style),
        MappingEndEvent(),
        DocumentEndEvent(explicit=False),
        StreamEndEvent(),
    )
    try:
        written = yaml.emit(mapping, Dumper=CEmitter, indent=_INDENT, width=_WIDE, allow_unicode=True)
    except (yaml.YAMLError, UnicodeEncodeError):
        raise Damaged("a value in it is not UTF-8, which YAML cannot carry") from None
    if flow:
        return str(written).strip().removeprefix("{k: ").removesuffix("}")
    first, *rest = str(written).removeprefix("k: ").removesuffix("...\n").removesuffix("\n").split("\n")
    if rest:
        first = first.replace(str(_INDENT), str(inner - outer))  # the hint where the first line begins with a space
    return "\n".join([first, *(" " * inner + line[_INDENT:] if line else "" for line in rest)])


def _reads_plain(text: str) -> bool:
    """Whether `text`, unquoted, would be read as that text, by the rules of YAML 1.1 too."""
    if text in _OLD_BOOLEANS or (":" in text and text[:1] in _SIGNS):
        return False
    if len(text) >= _TIME_LIKE and text[:4].isdecimal() and text[4] == "-":
        return False
    try:
        return resolve(text, "kustomize") == text
    except ScalarError:
        return False


def _float(number: float) -> str:
    text = repr(number)
    if "e" not in text:
        return decimal(number)
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+03d}"


def block_of(document: Document) -> Mapping[str, Any] | None:
    """The sops block, if there is one."""
    return document.block if isinstance(document.block, dict) else None
