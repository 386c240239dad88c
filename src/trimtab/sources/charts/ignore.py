"""Which files of a directory do not become part of the chart: Helm's own rules, which are not those of git.

Patterns have no `**`, a slash inside anchors them, and an exclamation mark means: everything that does *not* match is
left out. What Helm always leaves out are hidden files in `templates/`.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from trimtab.sources.charts.metadata import BadChart
from trimtab.sources.globs import translate
from trimtab.sources.ignore import split_lines

IGNORE_FILE: Final = ".helmignore"
MAX_BYTES: Final = 256 << 10
MAX_PATTERNS: Final = 1_000
"""Each file is compared with each of them."""
_ALWAYS = b"templates/.?*"


class _Pattern(NamedTuple):
    expression: bytes
    whole: bool
    negated: bool
    only_directories: bool


class _Any:
    """Patterns of which one has to match: joined, because one by one a thousand of them take long."""

    def __init__(self, patterns: Iterable[_Pattern]) -> None:
        patterns = list(patterns)
        self._whole = _joined(pattern.expression for pattern in patterns if pattern.whole)
        self._names = _joined(pattern.expression for pattern in patterns if not pattern.whole)

    def matches(self, path: bytes) -> bool:
        return bool(self._whole and self._whole.fullmatch(path)) or bool(
            self._names and self._names.fullmatch(path.rpartition(b"/")[2])
        )


def _joined(expressions: Iterable[bytes]) -> "re.Pattern[bytes] | None":
    joined = b"|".join(b"(?:" + expression + b")" for expression in expressions)
    return re.compile(joined, re.DOTALL) if joined else None


class Rules:
    """The rules of one directory. `excludes` judges a file with all directories above it."""

    def __init__(self, text: bytes, where: str) -> None:
        if len(text) > MAX_BYTES:
            raise BadChart(f"{where} has {len(text)} bytes; the limit is {MAX_BYTES}")
        said = [line for line in split_lines(text) if _is_pattern(line)]
        if len(said) > MAX_PATTERNS:
            raise BadChart(f"{where} has {len(said):,} patterns; the limit is {MAX_PATTERNS:,}")
        patterns = [_parse(line, where) for line in (*said, _ALWAYS)]
        plain = [pattern for pattern in patterns if not pattern.negated]
        self._of_directories = _Any(plain)
        self._of_files = _Any(pattern for pattern in plain if not pattern.only_directories)
        self._negated = [(pattern.only_directories, _Any([pattern])) for pattern in patterns if pattern.negated]
        self._closed: dict[bytes, bool] = {b"": False}

    def excludes(self, path: str) -> bool:
        """Whether the file at `path`, relative to the chart, is left out."""
        name = path.encode()
        return self._is_closed(name.rpartition(b"/")[0]) or self._ignored(name, directory=False)

    def _is_closed(self, directory: bytes) -> bool:
        known = self._closed.get(directory)
        if known is None:
            above = self._is_closed(directory.rpartition(b"/")[0])
            known = self._closed[directory] = above or self._ignored(directory, directory=True)
        return known

    def _ignored(self, path: bytes, *, directory: bool) -> bool:
        if (self._of_directories if directory else self._of_files).matches(path):
            return True
        return any(
            (only_directories and not directory) or not pattern.matches(path)
            for only_directories, pattern in self._negated
        )


def _is_pattern(line: bytes) -> bool:
    text = line.strip()
    return bool(text) and not text.startswith(b"#")


def _parse(line: bytes, where: str) -> _Pattern:
    text = line.strip()
    if b"**" in text:
        raise BadChart(f"{where}: `**` has no meaning there")
    negated = text.startswith(b"!")
    text = text[1:] if negated else text
    only_directories = text.endswith(b"/")
    text = text.removesuffix(b"/")
    whole = b"/" in text
    expression = translate(text.removeprefix(b"/"), whole_path=False) if text else None
    if expression is None:
        raise BadChart(f"{where}: {line.decode(errors='replace')[:100]!a} is not a pattern")
    return _Pattern(expression, whole, negated, only_directories)
