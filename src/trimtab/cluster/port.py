"""A port that is ours from the moment it is chosen."""

import contextlib
import errno
import socket
from collections.abc import Iterator

from trimtab.base.errors import Terminal

_LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def reserve(wanted: int | None, *, preferred: int | None = None) -> Iterator[int]:
    """Hold a loopback port while a server that shares ports (SO_REUSEPORT) takes it over.

    `wanted` or nothing: Terminal if it is taken. `preferred` is only tried first. A port found free and released again
    could be taken by another before the server starts; a bound socket that does not listen gets no connections.
    """
    holder = _bind(wanted) if wanted else (preferred and _bind(preferred)) or _bind(0)
    if not holder:
        raise Terminal(
            "PortTaken", f"port {wanted} on {_LOOPBACK} is in use; choose another, or none to get a free one"
        )
    with holder:
        yield holder.getsockname()[1]


def _bind(port: int) -> socket.socket | None:
    try:
        if port:
            # Without sharing at first: a port that another server of this user shares would otherwise pass for free.
            # For port 0 the kernel looks for one that nobody has, shared or not.
            with socket.socket() as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind((_LOOPBACK, port))
        holder = socket.socket()
        # Not SO_REUSEADDR: it would let in any server that sets it, as most do, until one listens.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((_LOOPBACK, port))
    except OSError as failure:
        if failure.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise
    return holder
