"""Names of references and commits, checked again wherever they are used: git reads some strings as options."""

import re
import unicodedata

COMMIT = re.compile(r"[0-9a-f]{40}")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")
_MAX_BYTES = 250


def check_ref(name: str) -> str:
    """Return `name` if git would accept it as part of a full reference name. Raises ValueError.

    Stricter than git-check-ref-format in two ways: no invisible characters, and at most 250 bytes.
    """
    if not name or len(name.encode(errors="surrogatepass")) > _MAX_BYTES:
        raise ValueError(f"{name[:60]!a} is not a name of 1 to {_MAX_BYTES} bytes")
    if _FORBIDDEN.search(name) or any(unicodedata.category(char)[0] in "CZ" for char in name):
        raise ValueError(f"{name!a} has characters that the name of a reference cannot have")
    if name[0] in "-/" or name[-1] in "/." or name == "@":
        raise ValueError(f"{name!a} is not a valid name of a reference")
    if any(part.startswith(".") or part.endswith(".lock") for part in name.split("/")):
        raise ValueError(f"{name!a} is not a valid name of a reference")
    return name


def check_commit(text: str) -> str:
    """Return `text` if it is the full id of a commit. Raises ValueError."""
    if not COMMIT.fullmatch(text) or text == "0" * 40:
        raise ValueError(f"{text[:80]!a} is not a commit: 40 hexadecimal digits in lower case")
    return text
