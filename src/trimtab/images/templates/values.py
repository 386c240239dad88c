"""The values a template works on, and how they look: as Go prints them, because templates are written for that."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

NOTHING: Final = None
"""A key that is not in a map, and nil: it is printed as Go prints it, and counts as empty."""
LONGEST: Final = 64 << 10
"""Characters of every text that a template makes."""
_NO_VALUE: Final = "<no value>"


class Record(NamedTuple):
    """A value with named fields. `shown` is how it is printed, if not as the list of its fields."""

    kind: str
    fields: tuple[tuple[str, Any], ...]
    shown: str = ""

    def field(self, name: str) -> Any:
        """One of the fields. Raises KeyError."""
        for known, value in self.fields:
            if known == name:
                return value
        raise KeyError(name)

    @property
    def names(self) -> list[str]:
        """What the fields are called."""
        return [name for name, _ in self.fields]


def kind_of(value: Any) -> str:
    """What a value is called in messages."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case Record():
            return f"a {value.kind}"
        case Mapping():
            return "a map"
        case _:
            return "a list"


def is_true(value: Any) -> bool:
    """What `if` makes of it: nothing, zero and all that is empty are false."""
    return True if isinstance(value, Record) else bool(value)


def in_order(table: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """A map as Go goes through it: by its keys."""
    return sorted(table.items(), key=lambda pair: pair[0].fields if isinstance(pair[0], Record) else (pair[0],))


def show(value: Any) -> str:
    """As it is printed. Raises ValueError for what would be too long."""
    room, parts = LONGEST, list[str]()
    for part in _parts(value):
        room -= len(part)
        if room < 0:
            raise ValueError(f"makes more than {LONGEST:,} characters")
        parts.append(part)
    return "".join(parts)


def _parts(value: Any) -> Iterator[str]:
    match value:
        case None:
            yield _NO_VALUE
        case bool():
            yield "true" if value else "false"
        case str():
            yield value
        case float():
            yield f"{value:g}"
        case Record() if value.shown:
            yield value.shown
        case Record():
            yield from _listed("{", [part for _, part in value.fields], "}")
        case Mapping():
            yield "map["
            for at, (key, part) in enumerate(in_order(value)):
                yield " " if at else ""
                yield from (*_parts(key), ":", *_parts(part))
            yield "]"
        case tuple() | list():
            yield from _listed("[", value, "]")
        case _:
            yield str(value)


def _listed(begin: str, values: Iterable[Any], end: str) -> Iterator[str]:
    yield begin
    for at, value in enumerate(values):
        yield " " if at else ""
        yield from _parts(value)
    yield end
