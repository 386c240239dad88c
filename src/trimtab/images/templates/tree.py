"""A template as it was understood: texts, actions and blocks."""

from typing import Any, NamedTuple, TypeAlias


class Dot(NamedTuple):
    """`.`, or `.Field.Field`: what the block is about, or a part of it."""

    line: int
    fields: tuple[str, ...]


class Variable(NamedTuple):
    """`$name`, or `$name.Field`; `$` alone is all of the data."""

    line: int
    name: str
    fields: tuple[str, ...]


class Literal(NamedTuple):
    """A text, a number, true, false or nil."""

    line: int
    value: Any


class Function(NamedTuple):
    """The name of a function."""

    line: int
    name: str


class Group(NamedTuple):
    """A pipeline in parentheses, and fields of what it gives."""

    line: int
    pipe: "Pipe"
    fields: tuple[str, ...]


Operand: TypeAlias = Dot | Variable | Literal | Function | Group


class Command(NamedTuple):
    """One step of a pipeline: a value, or a function and what it gets."""

    line: int
    operands: tuple[Operand, ...]


class Pipe(NamedTuple):
    """Steps, each of which gets what the one before gave. `declares` are variables; `anew` says with `:=`."""

    line: int
    declares: tuple[str, ...]
    anew: bool
    commands: tuple[Command, ...]


class Text(NamedTuple):
    """What is copied."""

    text: str


class Action(NamedTuple):
    """A pipeline whose value is printed, if it does not go into a variable."""

    pipe: Pipe


class If(NamedTuple):
    """`if` or, with `narrows`, `with`: there the block is about the value."""

    pipe: Pipe
    narrows: bool
    body: "Block"
    otherwise: "Block"


class Range(NamedTuple):
    """Once for each item; `otherwise` where there is none."""

    pipe: Pipe
    body: "Block"
    otherwise: "Block"


class Leave(NamedTuple):
    """`break`, or `continue` where it goes `on` with the next item."""

    line: int
    on: bool


Node: TypeAlias = Text | Action | If | Range | Leave
Block: TypeAlias = tuple[Node, ...]
