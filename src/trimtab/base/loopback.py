"""A service on the loopback address that one child reaches, also where it has a network of its own.

A listening socket stays in the network it was made in, whoever holds it. So the child, alone in its new network, makes
one there before it becomes the program, and hands it to us: what connects to it in there is accepted out here. Nothing
else leads in or out, and the program itself does not hold the socket. Where the kernel gives no network of its own, the
socket is one of ours, which others on this machine reach as well: whoever serves has to ask who it is in any case.
"""

import contextlib
import fcntl
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, Self

HOST: Final = "127.0.0.1"
_BACKLOG: Final = 64
_PRIVATE: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""No other child inherits what is received."""
_GET_FLAGS: Final = 0x8913
_SET_FLAGS: Final = 0x8914
_UP: Final = 0x1
"""Of netdevice(7)."""
_LONGEST_WORD: Final = 256


class Loopback:
    """The address, and who answers there: `serve` is entered with the listening socket once the child runs."""

    def __init__(self, serve: Callable[[socket.socket], AbstractAsyncContextManager[None]]) -> None:
        self._serve = serve
        self._listener = socket.create_server((HOST, 0), backlog=_BACKLOG)
        self._here, self._there = socket.socketpair()
        self.port: int = self._listener.getsockname()[1]

    def join(self) -> None:
        """In the child, once it is alone in its network: listen there, and tell its parent."""
        try:
            _bring_up()
            listener = socket.create_server((HOST, self.port), backlog=_BACKLOG)
            socket.send_fds(self._there, [b"listening"], [listener.fileno()])
        except OSError as error:
            self._there.send((error.strerror or str(error)).encode()[:_LONGEST_WORD])

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve, once the child has been started. Raises OSError if nobody could listen in its network."""
        # The child's end is closed in it when it becomes the program: by now there is a word, or there will be none.
        self._there.close()
        word, found = self._heard()
        if found:
            self._listener.close()
            self._listener = socket.socket(fileno=found[0])
        elif word:
            raise OSError(f"its own network has no loopback address: {word.decode(errors='replace')}")
        self._listener.setblocking(False)
        async with self._serve(self._listener):
            yield

    def _heard(self) -> tuple[bytes, list[int]]:
        self._here.setblocking(False)
        try:
            word, found, _, _ = socket.recv_fds(self._here, _LONGEST_WORD, 1, _PRIVATE)
        except BlockingIOError:
            return b"", []
        return word, found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for one in (self._listener, self._here, self._there):
            one.close()


def _bring_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        name = b"lo"
        answer = fcntl.ioctl(control, _GET_FLAGS, struct.pack("16sh14x", name, 0))
        flags = struct.unpack("16sh14x", answer)[1]
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh14x", name, flags | _UP))
