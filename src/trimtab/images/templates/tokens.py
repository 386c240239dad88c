"""A template cut up: texts, and actions as the words they are made of."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from trimtab.images.templates.errors import TemplateError

_OPEN: Final = "{{"
_BLANK: Final = " \t\r\n"
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_WORD = re.compile(
    r"(?P<string>\"(?:[^\"\\\n]|\\.)*\")"
    r"|(?P<raw>`[^`]*`)"
    r"|(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?))(?![\w.])"
    r"|(?P<field>\.[^\W\d]\w*)"
    r"|(?P<variable>\$\w*)"
    r"|(?P<name>[^\W\d]\w*)"
    r"|(?P<sign>:=|=|\||\(|\)|,|\.)"
)
_SHOWN: Final = 20


class Word(NamedTuple):
    """One word of an action. `joined`: nothing stands between it and the word before."""

    kind: str
    text: str
    line: int
    joined: bool


class Copied(NamedTuple):
    """A text outside of actions."""

    text: str


class Asked(NamedTuple):
    """An action: its words, and the line it begins at."""

    line: int
    words: tuple[Word, ...]


Piece: TypeAlias = Copied | Asked


def pieces(template: str) -> Iterator[Piece]:
    """Texts and actions in their order. Raises TemplateError."""
    at, line, trims = 0, 1, False
    while True:
        start = template.find(_OPEN, at)
        text = template[at : start if start >= 0 else len(template)]
        here = line + text.count("\n")
        if trims:
            text = text.lstrip(_BLANK)
        if start < 0:
            if text:
                yield Copied(text)
            return
        inside = start + len(_OPEN)
        if template[inside : inside + 1] == "-" and template[inside + 1 : inside + 2] in tuple(_BLANK):
            text = text.rstrip(_BLANK)
            inside += 1
        if text:
            yield Copied(text)
        words, end, trims = _action(template, inside, here)
        if words:
            yield Asked(here, words)
        line = here + template.count("\n", start, end)
        at = end


def _action(template: str, at: int, opened: int) -> tuple[tuple[Word, ...], int, bool]:
    """The words of an action that begins at `at`, where it ends, and whether it takes the blanks behind it along."""
    line, words, joined = opened, list[Word](), False
    while True:
        begin = at
        while template[at : at + 1] in tuple(_BLANK):
            line += template[at] == "\n"
            at += 1
        blank = at > begin
        if template.startswith("}}", at):
            return tuple(words), at + 2, False
        if blank and template.startswith("-}}", at):
            return tuple(words), at + 3, True
        if not words and (comment := _COMMENT.match(template, at)):
            line += comment[0].count("\n")
            at = comment.end()
            continue
        found = _WORD.match(template, at)
        if found is None or found.lastgroup is None:
            if at >= len(template):
                raise TemplateError(opened, "the action that begins here is not closed: }} is missing")
            raise TemplateError(line, f"{template[at : at + _SHOWN].splitlines()[0]!a} is not understood in an action")
        words.append(Word(found.lastgroup, found[0], line, joined and not blank))
        line += found[0].count("\n")
        at, joined = found.end(), True
