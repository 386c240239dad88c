"""From words to a tree. What a template asks for that is not there is found here, before anything is run."""

import difflib
import re
from collections.abc import Collection, Iterator
from typing import Any, Final

from trimtab.images.templates.errors import TemplateError
from trimtab.images.templates.tokens import Asked, Copied, Piece, Word, pieces
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
    Node,
    Operand,
    Pipe,
    Range,
    Text,
    Variable,
)

LONGEST: Final = 64 << 10
_DEEPEST: Final = 50
_MOST_OPERANDS: Final = 64
_CONSTANTS: Final[dict[str, Any]] = {"true": True, "false": False, "nil": None}
_BLOCKS: Final = ("if", "with", "range")
_UNSERVED: Final = ("define", "template", "block")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))")
_SIMPLE: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def parse(template: str, functions: Collection[str]) -> Block:
    """The tree of `template`, which may call `functions`. Raises TemplateError."""
    if len(template) > LONGEST:
        raise TemplateError(1, f"the template has more than {LONGEST:,} characters")
    return _Parser(pieces(template), functions).whole()


class _Parser:
    def __init__(self, found: Iterator[Piece], functions: Collection[str]) -> None:
        self._pieces = found
        self._functions = functions
        self._known = ["$"]
        self._depth = 0
        self._loops = 0

    def whole(self) -> Block:
        body, end = self._block(1)
        if end is not None:
            raise TemplateError(end.line, f"{{{{{end.words[0].text}}}}} has nothing that it ends")
        return body

    def _block(self, opened: int) -> tuple[Block, Asked | None]:
        """What stands up to `end` or `else`, which comes with it; None is the end of the template."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise TemplateError(opened, f"blocks are nested more than {_DEEPEST} deep")
        known, nodes = len(self._known), list[Node]()
        end = None
        for piece in self._pieces:
            if isinstance(piece, Copied):
                nodes.append(Text(piece.text))
                continue
            if piece.words[0].text in ("end", "else"):
                end = piece
                break
            nodes.append(self._node(piece))
        del self._known[known:]
        self._depth -= 1
        return tuple(nodes), end

    def _node(self, asked: Asked) -> Node:
        head = asked.words[0]
        if head.kind == "name" and head.text in _UNSERVED:
            raise TemplateError(head.line, f"{{{{{head.text}}}}} is not served here: write the text in its place")
        if head.kind == "name" and head.text in ("break", "continue"):
            if len(asked.words) > 1 or not self._loops:
                raise TemplateError(head.line, f"{{{{{head.text}}}}} belongs into a range, alone")
            return Leave(head.line, head.text == "continue")
        if head.kind == "name" and head.text in _BLOCKS:
            return self._branch(head, asked.words[1:])
        return Action(_Line(self, asked.line, asked.words).pipe())

    def _branch(self, head: Word, words: tuple[Word, ...]) -> Node:
        known = len(self._known)
        pipe = _Line(self, head.line, words, ranges=head.text == "range").pipe()
        self._loops += head.text == "range"
        body, end = self._block(head.line)
        self._loops -= head.text == "range"
        otherwise: Block = ()
        if end is not None and end.words[0].text == "else":
            otherwise, end = self._otherwise(head, end)
        if end is None:
            raise TemplateError(head.line, f"{{{{{head.text}}}}} has no {{{{end}}}}")
        if len(end.words) > 1:
            raise TemplateError(end.line, "nothing belongs behind end")
        del self._known[known:]
        if head.text == "range":
            return Range(pipe, body, otherwise)
        return If(pipe, head.text == "with", body, otherwise)

    def _otherwise(self, head: Word, asked: Asked) -> tuple[Block, Asked | None]:
        if len(asked.words) == 1:
            body, end = self._block(asked.line)
            if end is not None and end.words[0].text == "else":
                raise TemplateError(end.line, f"a second {{{{else}}}} of the {head.text} at line {head.line}")
            return body, end
        again = asked.words[1]
        if again.text != head.text or again.text == "range":
            raise TemplateError(again.line, f"{again.text[:20]!a} does not belong behind else here")
        # `else if` is an if inside, and both have the one end
        known = len(self._known)
        pipe = _Line(self, again.line, asked.words[2:]).pipe()
        body, end = self._block(again.line)
        inner: Block = ()
        if end is not None and end.words[0].text == "else":
            inner, end = self._otherwise(again, end)
        del self._known[known:]
        return (If(pipe, again.text == "with", body, inner),), end

    def declare(self, name: str) -> None:
        self._known.append(name)

    def check_variable(self, word: Word) -> None:
        if word.text not in self._known:
            raise TemplateError(word.line, f"there is no variable {word.text} here")

    def check_function(self, word: Word) -> None:
        if word.text not in self._functions:
            raise TemplateError(word.line, f"there is no function {word.text[:40]!a}{near(word.text, self._functions)}")


class _Line:
    """The words of one action, read from left to right."""

    def __init__(self, parser: _Parser, line: int, words: tuple[Word, ...], *, ranges: bool = False) -> None:
        self._parser = parser
        self._line = line
        self._words = words
        self._ranges = ranges
        self._at = 0
        self._depth = 0

    def pipe(self) -> Pipe:
        """The one pipeline that the action is."""
        found = self._pipe()
        if (word := self._next()) is not None:
            raise TemplateError(word.line, f"{word.text[:20]!a} does not belong here")
        return found

    def _next(self) -> Word | None:
        return self._words[self._at] if self._at < len(self._words) else None

    def _pipe(self) -> Pipe:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise TemplateError(self._line, f"parentheses are nested more than {_DEEPEST} deep")
        declares, anew = self._declaration()
        commands = [self._command()]
        while (word := self._next()) is not None and word.text == "|":
            self._at += 1
            commands.append(self._command())
            if not isinstance(commands[-1].operands[0], Function):
                raise TemplateError(word.line, "what stands behind | has to be a function")
        if anew:
            for name in declares:
                self._parser.declare(name)
        self._depth -= 1
        return Pipe(self._line, declares, anew, tuple(commands))

    def _declaration(self) -> tuple[tuple[str, ...], bool]:
        words = self._words[self._at : self._at + 4]
        if self._depth > 1 or not words or words[0].kind != "variable":
            return (), False
        count = 2 if len(words) > 3 and (words[1].text, words[2].kind) == (",", "variable") else 1
        sign = words[2 * count - 1].text if len(words) >= 2 * count else ""
        if sign not in (":=", "="):
            if count > 1:
                raise TemplateError(words[1].line, "a comma does not belong here")
            return (), False
        if count > 1 and not self._ranges:
            raise TemplateError(words[0].line, "two variables get a value in a range only")
        self._at += 2 * count
        names = tuple(word.text for word in words[: 2 * count : 2])
        if sign == "=":
            for word in words[: 2 * count : 2]:
                self._parser.check_variable(word)
        return names, sign == ":="

    def _command(self) -> Command:
        operands: list[Operand] = []
        while (word := self._next()) is not None and word.text not in ("|", ")"):
            operands.append(self._operand(word))
        if not operands:
            raise TemplateError(self._line, "a value is missing")
        head = operands[0]
        if len(operands) > _MOST_OPERANDS:
            raise TemplateError(head.line, f"a function gets {_MOST_OPERANDS - 1} values at most")
        if len(operands) > 1 and not isinstance(head, Function):
            raise TemplateError(head.line, "a value is followed by another: only functions get something")
        return Command(head.line, tuple(operands))

    def _operand(self, word: Word) -> Operand:
        self._at += 1
        match word.kind:
            case "field":
                return Dot(word.line, (word.text[1:], *self._fields()))
            case "variable":
                self._parser.check_variable(word)
                return Variable(word.line, word.text, self._fields())
            case "string" | "raw" | "number":
                return Literal(word.line, _value(word))
            case "name" if word.text in _CONSTANTS:
                return Literal(word.line, _CONSTANTS[word.text])
            case "name":
                self._parser.check_function(word)
                return Function(word.line, word.text)
        if word.text == ".":
            return Dot(word.line, ())
        if word.text != "(":
            raise TemplateError(word.line, f"{word.text!a} does not belong here")
        inner = self._pipe()
        end = self._next()
        if end is None or end.text != ")":
            raise TemplateError(word.line, "a parenthesis is not closed")
        self._at += 1
        return Group(word.line, inner, self._fields())

    def _fields(self) -> tuple[str, ...]:
        """The fields that follow without a blank."""
        found: list[str] = []
        while (word := self._next()) is not None and word.kind == "field" and word.joined:
            found.append(word.text[1:])
            self._at += 1
        return tuple(found)


def near(name: str, known: Collection[str]) -> str:
    """What may have been meant, in words."""
    hermetic = "; the time, chance and the environment are not looked at"
    if name in ("now", "date", "env", "expandenv", "uuidv4") or name.startswith("rand"):
        return hermetic
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f": is {close[0]} meant?" if close else ""


def _value(word: Word) -> Any:
    if word.kind == "raw":
        return word.text[1:-1].replace("\r", "")
    if word.kind == "string":
        return _ESCAPE.sub(lambda found: _unescaped(word, found), word.text[1:-1])
    if "." in word.text:
        return float(word.text)
    if len(word.text) > _DEEPEST:
        raise TemplateError(word.line, "a number with too many digits")
    return int(word.text, 16 if "x" in word.text.lower() else 10)


def _unescaped(word: Word, found: "re.Match[str]") -> str:
    digits = found[1] or found[2] or found[3]
    number = int(digits, 16) if digits else int(found[4], 8) if found[4] else -1
    if 0 <= number < 0x110000 and not 0xD800 <= number < 0xE000:
        return chr(number)
    if number < 0 and found[5] in _SIMPLE:
        return _SIMPLE[found[5]]
    raise TemplateError(word.line, f"{found[0]!a} is no escape in a text")
