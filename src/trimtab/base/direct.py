"""HTTP/1.1 to the API server for commands, which live for a fraction of a second.

The transport of the controllers takes longer to import than a command has to answer. This one has what one API server
takes: TLS, connections that are kept, bodies in pieces. Strict on purpose: what does not read as it should is no
answer, and its connection is closed. What goes through a proxy is left to the other.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import Final, NamedTuple, SupportsIndex

from multidict import CIMultiDict

from trimtab.base.http import MAX_BODY, AiohttpTransport, BodyTooLarge, Request, Response, TransportError

_CONNECT_S: Final = 10.0
_REST_S: Final = 15.0
"""What rests for longer may be closed by whatever stands in between, without a word."""
_LONGEST_HEAD: Final = 1 << 16
_MOST_WORDS: Final = 16
"""So many are listened to before an answer begins, and after it has ended."""
_BUFFER: Final = 1 << 20
_UNTIL_CLOSED: Final = -1
_OUR_HEADERS: Final = "User-Agent: trimtab\r\nAccept-Encoding: identity\r\n"
_FAILURES: Final = (OSError, EOFError, asyncio.LimitOverrunError)


class Place(NamedTuple):
    """What a connection goes to, and how the other side proves itself."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    name: str | None


class Direct:
    """A transport; one per command."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._resting: dict[Place, list[Line]] = {}
        self._trust: ssl.SSLContext | None = None
        self._other: AiohttpTransport | None = None

    async def send(self, request: Request) -> Response:
        """Return once the headers are here. Raises TransportError if they never come."""
        if request.proxy is not None:
            self._other = self._other or AiohttpTransport()
            return await self._other.send(request)
        said = _said(request)
        ends = None if request.timeout is None else asyncio.get_running_loop().time() + request.timeout
        try:
            async with asyncio.timeout_at(ends):
                return await self._exchange(request, said, ends)
        except _FAILURES as failure:
            raise TransportError(_words(request, failure)) from failure

    async def close(self) -> None:
        """Close all connections."""
        for line in self._lines:
            line.close()
        self._lines.clear()
        self._resting.clear()
        if self._other is not None:
            await self._other.close()
        await asyncio.sleep(0)

    async def _exchange(self, request: Request, said: bytes, ends: float | None) -> "Answer":
        place = self._place(request)
        resting = self._resting.setdefault(place, [])
        while resting:
            line = resting.pop()
            if line.fresh:
                try:
                    return await self._ask(line, request, said, ends)
                except (ConnectionError, EOFError):
                    # the server may close what rests at the very moment it is used; a GET can be sent again
                    if request.method != "GET":
                        raise
            line.close()
        line = await Line.to(place, resting)
        self._lines.append(line)
        return await self._ask(line, request, said, ends)

    def _place(self, request: Request) -> Place:
        url = request.url
        if url.scheme != "https":
            return Place(url.raw_host or "", url.port or 80, None, None)
        if request.tls is None and self._trust is None:
            self._trust = ssl.create_default_context()
        return Place(
            url.raw_host or "", url.port or 443, request.tls or self._trust, request.tls_server_name or url.raw_host
        )

    async def _ask(self, line: "Line", request: Request, said: bytes, ends: float | None) -> "Answer":
        with contextlib.ExitStack() as unless_answered:
            unless_answered.callback(line.close)
            await line.say(said, request.body)
            for _ in range(_MOST_WORDS):
                async with asyncio.timeout(request.idle_timeout):
                    status, headers = _head(await line.reader.readuntil(b"\r\n\r\n"))
                if status >= 200:
                    answer = Answer(request, line, status, headers, ends)
                    unless_answered.pop_all()
                    return answer
                if status == 101:
                    break
            raise OSError("the server said something else than an answer")


class Line:
    """A connection."""

    def __init__(self, reader: "Reader", writer: asyncio.StreamWriter, resting: "list[Line]") -> None:
        self.reader, self._writer, self._resting = reader, writer, resting

    @classmethod
    async def to(cls, place: Place, resting: "list[Line]") -> "Line":
        """A new one, which goes to those that are `resting` after each answer. Raises OSError."""
        loop = asyncio.get_running_loop()
        reader = Reader(limit=_BUFFER, loop=loop)
        async with asyncio.timeout(_CONNECT_S):
            try:
                transport, protocol = await loop.create_connection(
                    lambda: asyncio.StreamReaderProtocol(reader, loop=loop),
                    place.host,
                    place.port,
                    ssl=place.tls,
                    server_hostname=place.name,
                    happy_eyeballs_delay=0.25,
                )
            except OSError as failure:
                raise OSError(f"cannot connect: {failure.strerror or failure}") from failure
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop), resting)

    @property
    def fresh(self) -> bool:
        """Whether it can be used again: open, without a word that nobody asked for, and not at rest for long."""
        rested = asyncio.get_running_loop().time() - self.reader.since
        return rested < _REST_S and not (self.reader.stray or self.reader.at_eof() or self._writer.is_closing())

    async def say(self, head: bytes, body: bytes | None) -> None:
        """Send a request."""
        self.reader.resting = False
        self._writer.write(head)
        if body:
            self._writer.write(body)
        await self._writer.drain()

    def rest(self) -> None:
        """Be there for the next request."""
        self.reader.rest(asyncio.get_running_loop().time())
        self._resting.append(self)

    def close(self) -> None:
        """Close it at once."""
        self._writer.transport.abort()


class Reader(asyncio.StreamReader):
    """A reader that notes what comes while nothing was asked: it would be taken for the next answer."""

    resting = False
    stray = False
    since = 0.0

    def rest(self, now: float) -> None:
        """From now on nothing is awaited."""
        self.resting, self.since = True, now
        self.stray = bool(self._buffer)  # type: ignore[attr-defined]

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.stray |= self.resting
        super().feed_data(data)


class Answer:
    """An answer whose body is still to be read."""

    def __init__(
        self, request: Request, line: Line, status: int, headers: "CIMultiDict[str]", ends: float | None
    ) -> None:
        self.status = status
        self.headers: Mapping[str, str] = headers
        self._request, self._line, self._ends = request, line, ends
        self._length = _length(request, status, headers)
        self._done = False

    async def read(self, limit: int = MAX_BODY) -> bytes:
        """The whole body. Raises BodyTooLarge beyond `limit` bytes, TransportError if it breaks off."""
        parts: list[bytes] = []
        size = 0
        async with contextlib.aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                size += len(piece)
                if size > limit:
                    raise BodyTooLarge(
                        f"{self._request.method} {self._request.url.with_user(None)}: over {limit} bytes"
                    )
                parts.append(piece)
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises TransportError if it breaks off."""
        async with contextlib.aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Give up on the rest of the body."""
        if not self._done:
            self._line.close()

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        match self._length:
            case None:
                body = self._chunked()
            case int(length) if length == _UNTIL_CLOSED:
                body = self._rest()
            case length:
                body = self._counted(length)
        try:
            async with contextlib.aclosing(body):
                while True:
                    # an own deadline for each piece, and none while whoever reads is at work with it
                    async with asyncio.timeout_at(self._ends), asyncio.timeout(self._request.idle_timeout):
                        piece = await anext(body, b"")
                    if not piece:
                        break
                    yield piece
            self._done = True
        except _FAILURES as failure:
            raise TransportError(_words(self._request, failure)) from failure
        finally:
            if self._done and self._length != _UNTIL_CLOSED and self.headers.get("Connection", "").lower() != "close":
                self._line.rest()
            else:
                self._line.close()

    async def _counted(self, length: int) -> AsyncGenerator[bytes, None]:
        while length:
            piece = await self._line.reader.read(min(length, _BUFFER))
            if not piece:
                raise EOFError("the answer broke off")
            length -= len(piece)
            yield piece

    async def _rest(self) -> AsyncGenerator[bytes, None]:
        while piece := await self._line.reader.read(_BUFFER):
            yield piece

    async def _chunked(self) -> AsyncGenerator[bytes, None]:
        reader = self._line.reader
        while size := _size(await reader.readuntil(b"\r\n")):
            async for piece in self._counted(size):
                yield piece
            if await reader.readexactly(2) != b"\r\n":
                raise OSError("a chunk of the answer does not end where it should")
        for _ in range(_MOST_WORDS):
            if await reader.readuntil(b"\r\n") == b"\r\n":
                return
        raise OSError("the answer has more trailers than there is use for")


def _said(request: Request) -> bytes:
    """The head of a request. Raises TransportError for what would be read as something else."""
    url = request.url
    host = f"[{url.raw_host}]" if ":" in (url.raw_host or "") else url.raw_host
    port = "" if url.is_default_port() else f":{url.port}"
    lines = [f"{request.method} {url.raw_path_qs} HTTP/1.1", f"Host: {host}{port}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if request.body is not None or request.method in {"POST", "PUT", "PATCH"}:
        lines.append(f"Content-Length: {len(request.body or b'')}")
    if not all(line.isprintable() for line in lines) or " " in url.raw_path_qs:
        raise TransportError(f"{request.method} {url.with_query(None)}: a header or the path has characters of control")
    return ("\r\n".join(lines) + "\r\n" + _OUR_HEADERS + "\r\n").encode()


def _head(text: bytes) -> "tuple[int, CIMultiDict[str]]":
    """The status and the headers of an answer. Raises OSError for what is none."""
    if len(text) > _LONGEST_HEAD:
        raise OSError(f"the headers of the answer have more than {_LONGEST_HEAD} bytes")
    first, *lines = text.decode("latin-1").split("\r\n")[:-2]
    version, _, rest = first.partition(" ")
    code = rest.partition(" ")[0]
    if version not in ("HTTP/1.0", "HTTP/1.1") or len(code) != 3 or not code.isdecimal():
        raise OSError(f"the answer is none of HTTP: {first[:80]!a}")
    headers = CIMultiDict[str]()
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise OSError(f"a header of the answer cannot be read: {line[:80]!a}")
        headers.add(name, value.strip(" \t"))
    if version == "HTTP/1.0":
        headers["Connection"] = "close"
    return int(code), headers


def _length(request: Request, status: int, headers: "CIMultiDict[str]") -> int | None:
    """How many bytes the body has; None if it says so piece by piece. Raises OSError for both, and for nonsense."""
    if request.method == "HEAD" or status in (204, 304):
        return 0
    lengths, codings = headers.getall("Content-Length", []), headers.getall("Transfer-Encoding", [])
    if not lengths and not codings:
        return _UNTIL_CLOSED
    if not lengths and [coding.lower() for coding in codings] == ["chunked"]:
        return None
    if codings or len(set(lengths)) != 1 or not (lengths[0].isascii() and lengths[0].isdecimal()):
        raise OSError("the answer does not say where it ends")
    return int(lengths[0])


def _size(line: bytes) -> int:
    digits = line.removesuffix(b"\r\n").partition(b";")[0].strip()
    if not digits or len(digits) > 8 or digits.strip(b"0123456789abcdefABCDEF"):
        raise OSError("the size of a chunk of the answer cannot be read")
    return int(digits, 16)


def _words(request: Request, failure: BaseException) -> str:
    if isinstance(failure, asyncio.IncompleteReadError):
        cause = "the server closed the connection"
    elif isinstance(failure, TimeoutError):
        cause = "timed out"
    else:
        cause = str(failure) or type(failure).__name__
    return f"{request.method} {request.url.with_user(None).with_query(None)}: {cause}"
