"""Which tags take part, and by which part of them: expressions with groups, and globs.

The engine is RE2, so the expressions are Go's, and time is linear whatever is written: `^(a+)+$` costs what `^a+$`
does. The memory of a compiled expression is bounded, and so is what a template makes of a tag.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import re2  # type: ignore[import-untyped]  # it ships no types

from trimtab.manifests.wildcards import Wildcards

LONGEST: Final = 1024
"""Characters of an expression, of a template and of a glob."""
LONGEST_VALUE: Final = 256
"""Characters that a template may make of a tag: as many as the longest version has."""
_MEMORY: Final = 4 << 20
_REFERENCE = re.compile(r"\$(?:\$|([0-9A-Za-z_]+)|\{([0-9A-Za-z_]+)\})", re.ASCII)

_options = re2.Options()
_options.log_errors = False
_options.max_mem = _MEMORY


class Expression:
    """A compiled expression, searched for in tags."""

    def __init__(self, text: str) -> None:
        """Compile `text`. Raises ValueError with what is wrong with it."""
        if len(text) > LONGEST:
            raise ValueError(f"it has {len(text)} characters, and the limit is {LONGEST}")
        try:
            self._compiled: Any = re2.compile(text, _options)
        except re2.error as failure:
            words = failure.args[0] if failure.args else b"it is not a regular expression"
            raise ValueError(words.decode(errors="replace") if isinstance(words, bytes) else str(words)) from None

    def find(self, text: str) -> Any:
        """The match in `text`, or None."""
        return self._compiled.search(text)

    def group(self, name: str) -> int | None:
        """The number of the group called `name`, which may be a number itself; None if there is none."""
        if name.isdecimal():
            number = int(name[:6])
            return number if number <= int(self._compiled.groups) else None
        found: int | None = self._compiled.groupindex.get(name)
        return found


class Template:
    """What `extract` makes of a match, by the rules of Go's Regexp.Expand: a group that is not there is empty."""

    def __init__(self, text: str, expression: Expression) -> None:
        """Read `text`. Raises ValueError for one that is too long."""
        if len(text) > LONGEST:
            raise ValueError(f"it has {len(text)} characters, and the limit is {LONGEST}")
        self._parts: list[str | int] = []
        at = 0
        for reference in _REFERENCE.finditer(text):
            name = reference[1] or reference[2]
            number = expression.group(name) if name else None
            self._parts += [text[at : reference.start()], "$" if name is None else "" if number is None else number]
            at = reference.end()
        self._parts.append(text[at:])

    def value(self, match: Any) -> str | None:
        """The text for `match`, or None if it is longer than a value may be."""
        found: list[str] = []
        left = LONGEST_VALUE
        for part in self._parts:
            text = part if isinstance(part, str) else match.group(part) or ""
            left -= len(text)
            if left < 0:
                return None
            found.append(text)
        return "".join(found)


class Kept(NamedTuple):
    """A tag that passed, and the value it is ordered by."""

    tag: str
    value: str


class TagFilter:
    """`spec.filterTags`: an expression that has to be found in a tag, and what is taken out of it."""

    def __init__(self, pattern: str, extract: str = "") -> None:
        """Compile both. Raises ValueError that names the field."""
        self.pattern = pattern
        try:
            self._expression = Expression(pattern)
        except ValueError as problem:
            raise ValueError(f"spec.filterTags.pattern: {problem}") from None
        try:
            self._template = Template(extract, self._expression) if extract else None
        except ValueError as problem:
            raise ValueError(f"spec.filterTags.extract: {problem}") from None

    def judge(self, tag: str) -> Kept | str:
        """The tag with its value, or why it does not take part."""
        match = self._expression.find(tag)
        if match is None:
            return f"{self.pattern} is not found in it"
        if self._template is None:
            return Kept(tag, tag)
        value = self._template.value(match)
        if value is None:
            return f"spec.filterTags.extract makes more than {LONGEST_VALUE} characters of it"
        return Kept(tag, value)


class Exclusions:
    """`spec.exclusionList` of an ImageRepository: tags in which one of these is found are not looked at."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile them. Raises ValueError that names the one that makes no sense."""
        self._patterns: list[tuple[str, Expression]] = []
        for number, pattern in enumerate(patterns):
            try:
                self._patterns.append((pattern, Expression(pattern)))
            except ValueError as problem:
                raise ValueError(f"spec.exclusionList[{number}]: {problem}") from None

    def judge(self, tag: str) -> str:
        """Why the tag is left out; nothing if it is not."""
        return next((f"{text} excludes it" for text, one in self._patterns if one.find(tag) is not None), "")


class Glob:
    """`trimtab.dev/filter-glob`: the whole tag has to match."""

    def __init__(self, text: str) -> None:
        """Compile it. Raises ValueError."""
        self.text = text
        self._wildcards = Wildcards([text])

    def admits(self, tag: str) -> bool:
        """Whether it matches."""
        return self._wildcards.match(tag)
