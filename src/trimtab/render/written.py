"""One text as kustomize's serialiser writes it: plain, quoted or as a block. Pure.

Substitution happens in what was written, so what a value may do depends on it: in `port: ${PORT}` the text is plain and
9797 becomes a number; in `'at: ${PORT}'` it is quoted and stays a text. The rules are those of go-yaml v2, which writes
an object after kustomize has built it. One thing is left out: long lines are not folded at column 80, where an
expression that holds a blank would come apart.

Only for texts with a dollar sign: what could be taken for a number or a boolean is not asked here.
"""

import re
from typing import Final

LONGEST_SIMPLE_KEY: Final = 128
"""Bytes; a longer key is written behind a question mark."""

_SPECIAL = re.compile("[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
"""What only double quotes can carry. Everything beyond U+FFFF is among it: so it is there."""
_INDICATOR = re.compile(r"---|\.\.\.|[#,\[\]{}&*!|>'\"%@`]|[?:-](?:[ ]|$)")
"""What makes a plain text something else, at its beginning."""
_WITHIN = re.compile(r":(?:[ ]|$)|[ ]#")
_ESCAPES: Final = {
    "\0": "0",
    "\a": "a",
    "\b": "b",
    "\t": "t",
    "\n": "n",
    "\v": "v",
    "\f": "f",
    "\r": "r",
    "\x1b": "e",
    '"': '"',
    "\\": "\\",
    "\x85": "N",
    "\u2028": "L",
    "\u2029": "P",
}
_TO_ESCAPE = re.compile('[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]|["\\\\]')


def value(text: str, indent: str = "  ") -> str:
    """`text` as the value of a key or the item of a list; the lines of a block begin with `indent`."""
    if "\n" not in text:
        return _on_one_line(text)
    if text.endswith(" ") or " \n" in text or _SPECIAL.search(text):
        return _double_quoted(text)
    lines = "\n".join(indent + line if line else "" for line in text.split("\n"))
    return f"|{_hints(text)}\n{lines}"


def key(text: str) -> str:
    """`text` as a key, with the question mark where it needs one, without the colon."""
    written = _double_quoted(text) if "\n" in text else _on_one_line(text)
    return f"? {written}\n" if "\n" in text or len(text.encode()) > LONGEST_SIMPLE_KEY else written


def _on_one_line(text: str) -> str:
    if _SPECIAL.search(text):
        return _double_quoted(text)
    if text.strip(" ") != text or _INDICATOR.match(text) or _WITHIN.search(text):
        return "'" + text.replace("'", "''") + "'"
    return text


def _double_quoted(text: str) -> str:
    return f'"{_TO_ESCAPE.sub(_escaped, text)}"'


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    if short := _ESCAPES.get(character):
        return "\\" + short
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def _hints(text: str) -> str:
    hints = "2" if text[0] in " \n" else ""
    if not text.endswith("\n"):
        return hints + "-"
    return hints + "+" if text == "\n" or text.endswith("\n\n") else hints
