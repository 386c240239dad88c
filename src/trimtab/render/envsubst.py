"""Expressions of the shell in a text: `${NAME}`, defaults, pieces, replacements, as Flux understands them. Pure.

    ${NAME}                 the value              ${#NAME}             its length in bytes
    ${NAME:-word}           the value, else `word`; `:=`, `=`, `:+` and `:?` mean the same here
    ${NAME:2} ${NAME:2:3}   a piece of it, counted in bytes; a negative number counts from the end
    ${NAME^} ${NAME^^}      upper case: the first letter, all       ${NAME,} ${NAME,,}   lower case
    ${NAME#p} ${NAME##p}    without the shortest, the longest beginning that matches the pattern `p`
    ${NAME%p} ${NAME%%p}    the same for the end
    ${NAME/a/b} ${NAME//a/b} ${NAME/#a/b} ${NAME/%a/b}   `b` for the first `a`, every, at the beginning, at the end
    $$                      a dollar sign: `$${NAME}` stays `${NAME}`

Words, patterns and replacements may hold expressions. A value is never looked at for expressions, so nothing grows by
itself; what does grow, a text that names a long value often, is bounded by a budget.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from trimtab.render import operators
from trimtab.render.operators import Bad, Budget

MAX_DEPTH: Final = 32
"""Expressions within expressions."""
_DEFAULTS: Final = frozenset({"=", ":=", ":-", ":?", ":+"})
"""Operators for which a variable that is not set is no mistake."""


class ExpressionError(ValueError):
    """What is wrong with an expression, at which place of the text. It never holds a value.

    `unset` is the variable that is not set, where that is what is wrong.
    """

    def __init__(self, position: int, cause: str, *, unset: str = "") -> None:
        super().__init__(cause)
        self.position = position
        self.unset = unset


@dataclass(frozen=True, slots=True)
class Call:
    """One expression: what is done with the value of `name`. Each argument is a row of texts and expressions."""

    position: int
    name: str
    operator: str = ""
    arguments: tuple["Row", ...] = ()


Row: TypeAlias = tuple["str | Call", ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A text that was understood."""

    parts: Row

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of all variables in it, each once."""
        return tuple(dict.fromkeys(call.name for call in _calls(self.parts)))

    def expand(self, values: Mapping[str, str], *, strict: bool, budget: Budget | None = None) -> str:
        """The text with the values in it. Without `strict` a variable that is not set is empty.

        Raises ExpressionError for a variable that is not set, and for what takes more than the `budget`.
        """
        return _expanded(self.parts, values, strict, budget or Budget())


def parse(text: str) -> Template:
    """Understand `text`. Raises ExpressionError."""
    reader = _Reader(text)
    return Template(tuple(reader.everything()))


def _calls(parts: Row) -> Iterator[Call]:
    for part in parts:
        if isinstance(part, Call):
            yield part
            for argument in part.arguments:
                yield from _calls(argument)


def _expanded(parts: Row, values: Mapping[str, str], strict: bool, budget: Budget) -> str:
    found: list[str] = []
    for part in parts:
        if isinstance(part, str):
            found.append(part)
            continue
        try:
            found.append(_called(part, values, strict, budget))
            budget.write(len(found[-1]))
        except Bad as failure:
            raise ExpressionError(part.position, str(failure)) from None
    return "".join(found)


def _called(call: Call, values: Mapping[str, str], strict: bool, budget: Budget) -> str:
    # Also a word that is not needed is worked out, and what is not set in it is a mistake: so it is in Flux.
    arguments = [_expanded(argument, values, strict, budget) for argument in call.arguments]
    value = values.get(call.name)
    if value is None:
        if strict and call.operator not in _DEFAULTS:
            raise ExpressionError(call.position, f"variable not set: {call.name}", unset=call.name)
        value = ""
    return operators.apply(call.operator, value, arguments, budget)


def _names(character: str) -> bool:
    return character == "_" or character.isalpha() or character.isdecimal()


class _Reader:
    """Reads a text from left to right. Every method leaves `_at` behind what it has read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def everything(self) -> Iterator[str | Call]:
        """Texts and expressions by turns; `$$` is one dollar sign, and every other dollar stays as it is."""
        text, start = self._text, 0
        while (dollar := text.find("$", self._at)) >= 0:
            match text[dollar + 1 : dollar + 2]:
                case "$":
                    yield text[start : dollar + 1]
                    start = self._at = dollar + 2
                case "{":
                    yield text[start:dollar]
                    self._at = dollar + 2
                    yield self._call(dollar)
                    start = self._at
                case _:
                    self._at = dollar + 1
        yield text[start:]

    def _call(self, position: int) -> Call:
        """What stands behind `${`, and the brace that closes it."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(position, f"more than {MAX_DEPTH} expressions within each other")
        call = self._operation(position)
        if not self._take("}"):
            raise self._wrong(position, "missing closing brace")
        self._depth -= 1
        return call

    def _operation(self, position: int) -> Call:
        if self._take("#"):
            return Call(position, self._name(position), "#")
        name = self._name(position)
        match self._peek():
            case ":" if self._text[self._at + 1 : self._at + 2] in ("=", "-", "?", "+"):
                return Call(position, name, self._take_most("", 2), (self._word(position),))
            case "=":
                return Call(position, name, self._take_most("", 1), (self._word(position),))
            case ":":
                return self._piece(position, name)
            case "," | "^":
                return Call(position, name, self._take_most(",^", 2))
            case "/":
                return self._replacement(position, name)
            case "#" | "%" as sign:
                operator = self._take_most(sign, 2)
                return Call(position, name, operator, (self._argument(position, "}"),))
        return Call(position, name)

    def _name(self, position: int) -> str:
        start = self._at
        while _names(self._peek() or " "):
            self._at += 1
        if start == self._at:
            raise self._wrong(position, "bad substitution: the name of a variable has to follow ${")
        return self._text[start : self._at]

    def _word(self, position: int) -> Row:
        """Everything up to the closing brace, expressions among it."""
        parts: list[str | Call] = []
        while self._peek() != "}":
            parts += self._argument(position, "}")
        return tuple(parts)

    def _piece(self, position: int, name: str) -> Call:
        self._at += 1
        offset = self._argument(position, ":}")
        if not self._take_most(":", len(self._text)):
            return Call(position, name, ":", (offset,))
        return Call(position, name, ":", (offset, self._argument(position, "}")))

    def _replacement(self, position: int, name: str) -> Call:
        self._at += 1
        operator = "/" + (self._take_most(self._peek(), 1) if self._peek() in ("/", "#", "%") else "")
        # A pattern ends at the slash alone, whatever braces are in it.
        pattern: Row = ("",) if self._peek() == "/" else self._argument(position, "/", escapes=True)
        if not self._take_most("/", len(self._text)):
            raise self._wrong(position, "bad substitution: a / has to follow the pattern")
        if self._peek() == "}":
            return Call(position, name, operator, (pattern,))
        return Call(position, name, operator, (pattern, self._argument(position, "}", escapes=True)))

    def _argument(self, position: int, ends: str, *, escapes: bool = False) -> Row:
        """One expression, or a text up to a character of `ends` or the next expression; empty is a mistake.

        With `escapes`, `\\/` and `\\\\` are the character behind the backslash, and `$$` is one dollar sign.
        """
        if self._text.startswith("${", self._at):
            start, self._at = self._at, self._at + 2
            return (self._call(start),)
        found: list[str] = []
        while (character := self._peek()) and not self._text.startswith("${", self._at):
            pair = self._text[self._at : self._at + 2]
            if escapes and pair in ("$$", "\\/", "\\\\"):
                found.append(pair[1])
                self._at += 2
            elif character in ends:
                break
            else:
                found.append(character)
                self._at += 1
        if not found:
            raise self._wrong(position, "bad substitution: something is missing behind the operator")
        return ("".join(found),)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._at += 1
        return True

    def _take_most(self, characters: str, most: int) -> str:
        """As many of `characters` as there are, at most so many; any, where none are named."""
        start = self._at
        while self._at - start < most and (one := self._peek()) and (not characters or one in characters):
            self._at += 1
        return self._text[start : self._at]

    def _wrong(self, position: int, cause: str) -> ExpressionError:
        if self._at >= len(self._text):
            cause = "missing closing brace"
        return ExpressionError(position, f"{cause} ($${{…}} keeps a ${{…}} that is not meant for us)")
