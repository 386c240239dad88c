"""Words for sinks: cut to their limits, and revisions as people read them."""

from collections.abc import Callable


def cut(text: str, most: int) -> str:
    """`text` in at most `most` characters; a cut is seen."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def shortened(text: str, most: int, *, size: Callable[[str], int] = len) -> str:
    """`text` in at most `most` of what `size` counts; where it is cut, a note says how long it was."""
    if size(text) <= most:
        return text
    note = f"… (cut; {len(text)} characters in all)"
    low, high = 0, min(len(text), most)
    while low < high:
        middle = (low + high + 1) // 2
        if size(text[:middle]) + size(note) <= most:
            low = middle
        else:
            high = middle - 1
    return text[:low] + note


def octets(text: str) -> int:
    """The length of `text` in UTF-8."""
    return len(text.encode("utf-8", "replace"))


def units(text: str) -> int:
    """The length of `text` in UTF-16, as some services count."""
    return len(text.encode("utf-16-le", "replace")) // 2


def commit_of(revision: str) -> str:
    """The commit of a revision such as `main@sha1:67e2…`; empty if it names none."""
    digest = revision.rpartition(":")[2] if ":" in revision else revision.rpartition("/")[2]
    return digest if len(digest) in (40, 64) and all(one in "0123456789abcdef" for one in digest) else ""
