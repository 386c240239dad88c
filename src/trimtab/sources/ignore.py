"""Which files of a source do not become part of its artifact: rules in the syntax of .gitignore."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from trimtab.base.errors import Terminal
from trimtab.sources.globs import Glob, parse_line

IGNORE_FILE = ".sourceignore"
MAX_BYTES = 256 << 10

GIT_METADATA = (".git/", ".gitignore", ".gitmodules", ".gitattributes")
DEFAULTS = (
    *("*.jpg", "*.jpeg", "*.gif", "*.png", "*.wmv", "*.flv", "*.tar.gz", "*.zip"),
    *(".github/", ".circleci/", ".travis.yml", ".gitlab-ci.yml", "appveyor.yml", ".drone.yml", "cloudbuild.yaml"),
    *("codeship-services.yml", "codeship-steps.yml"),
    *("**/.goreleaser.yml", "**/.goreleaser.brew.yml", "**/.sops.yaml", "**/.flux.yaml"),
)
"""What Flux leaves out of every artifact unless told otherwise."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring patterns of one sense, as two expressions: for files, and for directories."""

    included: bool
    files: re.Pattern[bytes] | None
    directories: re.Pattern[bytes]


class Rules:
    """Compiled rules. The last pattern that matches decides.

    Two readings exist of a pattern that matches a directory. Flux's: it speaks for everything below, as if it matched
    each file. Git's: an excluded directory is never entered, and an included one only stops being excluded itself. They
    differ for negated patterns only: `/*` then `!/apps/prod` keeps apps/prod in Flux's reading and nothing in git's.
    """

    def __init__(self, lines: Iterable[str | bytes], *, reading: Literal["flux", "git"] = "flux") -> None:
        parsed = (parse_line(line.encode() if isinstance(line, str) else line) for line in lines)
        globs = [glob for glob in parsed if glob]
        self._groups = [
            _group(included, list(them)) for included, them in groupby(globs, key=lambda glob: glob.included)
        ]
        self._groups.reverse()
        self._reading = reading
        self._seen: dict[bytes, tuple[bool, ...]] = {b"": (False,) * len(self._groups)}
        self._closed: dict[bytes, bool] = {b"": False}

    @property
    def negates(self) -> bool:
        """Whether something that was left out is taken back: then no directory as a whole is out of the question."""
        return any(group.included for group in self._groups)

    def excludes(self, path: str) -> bool:
        """Whether the file at `path`, relative to the root, is left out."""
        name = path.encode()
        directory = name.rpartition(b"/")[0]
        if self._reading == "git":
            return self._is_closed(directory) or self._last(name, directory=False)
        matched = self._matches(directory)
        for place, group in enumerate(self._groups):
            if matched[place] or (group.files and group.files.fullmatch(name)):
                return not group.included
        return False

    def _matches(self, directory: bytes) -> tuple[bool, ...]:
        """For each group whether it matches `directory` or one above it."""
        known = self._seen.get(directory)
        if known is None:
            above = self._matches(directory.rpartition(b"/")[0])
            known = tuple(
                matched or bool(group.directories.fullmatch(directory))
                for matched, group in zip(above, self._groups, strict=True)
            )
            self._seen[directory] = known
        return known

    def _is_closed(self, directory: bytes) -> bool:
        known = self._closed.get(directory)
        if known is None:
            above = self._is_closed(directory.rpartition(b"/")[0])
            known = self._closed[directory] = above or self._last(directory, directory=True)
        return known

    def _last(self, name: bytes, *, directory: bool) -> bool:
        for group in self._groups:
            pattern = group.directories if directory else group.files
            if pattern and pattern.fullmatch(name):
                return not group.included
        return False


def rules(ignore: str | None, ignore_file: bytes = b"") -> Rules:
    """The rules of a source: git's own files, Flux's defaults or `ignore` in their place, and the ignore file.

    `ignore` (spec.ignore) comes last and may take back what the ignore file says. Raises Terminal if one is too large.
    """
    for name, size in (("spec.ignore", len(ignore or "")), (IGNORE_FILE, len(ignore_file))):
        if size > MAX_BYTES:
            raise Terminal("BuildFailed", f"{name} has {size} bytes; the limit is {MAX_BYTES}")
    lines: list[str | bytes] = [*GIT_METADATA]
    lines += DEFAULTS if ignore is None else ()
    lines += split_lines(ignore_file)
    lines += split_lines((ignore or "").encode())
    return Rules(lines)


def split_lines(text: bytes) -> list[bytes]:
    """The lines of an ignore file, whichever way they end."""
    return [line.removesuffix(b"\r") for line in text.removeprefix(b"\xef\xbb\xbf").split(b"\n")]


def _group(included: bool, globs: list[Glob]) -> _Group:
    files = [glob.expression for glob in globs if not glob.only_directories]
    everything = [glob.expression for glob in globs]
    return _Group(included, _either(files) if files else None, _either(everything))


def _either(expressions: list[bytes]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(b"(?:%b)" % expression for expression in expressions), re.DOTALL)
