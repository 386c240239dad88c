"""What kustomize makes of folded scalars (`>`), which is not always what was written.

kustomize reads a resource, writes it again with go-yaml, and reads that. go-yaml's writer does not keep every folded
scalar: a line that is indented further, or a run of empty lines at the end, gains an empty line. As this is what has
been applied to every cluster so far, it is what we read as well.
"""

from typing import Any, Final

from yaml._yaml import CParser
from yaml.events import ScalarEvent

_INDENT: Final = "  "
_BREAKS: Final = "\n\r\x85\u2028\u2029"
_BLANKS: Final = " \t"


def refolded(text: str) -> str:
    """The value of a folded scalar after go-yaml has written it and read it again."""
    if "\n" not in text or not _stays_a_block(text):
        return text
    return _read(_written(text))


def _stays_a_block(text: str) -> bool:
    """The writer falls back to quotes, which keep everything, where a block could not hold the text."""
    return not text.endswith(" ") and " \n" not in text and all(char.isprintable() or char in "\n\t" for char in text)


def _written(text: str) -> str:
    hint = "2" if text[0] == " " or text[0] in _BREAKS else ""
    if text[-1] not in _BREAKS:
        hint += "-"
    elif len(text) == 1 or text[-2] in _BREAKS:
        hint += "+"
    # The writer means to look behind the break at hand, and looks at the start of the text.
    opens_blank = text.lstrip(_BREAKS)[:1] in ("", *_BLANKS)
    lines = [f"k: >{hint}\n"]
    breaks = leading = True
    for char in text:
        if char in _BREAKS:
            if not breaks and not leading and char == "\n" and not opens_blank:
                lines.append("\n")
            lines.append(char)
            breaks = True
            continue
        if breaks:
            lines.append(_INDENT)
            leading = char in _BLANKS
        lines.append(char)
        breaks = False
    return "".join(lines)


def _read(document: str) -> str:
    parser = CParser(document)
    scalars: list[str] = []
    try:
        while event := _next(parser):
            if isinstance(event, ScalarEvent):
                scalars.append(event.value)
    finally:
        parser.dispose()
    return scalars[1]


def _next(parser: CParser) -> Any:
    return parser.get_event()
