"""A template at work: over data, within bounds of steps and of what it makes."""

from collections.abc import Mapping
from typing import Any, Final

from trimtab.images.templates.errors import TemplateError
from trimtab.images.templates.functions import FUNCTIONS
from trimtab.images.templates.parse import near
from trimtab.images.templates.parse import parse as parse_with
from trimtab.images.templates.tree import (
    Action,
    Block,
    Command,
    Dot,
    Function,
    Group,
    If,
    Leave,
    Literal,
    Operand,
    Pipe,
    Range,
    Text,
    Variable,
)
from trimtab.images.templates.values import LONGEST, Record, in_order, is_true, kind_of, show

MOST_STEPS: Final = 100_000
_PER_STEP: Final = 16
"""Characters, or items of a list, that a function gets for a step: one that gets more takes more steps."""
_LAZY: Final = ("and", "or")
_MISSING: Final = object()


def parse(template: str) -> Block:
    """The tree of `template`. Raises TemplateError."""
    return parse_with(template, (*FUNCTIONS, *_LAZY))


def execute(template: Block, data: Record) -> str:
    """What `template` makes of `data`. Raises TemplateError."""
    run = _Run(data)
    run.block(template, data)
    return "".join(run.made)


class _Left(Exception):
    """A loop is left, or goes on with its next item."""

    def __init__(self, on: bool) -> None:
        super().__init__()
        self.on = on


class _Run:
    def __init__(self, data: Record) -> None:
        self.made: list[str] = []
        self._size = 0
        self._steps = 0
        self._variables: list[tuple[str, Any]] = [("$", data)]

    def block(self, nodes: Block, dot: Any) -> None:
        known = len(self._variables)
        for node in nodes:
            match node:
                case Text(text):
                    self._write(text, 0)
                case Action(pipe):
                    value = self._pipe(pipe, dot)
                    if not pipe.declares:
                        self._write(self._shown(value, pipe.line), pipe.line)
                case If(pipe, narrows, body, otherwise):
                    inside = len(self._variables)
                    value = self._pipe(pipe, dot)
                    if is_true(value):
                        self.block(body, value if narrows else dot)
                    else:
                        self.block(otherwise, dot)
                    del self._variables[inside:]
                case Range():
                    self._range(node, dot)
                case Leave(_, on):
                    raise _Left(on)
        del self._variables[known:]

    def _range(self, node: Range, dot: Any) -> None:
        known = len(self._variables)
        value = self._pipe(node.pipe, dot, assigns=False)
        items = self._items(value, node.pipe.line)
        self._step(node.pipe.line, len(items) // _PER_STEP)
        if not items:
            self.block(node.otherwise, dot)
            return
        names = node.pipe.declares
        for key, item in items:
            self._step(node.pipe.line)
            found = (item,) if len(names) == 1 else (key, item)
            for name, part in zip(names, found, strict=False):
                self._set(name, part, anew=node.pipe.anew)
            try:
                self.block(node.body, item)
            except _Left as left:
                if not left.on:
                    break
            finally:
                del self._variables[known:]

    def _items(self, value: Any, line: int) -> list[tuple[Any, Any]]:
        if value is None:
            return []
        if isinstance(value, Mapping):
            return in_order(value)
        if isinstance(value, int) and not isinstance(value, bool):
            if value > MOST_STEPS:
                raise TemplateError(line, f"a range over {value:,}: more than {MOST_STEPS:,} steps are not made")
            return [(number, number) for number in range(value)]
        if not isinstance(value, tuple | list) or isinstance(value, Record):
            raise TemplateError(line, f"a range goes over lists, maps and numbers, not over {kind_of(value)}")
        return list(enumerate(value))

    def _pipe(self, pipe: Pipe, dot: Any, *, assigns: bool = True) -> Any:
        value: Any = _MISSING
        for command in pipe.commands:
            value = self._command(command, dot, value)
        if assigns:
            for name in pipe.declares:
                self._set(name, value, anew=pipe.anew)
        return value

    def _set(self, name: str, value: Any, *, anew: bool) -> None:
        if anew:
            self._variables.append((name, value))
            return
        for at in range(len(self._variables) - 1, -1, -1):
            if self._variables[at][0] == name:
                self._variables[at] = (name, value)
                return

    def _command(self, command: Command, dot: Any, piped: Any) -> Any:
        self._step(command.line)
        head, *rest = command.operands
        if not isinstance(head, Function):
            return self._operand(head, dot)
        if head.name in _LAZY:
            return self._lazy(head, rest, dot, piped)
        values = [self._operand(operand, dot) for operand in rest]
        return self._call(head, values if piped is _MISSING else [*values, piped])

    def _lazy(self, head: Function, rest: list[Operand], dot: Any, piped: Any) -> Any:
        """The first value that decides, or the last."""
        value: Any = _MISSING
        for operand in rest:
            value = self._operand(operand, dot)
            if is_true(value) is (head.name == "or"):
                return value
        if piped is not _MISSING:
            return piped
        if value is _MISSING:
            raise TemplateError(head.line, f"{head.name}: wants at least one value")
        return value

    def _call(self, head: Function, values: list[Any]) -> Any:
        sizes = (len(value) for value in values if isinstance(value, str | tuple | list | Mapping))
        self._step(head.line, sum(sizes) // _PER_STEP)
        try:
            value = FUNCTIONS[head.name](*values)
        except ValueError as problem:
            raise TemplateError(head.line, f"{head.name}: {problem}") from None
        except TypeError:
            raise TemplateError(head.line, f"{head.name}: does not take {len(values)} values like these") from None
        if isinstance(value, str) and len(value) > LONGEST:
            raise TemplateError(head.line, f"{head.name}: makes more than {LONGEST:,} characters")
        return value

    def _operand(self, operand: Operand, dot: Any) -> Any:
        self._step(operand.line)
        match operand:
            case Literal(_, value):
                return value
            case Dot(line, fields):
                return self._fields(dot, fields, line)
            case Variable(line, name, fields):
                known = next(value for key, value in reversed(self._variables) if key == name)
                return self._fields(known, fields, line)
            case Group(line, pipe, fields):
                return self._fields(self._pipe(pipe, dot), fields, line)
            case Function():
                return self._command(Command(operand.line, (operand,)), dot, _MISSING)

    def _fields(self, value: Any, fields: tuple[str, ...], line: int) -> Any:
        for name in fields:
            match value:
                case Record():
                    try:
                        value = value.field(name)
                    except KeyError:
                        there = f"; there are {', '.join(value.names)}"
                        words = f"a {value.kind} has no {name[:40]!a}{near(name, value.names) or there}"
                        raise TemplateError(line, words) from None
                case Mapping():
                    value = value.get(name)
                case _:
                    raise TemplateError(line, f"{kind_of(value)} has no fields, and so no {name[:40]!a}")
        return value

    def _shown(self, value: Any, line: int) -> str:
        try:
            return show(value)
        except ValueError as problem:
            raise TemplateError(line, str(problem)) from None

    def _step(self, line: int, steps: int = 1) -> None:
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise TemplateError(line, f"more than {MOST_STEPS:,} steps are not made")

    def _write(self, text: str, line: int) -> None:
        self._size += len(text)
        if self._size > LONGEST:
            raise TemplateError(line or 1, f"makes more than {LONGEST:,} characters")
        self.made.append(text)
