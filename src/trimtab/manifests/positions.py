"""The line at which a part of a document is written: looked for when there is something to say about it. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from yaml._yaml import CParser
from yaml.error import YAMLError
from yaml.events import (
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from trimtab.manifests.pointers import Part

_BOM: Final = b"\xef\xbb\xbf"
_OPENING: Final = (MappingStartEvent, SequenceStartEvent)
_CLOSING: Final = (MappingEndEvent, SequenceEndEvent)


def line_of(data: bytes, document: int, path: Sequence[Part]) -> int:
    """The line (from 1) of `path` in a document (from 1) of a stream: of the nearest part above it that is written.

    0 where there is no such document. What came by an alias or a merge is found at the part it came into.
    """
    parser = CParser(data.removeprefix(_BOM))
    try:
        return _Walk(parser).find(document, path)
    except YAMLError:
        return 0
    finally:
        parser.dispose()


class _Walk:
    def __init__(self, parser: CParser) -> None:
        self._next: Any = parser.get_event

    def find(self, document: int, path: Sequence[Part]) -> int:
        while document:
            event = self._next()
            if type(event) is StreamEndEvent:
                return 0
            document -= type(event) is DocumentStartEvent
        event = self._next()
        line: int = _line(event)
        for part in path:
            found = self._enter(event, part)
            if found is None:
                break
            line, event = found
        return line + 1

    def _enter(self, opened: Any, part: Part) -> tuple[int, Any] | None:
        """The line of `part` of the collection that has just begun, and the event its value begins with."""
        if type(opened) is MappingStartEvent and isinstance(part, str):
            while type(key := self._next()) is not MappingEndEvent:
                self._skip(key)
                value = self._next()
                if type(key) is ScalarEvent and key.value == part:
                    return _line(key), value
                self._skip(value)
        elif type(opened) is SequenceStartEvent and isinstance(part, int):
            index = 0
            while type(item := self._next()) is not SequenceEndEvent:
                if index == part:
                    return _line(item), item
                self._skip(item)
                index += 1
        return None

    def _skip(self, event: Any) -> None:
        depth = int(type(event) in _OPENING)
        while depth:
            kind = type(self._next())
            depth += (kind in _OPENING) - (kind in _CLOSING)


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line
