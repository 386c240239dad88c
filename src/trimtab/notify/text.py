"""Words for sinks: cut to their limits, and revisions as people read them."""


def cut(text: str, most: int) -> str:
    """`text` in at most `most` characters; a cut is seen."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def cut_bytes(text: str, most: int) -> str:
    """`text` in at most `most` bytes of UTF-8; a cut is seen."""
    data = text.encode("utf-8", "replace")
    return text if len(data) <= most else data[: most - 3].decode("utf-8", "ignore") + "…"


def commit_of(revision: str) -> str:
    """The commit of a revision such as `main@sha1:67e2…`; empty if it names none."""
    digest = revision.rpartition(":")[2] if ":" in revision else revision.rpartition("/")[2]
    return digest if len(digest) in (40, 64) and all(one in "0123456789abcdef" for one in digest) else ""
