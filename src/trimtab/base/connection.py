"""One connection: what came and was not read yet, and the wait for more.

One request at a time has it, so that nobody waits but one. What comes while it rests was not asked for and would be
taken for the next answer: it ends the connection.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple, cast

_CONNECT_S: Final = 10.0
_MOST_UNREAD: Final = 1 << 20
_IN_ONE_GO: Final = 1 << 16


class Place(NamedTuple):
    """What a connection goes to, and how the other side proves itself."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    name: str | None


class Connection(asyncio.Protocol):
    """What is read and written; `lost` is called with it when it has ended."""

    _transport: asyncio.Transport

    def __init__(self, place: Place, loop: asyncio.AbstractEventLoop, lost: "Callable[[Connection], None]") -> None:
        self.place = place
        self.buffer = bytearray()
        self.over = False
        """Whether the other side has said all that it will say."""
        self.failure: OSError | None = None
        self.since = 0.0
        """When it was laid to rest."""
        self._loop = loop
        self._lost = lost
        self._resting = False
        self._full = False
        self._unsaid = memoryview(b"")
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None

    @classmethod
    async def to(cls, place: Place, lost: "Callable[[Connection], None]") -> "Connection":
        """A new one. Raises OSError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_S):
            try:
                _, connection = await loop.create_connection(
                    lambda: cls(place, loop, lost),
                    place.host,
                    place.port,
                    ssl=place.tls,
                    server_hostname=place.name,
                    happy_eyeballs_delay=0.25,
                )
            except OSError as failure:
                raise OSError(f"cannot connect: {failure.strerror or failure}") from failure
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._resting:
            self.close()
            return
        self.buffer += data
        if len(self.buffer) > _MOST_UNREAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self.over = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over = True
        self.failure = exc if exc is None or isinstance(exc, OSError) else OSError(f"{type(exc).__name__}: {exc}")
        self._wake()
        self._lost(self)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    @property
    def usable(self) -> bool:
        """Whether a request can be said on it."""
        return not (self.over or self._transport.is_closing())

    def say(self, head: bytes, body: bytes) -> None:
        """Begin to send a request; one that is not large is sent by this."""
        self._resting = False
        if len(body) <= _IN_ONE_GO:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._unsaid = memoryview(body)

    async def say_on(self, deadline: float | None) -> None:
        """Send the rest of it, no faster than it is taken, and none of it once there is something to listen to."""
        while self._unsaid and not (self.buffer or self.over):
            if self._full:
                await self.more(deadline)
            else:
                self._transport.write(self._unsaid[:_IN_ONE_GO])
                self._unsaid = self._unsaid[_IN_ONE_GO:]

    async def more(self, deadline: float | None, idle_s: float | None = None) -> None:
        """Wait until something has happened, until `deadline` by the clock of the loop. Raises TimeoutError as well.

        Nobody is idle who does not take what we have to say.
        """
        if self.over:
            raise self.failure or EOFError("the server closed the connection")
        self._listen()
        if idle_s is not None and not self._full:
            ends = self._loop.time() + idle_s
            deadline = ends if deadline is None else min(deadline, ends)
        self._waiter = self._loop.create_future()
        timer = None if deadline is None else self._loop.call_at(deadline, self._late)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def rest(self) -> bool:
        """Be there for the next request; False if it cannot be."""
        if self.buffer or self._unsaid or not self.usable or self._transport.get_write_buffer_size():
            return False
        self._listen()
        self._resting, self.since = True, self._loop.time()
        return True

    def close(self) -> None:
        """Close it at once."""
        self._transport.abort()

    def _listen(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _late(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError())
