"""What rendering needs to know of an artifact. `artifacts.Snapshot` is one; a directory on disk is another."""

import posixpath
from collections.abc import Sequence
from typing import Final, Protocol

from trimtab.base.errors import Terminal

_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"


class File(Protocol):
    """One regular file of an artifact."""

    @property
    def path(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def size(self) -> int: ...


class Listing(Protocol):
    """Which files there are. The root is the empty string."""

    @property
    def digest(self) -> str: ...

    def get(self, path: str, /) -> File | None: ...

    def under(self, directory: str, /) -> Sequence[File]: ...

    def has_directory(self, directory: str, /) -> bool: ...

    def left_out_at(self, path: str, /) -> str | None: ...

    def left_out_under(self, directory: str, /) -> Sequence[str]: ...


class Files(Protocol):
    """The files of one revision of a source."""

    @property
    def tree(self) -> Listing: ...

    @property
    def revision(self) -> str: ...

    def read(self, path: str, /) -> bytes: ...


def normal(path: str) -> str:
    """`path` of a spec as a directory of the artifact: never above its root, whose name is the empty string."""
    return posixpath.normpath("/" + path).strip("/")


def join(directory: str, reference: str) -> str | None:
    """The path that `reference`, written in `directory`, leads to; None if it leaves the artifact."""
    path = posixpath.normpath(posixpath.join(directory, reference))
    if path == ".." or path.startswith(("../", "/")):
        return None
    return "" if path == "." else path


def parent(path: str) -> str:
    """The directory `path` lies in."""
    return posixpath.dirname(path)


def refuse_pointer(data: bytes, path: str) -> None:
    """Raise Terminal if the file `path` is not what it stands for: nothing is fetched from an LFS server."""
    if data.startswith(_LFS_POINTER):
        raise Terminal(
            "BuildFailed",
            f"LFS pointer found: {path} is a pointer of git LFS, not the file itself; keep what an app reads out of "
            "LFS, which is not fetched",
        )
