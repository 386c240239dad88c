"""Files that are in memory only: no path leads to them, and they are gone with the last process that has them open.

A child reads them as `/proc/self/fd/…`, by descriptors that it inherits. Nothing has to be cleared away, also after a
kill: there is no name that could be left behind.
"""

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from trimtab.base.errors import Terminal

MOST: Final = 200
_PLACE: Final = Path("/proc/self/fd")
_NOEXEC_SEAL: Final = 8
"""Hardened systems want it (vm.memfd_noexec), kernels before 6.3 do not know it, and Python has no name for it."""


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
            descriptor = _created()
            stack.callback(os.close, descriptor)
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(data)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
            descriptors[path] = descriptor
        yield descriptors


def _created() -> int:
    try:
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        try:
            return os.memfd_create("trimtab", flags | _NOEXEC_SEAL)
        except OSError as failure:
            if failure.errno != errno.EINVAL:
                raise
            return os.memfd_create("trimtab", flags)
    except (AttributeError, OSError) as failure:
        why = getattr(failure, "strerror", None) or "only Linux can"
        raise Terminal(
            "BuildFailed", f"decrypted files are given to kustomize in memory (memfd_create), and there is none: {why}"
        ) from failure


def place_of(descriptor: int) -> Path:
    """Where a process that has it finds it."""
    return _PLACE / str(descriptor)
