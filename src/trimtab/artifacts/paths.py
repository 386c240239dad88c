"""Paths that somebody else chose, in an archive or a bucket: what may become a file's name, and what is refused."""

import re
from collections.abc import Callable

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SEPARATORS = re.compile(r"[/\\]")


class Paths:
    """The paths seen so far, and the rules they keep. `refuse` makes the error of what breaks one."""

    def __init__(self, *, most: int, depth: int, longest: int, refuse: Callable[[str], Exception]) -> None:
        self._most = most
        self._depth = depth
        self._longest = longest
        self._refuse = refuse
        self._files: set[str] = set()
        self._directories: set[str] = set()
        self._members = 0

    def count(self) -> None:
        """One more, of whatever kind."""
        self._members += 1
        if self._members > self._most:
            raise self._refuse(f"more than {self._most} members")

    def directory(self, path: str) -> None:
        """There is a directory at `path`."""
        if path.rstrip("/") in ("", "."):
            return
        self._enter(self._checked(path.rstrip("/")).split("/"))

    def file(self, path: str) -> str:
        """There is a file at `path`: as it is kept, without `./` before it."""
        path = self._checked(path)
        if path in self._files or path in self._directories:
            raise self._refuse(f"{path!a} is there twice")
        self._enter(path.split("/")[:-1])
        self._files.add(path)
        return path

    def _enter(self, parts: list[str]) -> None:
        for end in range(len(parts), 0, -1):
            directory = "/".join(parts[:end])
            if directory in self._directories:
                return
            if directory in self._files:
                raise self._refuse(f"{directory!a} is both a file and a directory")
            self._directories.add(directory)

    def _checked(self, path: str) -> str:
        path = path.removeprefix("./")
        if len(path.encode()) > self._longest:
            raise self._refuse(f"a path of more than {self._longest} bytes")
        if not path or path.startswith(("/", "\\")):
            raise self._refuse(f"{path!a} is not a relative path")
        if _CONTROL.search(path):
            raise self._refuse(f"{path!a} has a control character in its name")
        parts = _SEPARATORS.split(path)
        if len(parts) > self._depth:
            raise self._refuse(f"a path of {len(parts)} directories; the limit is {self._depth}")
        if any(part in ("", ".", "..") for part in parts):
            raise self._refuse(f"{path!a} is not a plain path")
        return path
