"""HTTP/1.1 to API servers, at about half of what the other transport costs, to import and to send by.

It has what API servers take: TLS, connections that are kept, bodies in pieces. Strict on purpose: what does not read as
it should is no answer, and its connection is closed. What goes through a proxy is left to the other transport.
"""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from trimtab.base.connection import Connection, Place
from trimtab.base.framing import Head, body_of, closes, head_of, said
from trimtab.base.http import MAX_BODY, AiohttpTransport, BodyTooLarge, Request, Response, TransportError

_REST_S: Final = 15.0
"""What rests for longer may be closed by whatever stands in between, without a word."""
_MOST_WORDS: Final = 16
"""So many are listened to before an answer begins."""
_FAILURES: Final = (OSError, EOFError)


class Direct:
    """A transport. Invariant: what rests is open, the longest at the front; what has ended is in no list."""

    def __init__(self) -> None:
        self._connections: set[Connection] = set()
        self._resting: dict[Place, deque[Connection]] = {}
        self._trust: ssl.SSLContext | None = None
        self._other: AiohttpTransport | None = None

    def __repr__(self) -> str:
        return f"<Direct {len(self._connections)} open, {sum(map(len, self._resting.values()))} resting>"

    async def send(self, request: Request) -> Response:
        """Return once the headers are here. Raises TransportError if they never come."""
        if request.proxy is not None:
            self._other = self._other or AiohttpTransport()
            return await self._other.send(request)
        head = said(request)
        ends = None if request.timeout is None else asyncio.get_running_loop().time() + request.timeout
        try:
            return await self._exchange(request, head, ends)
        except _FAILURES as failure:
            raise TransportError(_words(request, failure)) from failure

    async def close(self) -> None:
        """Close all connections."""
        for connection in list(self._connections):
            connection.close()
        self._resting.clear()
        if self._other is not None:
            await self._other.close()
        await asyncio.sleep(0)

    async def _exchange(self, request: Request, head: bytes, ends: float | None) -> "Answer":
        place = await self._place(request)
        while (connection := self._rested(place)) is not None:
            try:
                return await self._ask(connection, request, head, ends)
            except (ConnectionError, EOFError):
                # the server may close what rests at the very moment it is used; a GET can be sent again
                if request.method != "GET":
                    raise
        return await self._ask(await self._connected(place, ends), request, head, ends)

    async def _place(self, request: Request) -> Place:
        url = request.url
        host = url.raw_host or ""
        if url.scheme != "https":
            return Place(host, url.port or 80, None, None)
        if request.tls is None and self._trust is None:
            made = await asyncio.to_thread(ssl.create_default_context)
            if self._trust is None:
                self._trust = made
        return Place(host, url.port or 443, request.tls or self._trust, request.tls_server_name or host)

    def _rested(self, place: Place) -> Connection | None:
        """The connection that has not been at rest for as long as the others."""
        resting = self._resting.get(place)
        if resting is None:
            return None
        _forget_old(resting)
        while resting:
            connection = resting.pop()
            if connection.usable:
                return connection
            connection.close()
        return None

    async def _connected(self, place: Place, ends: float | None) -> Connection:
        for other, resting in list(self._resting.items()):
            _forget_old(resting)
            if not resting:
                del self._resting[other]
        async with asyncio.timeout_at(ends):
            connection = await Connection.to(place, self._lost)
        if not connection.over:
            self._connections.add(connection)
        return connection

    async def _ask(self, connection: Connection, request: Request, head: bytes, ends: float | None) -> "Answer":
        try:
            connection.say(head, request.body or b"")
            for _ in range(_MOST_WORDS):
                await connection.say_on(ends)
                while (found := head_of(connection.buffer)) is None:
                    await connection.more(ends, request.idle_timeout)
                if found.status >= 200:
                    return Answer(request, found, connection, ends, self._rest)
                if found.status == 101:
                    break
            raise OSError("the server said something else than an answer")
        except BaseException:
            connection.close()
            raise

    def _rest(self, connection: Connection) -> None:
        if connection.rest():
            self._resting.setdefault(connection.place, deque()).append(connection)
        else:
            connection.close()

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        with contextlib.suppress(KeyError, ValueError):
            self._resting[connection.place].remove(connection)


class Answer:
    """An answer whose body is still to be read. Its connection goes on to `rest`, or is closed."""

    def __init__(
        self,
        request: Request,
        head: Head,
        connection: Connection,
        ends: float | None,
        rest: Callable[[Connection], None],
    ) -> None:
        self.status = head.status
        self.headers: Mapping[str, str] = head.headers
        self._request, self._connection, self._ends, self._rest = request, connection, ends, rest
        self._body = body_of(request.method, head)
        self._last = self._body.until_closed or closes(head)
        if self._body.done:
            self._finish()

    async def read(self, limit: int = MAX_BODY) -> bytes:
        """The whole body. Raises BodyTooLarge beyond `limit` bytes, TransportError if it breaks off."""
        parts: list[bytes] = []
        size = 0
        try:
            while not self._body.done:
                piece = await self._piece()
                size += len(piece)
                if size > limit:
                    self._connection.close()
                    raise BodyTooLarge(
                        f"{self._request.method} {self._request.url.with_user(None)}: over {limit} bytes"
                    )
                parts.append(piece)
        finally:
            await self.close()
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises TransportError if it breaks off."""
        try:
            while not self._body.done:
                if piece := await self._piece():
                    yield piece
        finally:
            await self.close()

    async def close(self) -> None:
        """Give up on the rest of the body."""
        if not self._body.done:
            self._connection.close()

    async def _piece(self) -> bytes:
        """What has come of the body by now; nothing at its end only."""
        body, connection = self._body, self._connection
        try:
            while not (piece := body.take(connection.buffer)) and not body.done:
                if body.until_closed and connection.over and connection.failure is None:
                    body.done = True
                else:
                    await connection.more(self._ends, self._request.idle_timeout)
        except _FAILURES as failure:
            raise TransportError(_words(self._request, failure, "the answer broke off")) from failure
        if body.done:
            self._finish()
        return piece

    def _finish(self) -> None:
        if self._last:
            self._connection.close()
        else:
            self._rest(self._connection)


def _forget_old(resting: deque[Connection]) -> None:
    oldest = asyncio.get_running_loop().time() - _REST_S
    while resting and resting[0].since <= oldest:
        resting.popleft().close()


def _words(request: Request, failure: Exception, ended: str = "the server closed the connection") -> str:
    if isinstance(failure, EOFError):
        cause = ended
    elif isinstance(failure, TimeoutError):
        cause = "timed out"
    else:
        cause = str(failure) or type(failure).__name__
    return f"{request.method} {request.url.with_user(None).with_query(None)}: {cause}"
