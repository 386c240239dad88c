"""A layer at the transport's seam: it counts what passes, and answers, breaks or delays what a test picks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from trimtab.base.http import MAX_BODY, AiohttpTransport, Request, Response, TransportError


@dataclass
class Canned:
    """An answer that the server did not give."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    async def read(self, limit: int = MAX_BODY) -> bytes:
        return self.body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.body

    async def close(self) -> None:
        pass


class Stream:
    """A real endless answer into which a test can speak, or which it can break."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._said: asyncio.Queue[bytes | Exception] = asyncio.Queue()

    def say(self, what: bytes | Exception) -> None:
        self._said.put_nowait(what)

    async def read(self, limit: int = MAX_BODY) -> bytes:
        return await self._response.read(limit)

    async def chunks(self) -> AsyncIterator[bytes]:
        real = aiter(self._response.chunks())
        while True:
            server = asyncio.ensure_future(anext(real, None))
            test = asyncio.ensure_future(self._said.get())
            try:
                await asyncio.wait({server, test}, return_when=asyncio.FIRST_COMPLETED)
                if test.done():
                    said = test.result()
                    if isinstance(said, Exception):
                        raise said
                    yield said
                    return  # nothing of the server's may follow what it never said
                chunk = server.result()
                if chunk is None:
                    return
                yield chunk
            finally:
                server.cancel()
                test.cancel()
                await asyncio.wait({server, test})

    async def close(self) -> None:
        await self._response.close()


Fault = Callable[[Request], Awaitable[Response | None]]


class Faults:
    """The real transport behind a list of faults; the first one that has an answer gives it."""

    def __init__(self) -> None:
        self.real = AiohttpTransport()
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.streams: dict[str, Stream] = {}  # the last opened of each path

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        for fault in self.faults:
            if (response := await fault(request)) is not None:
                return response
        response = await self.real.send(request)
        if request.url.query.get("watch") and response.status == 200:
            stream = Stream(response)
            self.streams[request.url.path] = stream
            return stream
        return response

    def sent(self, method: str = "", path: str = "") -> list[Request]:
        """The requests so far, in order."""
        return [r for r in self.requests if method in {"", r.method} and path in r.url.path]

    def answer(self, *answers: Canned | Exception, method: str = "", path: str = "") -> None:
        """Give these answers, one per fitting request, then let the server speak."""
        left = list(answers)

        async def fault(request: Request) -> Response | None:
            if not left or method not in {"", request.method} or path not in request.url.path:
                return None
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.faults.append(fault)

    def lose_answer(self, times: int = 1, *, method: str, path: str = "") -> None:
        """Let the server do what was asked, and lose its answer."""
        left = [None] * times

        async def fault(request: Request) -> Response | None:
            if not left or request.method != method or path not in request.url.path:
                return None
            left.pop()
            await (await self.real.send(request)).read()
            raise TransportError("reset by peer")

        self.faults.append(fault)
