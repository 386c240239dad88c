"""XML from outside, read with suspicion: no document types and so no entities, bounded in depth and number. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat  # nothing but the five entities of XML itself is ever expanded, see below

MAX_DEPTH: Final = 16
MAX_ELEMENTS: Final = 100_000


class BadDocument(ValueError):
    """It is not XML, or XML that nobody needs."""


@dataclass(slots=True)
class Element:
    """One element: its name without a namespace, its own text, and what is inside."""

    name: str
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def get(self, name: str) -> str:
        """The text of the first child of that name; empty where there is none."""
        return next((child.text for child in self.children if child.name == name), "")

    def all(self, name: str) -> Iterator["Element"]:
        """All children of that name."""
        return (child for child in self.children if child.name == name)

    def find(self, *path: str) -> "Element | None":
        """The first element down that path."""
        found: Element | None = self
        for name in path:
            found = next(found.all(name), None) if found else None
        return found


def parse(data: bytes) -> Element:
    """The root of the document `data`. Raises BadDocument."""
    reader = _Reader()
    # What the document says of its own encoding is not asked: it would choose a decoder of ours by name.
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(data, True)
    except expat.ExpatError as failure:
        raise BadDocument(f"it is not XML: {failure}") from failure
    if reader.root is None:
        raise BadDocument("it is empty")
    return reader.root


class _Reader:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[tuple[Element, list[str]]] = []
        self._count = 0

    def start(self, name: str, _attributes: object) -> None:
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise BadDocument(f"more than {MAX_ELEMENTS} elements, or more than {MAX_DEPTH} inside one another")
        element = Element(name.rpartition(":")[2])
        if self._open:
            self._open[-1][0].children.append(element)
        else:
            self.root = element
        self._open.append((element, []))

    def end(self, _name: str) -> None:
        element, parts = self._open.pop()
        element.text = "".join(parts)

    def text(self, data: str) -> None:
        if self._open:
            self._open[-1][1].append(data)


def _refuse(*_: object) -> None:
    raise BadDocument("it declares a document type or entities, which no answer needs")
