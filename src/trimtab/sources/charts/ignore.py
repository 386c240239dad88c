"""Which files of a directory do not become part of the chart: Helm's own rules, which are not those of git.

Patterns have no `**`, a slash inside anchors them, and an exclamation mark means: everything that does *not* match is
left out. What Helm always leaves out are hidden files in `templates/`.
"""

import re
from typing import Final, NamedTuple

from trimtab.sources.charts.metadata import BadChart
from trimtab.sources.globs import translate
from trimtab.sources.ignore import split_lines

IGNORE_FILE: Final = ".helmignore"
MAX_BYTES: Final = 256 << 10
_ALWAYS = b"templates/.?*"


class _Pattern(NamedTuple):
    expression: "re.Pattern[bytes]"
    whole: bool
    negated: bool
    only_directories: bool

    def matches(self, path: bytes) -> bool:
        return self.expression.fullmatch(path if self.whole else path.rpartition(b"/")[2]) is not None


class Rules:
    """The rules of one directory. `excludes` judges a file with all directories above it."""

    def __init__(self, text: bytes, where: str) -> None:
        if len(text) > MAX_BYTES:
            raise BadChart(f"{where} has {len(text)} bytes; the limit is {MAX_BYTES}")
        found = (_parse(line, where) for line in (*split_lines(text), _ALWAYS))
        self._patterns = [pattern for pattern in found if pattern is not None]
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
        for pattern in self._patterns:
            if pattern.negated:
                if (pattern.only_directories and not directory) or not pattern.matches(path):
                    return True
            elif (directory or not pattern.only_directories) and pattern.matches(path):
                return True
        return False


def _parse(line: bytes, where: str) -> _Pattern | None:
    text = line.strip()
    if not text or text.startswith(b"#"):
        return None
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
    return _Pattern(re.compile(expression, re.DOTALL), whole, negated, only_directories)
