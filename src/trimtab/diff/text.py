"""Differences as text for people."""

import difflib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from trimtab.diff.compare import Difference
from trimtab.diff.fields import Writer
from trimtab.diff.report import Finding, State
from trimtab.manifests import codec
from trimtab.manifests.emit import to_yaml

_MULTILINE: Final = 3
"""Strings with more lines than this are shown as a unified diff."""
_LINE: Final = 120
"""What is longer is not put on one line with its path."""
_MOST_LINES: Final = 400
_LONGEST: Final = 4_000
"""Of one difference so many lines are shown, each with so many characters: JSON has all of it."""

SIGNS: Final = {
    State.SAME: "=",
    State.DIFFERS: "~",
    State.MISSING: "+",
    State.EXTRA: "-",
    State.UNKNOWN: "?",
    State.SKIPPED: "·",
}
_NOTES: Final = {
    State.MISSING: "only in git",
    State.EXTRA: "only in the cluster",
    State.UNKNOWN: "unknown",
    State.SKIPPED: "left alone",
}


def headline(finding: Finding) -> str:
    """The object, where it was written, and what became of it; without the sign."""
    place = f" ({finding.origin})" if finding.origin else ""
    words = ": ".join(filter(None, (_NOTES.get(finding.state, ""), finding.note)))
    name = str(finding.ref) if finding.ref.name else f"every {finding.ref}"
    return f"{name}{place}: {words}" if words else f"{name}{place}"


def body(finding: Finding) -> Iterator[str]:
    """What differs, path by path, and who owns the fields where that is known."""
    for place, difference in enumerate(finding.differences):
        yield from lines(difference)
        for writer in finding.owners[place] if finding.owners else ():
            yield f"  owned by {owner(writer)}"


def owner(writer: Writer) -> str:
    """A field manager and what it did last."""
    how = f"{writer.operation} of {writer.subresource}" if writer.subresource else writer.operation
    return " ".join(filter(None, (f"{writer.manager} ({how})", writer.time)))


def lines(difference: Difference) -> Iterator[str]:
    """`difference` on one line if it fits; long strings as a unified diff, long values as YAML, below their path."""
    found = list(islice(_lines(difference), _MOST_LINES + 1))
    for line in found[:_MOST_LINES]:
        yield line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
    if len(found) > _MOST_LINES:
        yield "  … and more: -o json has all of it"


def render(differences: Iterable[Difference]) -> str:
    """All of `differences`, one below the other."""
    return "\n".join(line for difference in differences for line in lines(difference))


def _lines(difference: Difference) -> Iterator[str]:
    before, after = difference.before, difference.after
    if isinstance(before, str) and isinstance(after, str) and _has_lines(before, after):
        yield f"{difference.path}:"
        yield from _unified(before, after)
        return
    sides = [side for side in (before, after) if side is not None]
    if all(len(codec.encode(side)) <= _LINE for side in sides):
        yield str(difference)
        return
    yield f"{difference.path}:"
    yield from _listed("-", before)
    yield from _listed("+", after)


def _unified(before: str, after: str) -> Iterator[str]:
    old, new = before.splitlines(), after.splitlines()
    for number, line in enumerate(difflib.unified_diff(old, new, "before", "after", lineterm="", n=2)):
        if number > 1:
            yield f"  {line}"
    if before.endswith("\n") != after.endswith("\n"):
        yield "  \\ the newline at the end " + ("was added" if after.endswith("\n") else "was removed")


def _listed(sign: str, value: Any) -> Iterator[str]:
    if value is not None:
        yield from (f"  {sign} {line}" for line in to_yaml(value).splitlines())


def _has_lines(before: str, after: str) -> bool:
    return max(before.count("\n"), after.count("\n")) >= _MULTILINE
