"""The regular expressions in a text of CEL: which there are, which may be, and what they cost. Pure.

The library compiles a pattern anew at every step, and `\\w{200}` takes it 0.2 s. So a pattern has to stand in the text,
where its cost can be told before, and may repeat nothing by numbers, which is how a short one becomes a large one.
"""

import re
from typing import Final

_TOKENS: Final = re.compile(
    r'(?:[rR][bB]?|[bB][rR])(?:"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"[^"\n]*"|\'[^\'\n]*\')'
    r'|[bB]?(?:"""(?:\\[\s\S]|[^\\])*?"""|\'\'\'(?:\\[\s\S]|[^\\])*?\'\'\')'
    r'|[bB]?(?:"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')'
    r"|//[^\n]*|[A-Za-z_]\w*|\S"
)
_TEXT: Final = re.compile(r"[rR]?[\"']")
_BRACES_OF_NAMES: Final = re.compile(r"\\[pPxuU]\{[^}]*\}|\\[\s\S]")
# Classes of Unicode, by name or written out, are hundreds of ranges each; and so is what ignores upper and lower case.
_LARGE: Final = re.compile(r"\\[A-Za-z0-9]|[^\x00-\x7f]|\(\?[A-Za-z-]*i")
_STEPS_A_CHARACTER: Final = 5
_STEPS_A_CHARACTER_LARGE: Final = 500
_SEARCHED_A_STEP: Final = 128
"""Characters of the text times characters of the pattern: what a search takes at the worst, without backtracking."""
_SHOWN: Final = 60


def patterns(text: str) -> list[str]:
    """The patterns that `matches` is called with. Raises ValueError for one that may not be."""
    pieces = [piece for piece in _TOKENS.findall(text) if not piece.startswith("//")]
    found = []
    for place, piece in enumerate(pieces):
        if piece == "matches" and pieces[place + 1 : place + 2] == ["("]:
            before, inside = pieces[max(place - 1, 0)], pieces[place + 2 : place + 4]
            if before != "." or len(inside) != 2 or not _TEXT.match(inside[0]) or inside[1] != ")":
                raise ValueError(
                    "matches takes one pattern that is written out, as in name.matches('^v[0-9]+$'); compare with "
                    "startsWith, endsWith or contains what is not known before"
                )
            found.append(_allowed(inside[0]))
    return found


def cost(pattern: str, longest: int) -> int:
    """Steps, of a microsecond or so, to compile `pattern` and search `longest` characters for it."""
    each = _STEPS_A_CHARACTER_LARGE if _LARGE.search(pattern) else _STEPS_A_CHARACTER
    return len(pattern) * each + len(pattern) * longest // _SEARCHED_A_STEP


def _allowed(literal: str) -> str:
    import cel  # loaded with the first expression, as in expressions.py

    try:
        pattern = cel.compile(literal).execute(cel.Context())
    except (ValueError, RuntimeError) as failure:
        raise ValueError(f"the pattern {literal[:_SHOWN]} of matches cannot be read") from failure
    if "{" in _BRACES_OF_NAMES.sub("", pattern):
        raise ValueError(
            f"the pattern {literal[:_SHOWN]} of matches repeats by numbers, which is not served; write [0-9][0-9] for "
            "[0-9]{2}, or use + and *; a brace that is meant is written with two backslashes before it"
        )
    return str(pattern)
