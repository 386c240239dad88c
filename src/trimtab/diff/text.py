"""Differences as text for people."""

import difflib
from collections.abc import Iterable, Iterator

from trimtab.diff.compare import Difference

_MULTILINE = 3
"""Strings with more lines than this are shown as a unified diff."""


def render(differences: Iterable[Difference]) -> str:
    """One line per difference; long strings as a unified diff, indented under their path."""
    return "\n".join(line for difference in differences for line in _lines(difference))


def _lines(difference: Difference) -> Iterator[str]:
    before, after = difference.before, difference.after
    if not (isinstance(before, str) and isinstance(after, str) and _long(before, after)):
        yield str(difference)
        return
    yield f"{difference.path}:"
    old, new = before.splitlines(), after.splitlines()
    for number, line in enumerate(difflib.unified_diff(old, new, "before", "after", lineterm="", n=2)):
        if number > 1:
            yield f"  {line}"
    if before.endswith("\n") != after.endswith("\n"):
        yield "  \\ the newline at the end " + ("was added" if after.endswith("\n") else "was removed")


def _long(before: str, after: str) -> bool:
    return max(before.count("\n"), after.count("\n")) >= _MULTILINE
