"""Paths by patterns that people write: `*`, `?`, `**` for any number of directories, `[a-z]`, and `{these,those}`.

As the library doublestar reads them, which is what Flux uses. Matching takes linear time whatever the pattern.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from trimtab.manifests.patterns import Pattern

LONGEST: Final = 1024
"""Characters of a pattern."""
MOST_ALTERNATIVES: Final = 256
"""So many patterns, those that braces stand for counted each, may be looked for at once."""
_LONGEST_COMPILED: Final = 4 << 20
_SPECIAL: Final = frozenset("*?[{")


def is_wild(text: str) -> bool:
    """Whether `text` is a pattern, and not the name of one path."""
    return any(char in _SPECIAL for char in text)


def fixed_part(pattern: str) -> str:
    """The directories that `pattern` begins with and that are no patterns."""
    fixed: list[str] = []
    for part in pattern.split("/")[:-1]:
        if is_wild(part) or "\\" in part:
            break
        fixed.append(part)
    return "/".join(fixed)


class Wildcards:
    """Several patterns, of which a whole path has to match one."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile them. Raises ValueError that names the one that makes no sense."""
        patterns = list(patterns)
        expressions: list[str] = []
        for pattern in patterns:
            expressions += _compiled(pattern, MOST_ALTERNATIVES - len(expressions))
        self.more = len(expressions) - len(patterns)
        """How many more patterns there are than were written, because of braces."""
        whole = f"^(?s:{'|'.join(expressions)})$"
        self._pattern = Pattern(whole, longest=_LONGEST_COMPILED) if expressions else None

    def match(self, path: str) -> bool:
        """Whether one of them matches."""
        return self._pattern is not None and self._pattern.found_in(path)


def _compiled(pattern: str, most: int) -> list[str]:
    if len(pattern) > LONGEST:
        raise ValueError(f"{pattern[:60]!a}… has {len(pattern)} characters; the limit is {LONGEST}")
    try:
        return [f"(?:{''.join(_translated(one))})" for one in _alternatives(pattern, most)]
    except ValueError as failure:
        raise ValueError(f"{pattern!a} is not a pattern: {failure}") from None


def _alternatives(pattern: str, most: int) -> list[str]:
    """The patterns without braces that `pattern` stands for. Raises ValueError beyond `most`."""
    found, pending = [], [pattern]
    while pending:
        text = pending.pop()
        opened = _find_brace(text)
        if opened is None:
            found.append(text)
        else:
            start, parts, end = opened
            pending += [text[:start] + part + text[end:] for part in reversed(parts)]
        if len(found) + len(pending) > most:
            raise ValueError(f"with those before it, its braces stand for more than {MOST_ALTERNATIVES} patterns")
    return found


def _find_brace(text: str) -> tuple[int, list[str], int] | None:
    """Where the first `{…}` starts, the alternatives in it, and where it ends. Raises ValueError without an end."""
    at, start, depth, cut = 0, -1, 0, 0
    parts: list[str] = []
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 1
        elif char == "[":
            at = _class_end(text, at)
        elif char == "{":
            if depth == 0:
                start, cut = at, at + 1
            depth += 1
        elif char == "," and depth == 1:
            parts.append(text[cut:at])
            cut = at + 1
        elif char == "}" and depth:
            depth -= 1
            if depth == 0:
                return start, [*parts, text[cut:at]], at + 1
        at += 1
    if depth:
        raise ValueError("a { is not closed")
    return None


def _class_end(text: str, start: int) -> int:
    """The place of the `]` of a class that starts at `start`. Raises ValueError without one."""
    at = start + 1
    while at < len(text) and text[at] != "]":
        at += 2 if text[at] == "\\" else 1
    if at >= len(text):
        raise ValueError("a [ is not closed")
    return at


def _translated(pattern: str) -> Iterator[str]:
    """`pattern`, which has no braces, as a regular expression. A `**` counts only where it is a whole directory."""
    parts = pattern.split("/") if "[" not in pattern else _split(pattern)
    while len(parts) > 1 and parts[-1] == parts[-2] == "**":
        parts.pop()
    if parts == ["**"]:
        yield ".*"
        return
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**" and not last:
            yield "(?:.*/)?"
        elif part == "**":
            yield "(?:/.*)?"
        else:
            yield from _component(part)
            if not last and not (place == len(parts) - 2 and parts[-1] == "**"):
                yield "/"


def _split(pattern: str) -> list[str]:
    """`pattern` at its slashes, but for those in a class."""
    parts, cut, at = [], 0, 0
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 1
        elif pattern[at] == "[":
            at = _class_end(pattern, at)
        elif pattern[at] == "/":
            parts.append(pattern[cut:at])
            cut = at + 1
        at += 1
    return [*parts, pattern[cut:]]


def _component(part: str) -> Iterator[str]:
    at = 0
    while at < len(part):
        char = part[at]
        if char == "*":
            while part[at : at + 1] == "*":
                at += 1
            yield "[^/]*"
            continue
        if char == "?":
            yield "[^/]"
        elif char == "[":
            end = _class_end(part, at)
            yield _class(part[at + 1 : end])
            at = end
        elif char == "\\":
            at += 1
            if at >= len(part):
                raise ValueError("it ends in a backslash")
            yield _literal(part[at])
        else:
            yield _literal(char)
        at += 1


def _class(members: str) -> str:
    """`[…]` without its brackets. No class matches a slash."""
    negated = members[:1] in ("^", "!")
    chars = _members(members[1:] if negated else members)
    if not chars:
        raise ValueError("a [] is empty")
    inside = "".join(low if low == high else f"{low}-{high}" for low, high in chars)
    return f"[^{inside}/]" if negated else f"[[{inside}]--[/]]"


def _members(text: str) -> list[tuple[str, str]]:
    singles: list[str] = []
    dashes: set[int] = set()
    at = 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
            if at >= len(text):
                raise ValueError("a class ends in a backslash")
        elif text[at] == "-" and singles:
            dashes.add(len(singles))
        singles.append(text[at])
        at += 1
    ranges: list[tuple[str, str]] = []
    place = 0
    while place < len(singles):
        low = high = singles[place]
        if place + 1 in dashes:
            if place + 2 >= len(singles):
                raise ValueError("a range in a class has no end")
            high = singles[place + 2]
            if high < low:
                raise ValueError(f"the range {low}-{high} is upside down")
            place += 2
        ranges.append((_literal(low), _literal(high)))
        place += 1
    return ranges


def _literal(char: str) -> str:
    return char if char.isascii() and char.isalnum() else f"\\x{{{ord(char):x}}}"
