"""Decrypted files for a child, in memory only: it reads them as `/proc/self/fd/…`, by descriptors that it inherits."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from trimtab.base.errors import Terminal
from trimtab.base.memory import hold

MOST: Final = 200
_PLACE: Final = Path("/proc/self/fd")


class Opened(NamedTuple):
    """A file that was encrypted: what it holds, and how it stands in the artifact, where everybody may read it."""

    plain: bytes
    sealed: bytes


@contextmanager
def in_memory(contents: Mapping[str, bytes]) -> Iterator[Mapping[str, int]]:
    """A descriptor for each of `contents`, sealed against changes. Raises Terminal where the system has none."""
    if len(contents) > MOST:
        raise Terminal("BuildFailed", f"more than {MOST} encrypted files are given to kustomize; split the app")
    with ExitStack() as stack:
        descriptors: dict[str, int] = {}
        for path, data in contents.items():
            descriptors[path] = descriptor = _held(data)
            stack.callback(os.close, descriptor)
        yield descriptors


def _held(data: bytes) -> int:
    try:
        return hold(data)
    except OSError as failure:
        raise Terminal(
            "BuildFailed",
            "decrypted files are given to kustomize in memory (memfd_create), and there is none: "
            f"{failure.strerror or failure}",
        ) from failure


def place_of(descriptor: int) -> Path:
    """Where a process that has it finds it."""
    return _PLACE / str(descriptor)
