"""JSON values as YAML: block style, the order of the keys kept, text that spans lines as a literal block.

What is written here every YAML 1.1 and 1.2 parser reads back as the same value: whatever could be taken for a number,
a date, a boolean or null in either version is quoted.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

_WORD = r"(?:[A-Za-z0-9_./@+()'=~^$;,-]|:(?=[A-Za-z0-9_./@+()'=~^$;,-]))"
_PLAIN = re.compile(rf"(?!\.\.\.)[A-Za-z0-9_./]{_WORD}*(?: {_WORD}+)*")
_TAKEN_FOR_ANOTHER_TYPE = re.compile(
    r"(?i)[-+.0-9][-+.0-9_:a-fxob]*(?:[tz ][0-9:.+z -]*)?|true|false|yes|no|on|off|y|n|null|=|\.inf|\.nan"
)
_UNPRINTABLE = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def to_yaml(value: Any) -> str:
    """`value`, made of what JSON knows, as one YAML document that ends with a newline."""
    return "\n".join(_block(value, 0)) + "\n"


def _block(value: Any, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if isinstance(value, dict) and value:
        for key, item in value.items():
            head = f"{indent}{_scalar(str(key))}:"
            if isinstance(item, (dict, list, tuple)) and item:
                yield head
                # As kubectl writes them: a list under a key starts in the key's own column.
                yield from _block(item, depth + 1 if isinstance(item, dict) else depth)
            else:
                yield from _leaf(f"{head} ", item, depth)
    elif isinstance(value, (list, tuple)) and value:
        for item in value:
            if isinstance(item, (dict, list, tuple)) and item:
                first, *rest = _block(item, depth + 1)
                yield f"{indent}- {first[len(indent) + 2 :]}"
                yield from rest
            else:
                yield from _leaf(f"{indent}- ", item, depth)
    else:
        yield from _leaf(indent, value, depth)


def _leaf(head: str, value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str) and _fits_literal(value):
        indent = "  " * (depth + 1)
        yield head + _literal_head(value)
        for line in value.removesuffix("\n").split("\n"):
            yield indent + line if line else ""
    else:
        yield head + _scalar(value)


def _scalar(value: Any) -> str:
    match value:
        case str():
            if _PLAIN.fullmatch(value) and not _TAKEN_FOR_ANOTHER_TYPE.fullmatch(value):
                return value
            return _UNPRINTABLE.sub(_escaped, json.dumps(value, ensure_ascii=False))
        case dict():
            return "{}"
        case list() | tuple():
            return "[]"
        case float() if "." not in repr(value):
            return repr(value).replace("e", ".0e")  # YAML 1.1 knows no 1e+16
        case _:
            return json.dumps(value)


def _fits_literal(text: str) -> bool:
    """Whether a literal block can carry `text` unchanged and without an indentation indicator."""
    return "\n" in text and not text[0].isspace() and not _UNPRINTABLE.search(text)


def _literal_head(text: str) -> str:
    if not text.endswith("\n"):
        return "|-"
    return "|+" if text.endswith("\n\n") else "|"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
