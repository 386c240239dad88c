"""The schema of a chart's values, before Helm gets it: one that refers to anything but itself is refused. Pure.

Helm would read the file or fetch the address that a reference names, and its error would show what it found.
"""

from typing import Any, Final

import msgspec

from trimtab.api.names import Reason
from trimtab.base.errors import Terminal
from trimtab.manifests import codec

REASON: Final = Reason.BUILD_FAILED

_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_DATA: Final = frozenset({"enum", "const", "default", "examples"})
_KNOWN: Final = ("http://json-schema.org/", "https://json-schema.org/")
"""Addresses of the drafts themselves, which every validator has built in."""
_MAX_DEPTH: Final = 200


def refuse_outside(data: bytes, path: str) -> None:
    """Raise Terminal if the schema at `path` of a chart refers to what is not in it, or is none."""
    try:
        schema = codec.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Terminal(REASON, f"{path} is no JSON, or too deep") from None
    names: set[str] = set()
    references: list[str] = []
    pending: list[tuple[Any, int]] = [(schema, 0)]
    while pending:
        value, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise Terminal(REASON, f"{path} is more than {_MAX_DEPTH} levels deep")
        if isinstance(value, list):
            pending += [(item, depth + 1) for item in value]
        elif isinstance(value, dict):
            for key, item in value.items():
                if isinstance(item, str):
                    if key in ("$id", "id"):
                        names.add(_without_fragment(item))
                    elif key in _REFERENCES or key == "$schema":
                        references.append(item)
                elif key not in _DATA:
                    pending.append((item, depth + 1))
    for reference in references:
        target = _without_fragment(reference)
        if target and target not in names and not target.startswith(_KNOWN):
            raise Terminal(
                REASON,
                f"{path} refers to {reference[:200]!a}, and a schema is read from nowhere but the chart; copy what it "
                "refers to into it, or set `disableSchemaValidation: true` for install and upgrade",
            )


def _without_fragment(reference: str) -> str:
    return reference.partition("#")[0]
