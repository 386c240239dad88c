"""The events that a YAML text is made of, by libyaml, with the limits that hold while they are read.

Nothing is resolved: what a text is made of is compared before and after an edit, and there a value is its text, and an
alias an alias.
"""

from collections.abc import Iterator
from typing import Any, Final

from yaml import YAMLError
from yaml._yaml import CParser
from yaml.error import MarkedYAMLError
from yaml.events import (
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from trimtab.manifests.builder import MAX_DEPTH, MAX_DOCUMENTS

MAX_EVENTS: Final = 500_000
"""Of a file; each costs half a kilobyte while a file is edited. A hundred thousand lines are less than half of it."""
PLAIN: Final = ""
_ENDS: Final = (MappingEndEvent, SequenceEndEvent)


class Unreadable(ValueError):
    """A text that is no YAML, or too much of it. `line` counts from 1; 0 where it is not known."""

    def __init__(self, line: int, cause: str) -> None:
        super().__init__(cause)
        self.line = line


def events(text: str) -> Iterator[Any]:
    """All events of `text`, which has no byte order mark. Raises Unreadable."""
    try:
        parser: Any = CParser(text)
        try:
            yield from _bounded(parser)
        finally:
            parser.dispose()
    except MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        said = error.problem or error.context
        raise Unreadable(mark.line + 1 if mark else 0, f"is no YAML, perhaps a template ({said})") from None
    except (YAMLError, UnicodeEncodeError):
        raise Unreadable(0, "is no YAML: it has characters that may not be in one") from None


def signature(event: Any) -> tuple[Any, ...]:
    """What an event says, wherever it stands."""
    kind = type(event)
    if kind is ScalarEvent:
        return (kind, event.anchor, event.tag, event.value, event.style or PLAIN)
    if kind is MappingStartEvent or kind is SequenceStartEvent:
        return (kind, event.anchor, event.tag, event.flow_style)
    if kind is DocumentStartEvent:
        return (kind, event.explicit, event.version)
    return (kind, getattr(event, "anchor", None))


def _bounded(parser: Any) -> Iterator[Any]:
    count = depth = documents = 0
    while (event := parser.get_event()) is not None:
        kind = type(event)
        count += 1
        if count > MAX_EVENTS:
            raise Unreadable(event.start_mark.line + 1, f"has more than {MAX_EVENTS:,} values, keys and ends of lists")
        if kind is MappingStartEvent or kind is SequenceStartEvent:
            depth += 1
            if depth > MAX_DEPTH:
                raise Unreadable(event.start_mark.line + 1, f"is more than {MAX_DEPTH} levels deep")
        elif kind in _ENDS:
            depth -= 1
        elif kind is DocumentStartEvent:
            documents += 1
            if documents > MAX_DOCUMENTS:
                raise Unreadable(event.start_mark.line + 1, f"has more than {MAX_DOCUMENTS:,} documents")
        yield event
