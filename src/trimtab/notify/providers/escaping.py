"""The words of strangers in the languages of services: text stays text.

Nothing in a message of a commit may call everybody in a room, hide where a link leads, or look like the service itself.
"""

import re
from html import escape as _html
from typing import Final

from trimtab.notify.text import shortened

_MARKS: Final = re.compile(r"([\\`*_\[\]()<>~|#])")
_JOINER: Final = "\u2060"
_TRIGGERS: Final = re.compile(r"[@<]|\](?=[(\[])|!(?=\[)")
_TICKS: Final = re.compile("`{3,}|~{3,}")


def markdown(text: str) -> str:
    """`text` where a backslash takes the meaning from a mark."""
    return _MARKS.sub(r"\\\1", text)


def html(text: str) -> str:
    """`text` where tags are read."""
    return _html(text, quote=True)


def defused(text: str) -> str:
    """`text` where nothing can be escaped: mentions and links are broken up by a character that is not seen."""
    return _TRIGGERS.sub(lambda match: match[0] + _JOINER, text)


def fenced(text: str, most: int) -> str:
    """`text` as a block of Markdown of at most `most` characters in which nothing is read; it cannot end the block."""
    broken = _TICKS.sub(lambda match: _JOINER.join(match[0]), text)
    return f"```text\n{shortened(broken, most - 12)}\n```"
