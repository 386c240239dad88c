"""Files that are in memory only: no path of a file system leads to them, and they are gone when nobody has them open.

Nothing has to be cleared away, also after a kill: there is no name that could be left behind.
"""

import errno
import fcntl
import os
from typing import Final

_NOEXEC_SEAL: Final = 8
"""Hardened systems want it (vm.memfd_noexec), kernels before 6.3 do not know it, and Python has no name for it."""


def hold(data: bytes) -> int:
    """A descriptor of a file with `data`, for its owner alone and sealed against changes.

    Raises OSError where the system has no such files: only Linux has.
    """
    with os.fdopen(_created(), "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), 0o600)
        fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        return os.dup(file.fileno())


def _created() -> int:
    create = getattr(os, "memfd_create", None)
    if create is None:
        raise OSError(errno.ENOSYS, "only Linux can")
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        descriptor: int = create("trimtab", flags | _NOEXEC_SEAL)
    except OSError as failure:
        if failure.errno != errno.EINVAL:
            raise
        descriptor = create("trimtab", flags)
    return descriptor
