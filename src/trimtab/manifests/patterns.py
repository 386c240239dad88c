"""Regular expressions that people write: searched for in linear time, whatever the expression.

Python's own engine takes minutes over `^(a+)+$` and thirty characters. This is Rust's `regex`, of the family of RE2:
no backtracking, no look-around, and the size of the compiled program is bounded.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

LONGEST: Final = 1024
"""Characters of a pattern."""
_LONGEST_OF_SCHEMA: Final = 4096
"""Of a pattern in the schema of a definition, and of what it is looked for in."""


class Pattern:
    """A compiled expression."""

    def __init__(self, text: str, *, longest: int = LONGEST) -> None:
        """Compile `text`. Raises ValueError with what is wrong with it."""
        if len(text) > longest:
            raise ValueError(f"a pattern of {len(text)} characters; the limit is {longest}")
        # Loaded with the first pattern: it is 3 MiB, and most processes have none.
        from pydantic_core import SchemaError, SchemaValidator, core_schema

        try:
            self._validator = SchemaValidator(
                core_schema.str_schema(pattern=text, regex_engine="rust-regex", strict=True)
            )
        except SchemaError as failure:
            words = [line.strip() for line in str(failure).splitlines() if "error:" in line or "exceeds" in line]
            raise ValueError((words or ["it is not a regular expression"])[-1].removeprefix("error: ")) from None

    def found_in(self, text: str) -> bool:
        """Whether `text` has a part that matches."""
        return self._validator.isinstance_python(text)

    def select(self, texts: Iterable[str]) -> list[str]:
        """Those of `texts` that match."""
        return [text for text in texts if self._validator.isinstance_python(text)]


def occurs(pattern: str, text: str) -> bool | None:
    """Whether `text` has a match of the pattern of a schema; None where that cannot be told.

    Both may have been written by the same hand.
    """
    if len(text) > _LONGEST_OF_SCHEMA or (compiled := _compiled(pattern)) is None:
        return None
    return compiled.found_in(text)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Pattern | None:
    """None for what is no pattern here, which others may understand."""
    try:
        return Pattern(pattern, longest=_LONGEST_OF_SCHEMA)
    except ValueError:
        return None
