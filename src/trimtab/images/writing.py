"""One value in the place of another, in the style that the old one has.

Quotes stay. What is written without them gets them only if it would be read as something else: `newTag: 1.9` becomes
`newTag: "1.10"`, since 1.10 without quotes is the number 1.1.
"""

import json
import re
from typing import Final

from trimtab.images.nodes import Scalar
from trimtab.manifests.scalars import ScalarError, resolve

_PLAIN = re.compile(r"[A-Za-z0-9._/][A-Za-z0-9._/:@-]*(?<!:)", re.ASCII)
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?", re.ASCII)
_OLD_NUMBER = re.compile(
    r"[-+]?(?:0b[01_]+|0[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*|[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9_]+)"
)
_BREAKS: Final = "\n\r\x85\u2028\u2029"
_TEXT_TAGS: Final = (None, "!", "tag:yaml.org,2002:str")


class Unwritable(ValueError):
    """A value that cannot be replaced where it stands; the message says why, and the way out."""


def is_text(written: str) -> bool:
    """Whether `written`, without quotes, is read as that text by everybody: by go-yaml 2 and 3, and as YAML 1.1."""
    if not _PLAIN.fullmatch(written) or written.startswith("..."):
        return False
    if _SEXAGESIMAL.fullmatch(written) or _OLD_NUMBER.fullmatch(written):
        return False
    try:
        return resolve(written, "kustomize") == written == resolve(written, "kubernetes")
    except ScalarError:
        return False


def replacement(text: str, old: Scalar, new: str) -> tuple[int, int, str]:
    """What is put where in `text` to make `old` read `new`. Raises Unwritable."""
    if old.tag not in _TEXT_TAGS:
        raise Unwritable("has a tag that makes it something else than a text; remove the tag")
    if old.block:
        return _in_block(text, old, new)
    match old.style:
        case "'":
            written = "'" + new.replace("'", "''") + "'"
        case '"':
            written = json.dumps(new)
        case _:
            written = new if is_text(new) else json.dumps(new)
    if old.empty and text[old.start - 1 : old.start].strip():
        written = " " + written  # an empty value begins right behind its colon
    return old.start, old.end, written


def _in_block(text: str, old: Scalar, new: str) -> tuple[int, int, str]:
    """The one line of a block of text. More lines are no image, and a line break at the end is none either."""
    advice = "write it on the line of its key, or with |- as a single line"
    lines: list[tuple[int, int]] = []
    at = old.start
    for piece in re.split(f"(?<=[{_BREAKS}])", text[old.start : old.end]):
        content = piece.strip(" \t" + _BREAKS)
        if content and at > old.start:
            begin = at + len(piece) - len(piece.lstrip(" \t"))
            lines.append((begin, begin + len(content)))
        at += len(piece)
    if len(lines) != 1 or old.value != text[lines[0][0] : lines[0][1]]:
        raise Unwritable(f"is a block of text that is not just an image; {advice}")
    return (*lines[0], new)
