"""One gitignore pattern as a regular expression over bytes, equal to git's wildmatch and without its traps.

What an owner writes as a pattern must not cost more than a look at the path: every star but the last is matched at
its first fitting place and never reconsidered (atomic groups). That loses nothing, since a star that stopped earlier
leaves all later ones at least as much room, and it makes `*a*a*a*a*b` linear where backtracking takes years.
"""

import re
import string
from typing import NamedTuple

_SPECIAL = re.compile(rb"[*?\[\\]")
_CLASSES = {
    "alnum": string.ascii_letters + string.digits,
    "alpha": string.ascii_letters,
    "blank": " \t",
    "cntrl": "".join(map(chr, [*range(0x20), 0x7F])),
    "digit": string.digits,
    "graph": string.ascii_letters + string.digits + string.punctuation,
    "lower": string.ascii_lowercase,
    "print": string.ascii_letters + string.digits + string.punctuation + " ",
    "punct": string.punctuation,
    "space": string.whitespace,
    "upper": string.ascii_uppercase,
    "xdigit": string.hexdigits,
}


class Glob(NamedTuple):
    """A pattern: the regular expression of whole paths, and what it applies to."""

    expression: bytes
    included: bool
    only_directories: bool


def parse_line(line: bytes) -> Glob | None:
    """One line of an ignore file; None for what says nothing: comments, blank lines, patterns that never match."""
    if line.startswith(b"#"):
        return None
    text = _trimmed(line)
    included = text.startswith(b"!")
    text = text[1:] if included else text
    only_directories = text.endswith(b"/")
    text = text[:-1] if only_directories else text
    if not text:
        return None
    anywhere = b"/" not in text
    expression = translate(text if anywhere else text.removeprefix(b"/"), whole_path=not anywhere)
    if expression is None:
        return None
    return Glob(b"(?:.*/)?" + expression if anywhere else expression, included, only_directories)


def translate(pattern: bytes, *, whole_path: bool) -> bytes | None:
    """`pattern` as a regular expression for a full match; None if it can match nothing."""
    out: list[bytes] = []
    open_star = open_stars = -1  # where in `out` the last * and the last ** began, while they may still become atomic
    special = _SPECIAL.search(pattern)
    # Git compares what stands before the first special character literally, and so takes ** there for one that
    # begins a path.
    first = special.start() if special else len(pattern)
    at = 0

    def fix(start: int) -> None:
        if start >= 0:
            out[start] = b"(?>(?:[^/]*/)*?" if out[start] == _DIRECTORIES else b"(?>[^/]*?"
            out.append(b")")

    while at < len(pattern):
        char = pattern[at : at + 1]
        if char == b"*":
            end = at
            while pattern[end : end + 1] == b"*":
                end += 1
            begins = at in (0, first) or pattern[at - 1 : at] == b"/"
            ends = end == len(pattern) or pattern[end : end + 1] == b"/"
            fix(open_star)
            open_star = -1
            if whole_path and end - at > 1 and begins and ends:
                fix(open_stars)
                if end == len(pattern):
                    out.append(b".*")
                    open_stars = -1
                else:
                    open_stars = len(out)
                    out.append(_DIRECTORIES)
                    end += 1
            else:
                open_star = len(out)
                out.append(b"[^/]*")
            at = end
        elif char == b"?":
            out.append(b"[^/]")
            at += 1
        elif char == b"[":
            members = _bracket(pattern, at + 1)
            if members is None:
                return None
            at, expression = members
            out.append(expression)
        else:
            if char == b"\\":
                at += 1
                char = pattern[at : at + 1]
                if not char:
                    return None
            out.append(re.escape(char))
            at += 1
    return b"".join(out)


_DIRECTORIES = b"(?:.*/)?"


def _bracket(pattern: bytes, at: int) -> tuple[int, bytes] | None:
    """Read a bracket expression from after its `[`: where it ends, and what it matches. None if it is malformed."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    previous = -1
    first = True
    while first or pattern[at : at + 1] != b"]":
        first = False
        if at >= len(pattern):
            return None
        char = pattern[at]
        following = pattern[at + 1 : at + 2]
        if char == ord("\\"):
            at += 1
            if at >= len(pattern):
                return None
            previous = pattern[at]
            members.add(previous)
        elif char == ord("-") and previous >= 0 and following not in (b"", b"]"):
            at += 1
            if following == b"\\":
                at += 1
            if at >= len(pattern):
                return None
            members.update(range(previous, pattern[at] + 1))
            previous = -1
        elif char == ord("[") and following == b":":
            close = pattern.find(b"]", at + 2)
            if close < 0:
                return None
            if pattern[close - 1 : close] == b":" and close - 1 >= at + 2:
                name = pattern[at + 2 : close - 1].decode(errors="replace")
                if name not in _CLASSES:
                    return None
                members.update(_CLASSES[name].encode())
                at, previous = close, -1
            else:
                members.add(char)
                previous = char
        else:
            members.add(char)
            previous = char
        at += 1
    if negated:
        members = set(range(256)) - members
    members.discard(ord("/"))
    if not members:
        return at + 1, b"(?!)"
    return at + 1, b"[" + b"".join(b"\\x%02x" % member for member in sorted(members)) + b"]"


def _trimmed(line: bytes) -> bytes:
    """Without trailing spaces, but for those that a backslash protects."""
    kept = 0
    at = 0
    while at < len(line):
        if line[at : at + 1] == b"\\":
            at += 2
            kept = min(at, len(line))
        else:
            at += 1
            if line[at - 1 : at] != b" ":
                kept = at
    return line[:kept]
