"""The HTTP transport: a seam of one method.

Everything that leaves this process over HTTP goes through `Transport.send`: there requests are counted, faults are
injected and addresses are checked. Redirects are never followed here: whoever knows the origin decides.

aiohttp is imported by the first request, since commands have to answer in less time than that takes (`base/direct.py`).
"""

import asyncio
import base64
import io
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from multidict import CIMultiDict
from yarl import URL

if TYPE_CHECKING:
    import aiohttp

MAX_BODY = 64 << 20
_CHUNK = 1 << 16
_IN_ONE_GO = 1 << 20


class TransportError(Exception):
    """The exchange did not happen or broke off: no answer, or only a part of one."""


class BodyTooLarge(TransportError):
    """The answer was larger than the caller allows."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP exchange. `timeout` (seconds) covers all of it, None leaves it open (watches)."""

    method: str
    url: URL
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    timeout: float | None = 60.0
    idle_timeout: float | None = None  # seconds without a byte
    tls: ssl.SSLContext | None = None
    tls_server_name: str | None = None
    proxy: URL | None = None


class Response(Protocol):
    """An answer whose body is still to be read. Read it, or close it."""

    status: int
    headers: Mapping[str, str]  # case-insensitive

    async def read(self, limit: int = MAX_BODY) -> bytes:
        """The whole body. Raises BodyTooLarge beyond `limit` bytes, TransportError if it breaks off."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises TransportError if it breaks off."""
        ...

    async def close(self) -> None:
        """Give up on the rest of the body."""
        ...


class Transport(Protocol):
    """The seam."""

    async def send(self, request: Request) -> Response:
        """Return once the headers are here. Raises TransportError if they never come."""
        ...


class AiohttpTransport:
    """The real transport. One per process: connections are pooled per address and TLS context."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Request) -> Response:
        import aiohttp

        session = self._session or self._open()
        shown = _shown_to_proxy(request.proxy)
        timeout = aiohttp.ClientTimeout(total=request.timeout, sock_connect=10.0, sock_read=request.idle_timeout)
        try:
            response = await session.request(
                request.method,
                request.url,
                data=_payload(request.body),
                headers=_with(request.headers, shown) if request.url.scheme == "http" else request.headers,
                allow_redirects=False,
                timeout=timeout,
                ssl=request.tls if request.tls is not None else True,
                server_hostname=request.tls_server_name,
                # Not in the address: that is part of what errors say.
                proxy=request.proxy and request.proxy.with_user(None),
                proxy_headers=shown if request.url.scheme == "https" else None,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            raise TransportError(_words(request, failure)) from failure
        return _AiohttpResponse(request, response)

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()
            self._session = None
            await asyncio.sleep(0)

    def _open(self) -> "aiohttp.ClientSession":
        import aiohttp

        # limit=0: long watches must not eat the slots of short requests; callers bound what is in flight.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "trimtab"},
            read_bufsize=1 << 20,
            max_line_size=1 << 16,
            max_field_size=1 << 16,
        )
        return self._session


class _AiohttpResponse:
    def __init__(self, request: Request, response: "aiohttp.ClientResponse") -> None:
        self._request = request
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self, limit: int = MAX_BODY) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                self._response.close()
                raise BodyTooLarge(f"{self._request.method} {self._request.url.with_user(None)}: over {limit} bytes")
            parts.append(chunk)
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        import aiohttp

        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            raise TransportError(_words(self._request, failure)) from failure
        self._response.release()

    async def close(self) -> None:
        self._response.close()


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    # aiohttp warns of large bytes, which it writes in one go, and sends a file in pieces.
    return io.BytesIO(body) if body is not None and len(body) > _IN_ONE_GO else body


def _with(headers: Mapping[str, str], more: Mapping[str, str]) -> Mapping[str, str]:
    """`headers` and `more`; a name may be there several times, as that of a group is."""
    return CIMultiDict([*headers.items(), *more.items()]) if more else headers


def _shown_to_proxy(proxy: URL | None) -> dict[str, str]:
    if proxy is None or not proxy.user:
        return {}
    pair = base64.b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {pair}"}


def _words(request: Request, failure: BaseException) -> str:
    import aiohttp

    address = request.url.with_user(None).with_query(None)
    if isinstance(failure, aiohttp.ClientConnectorError):
        cause = f"cannot connect: {failure.os_error.strerror or failure.os_error}"
    else:
        cause = "timed out" if isinstance(failure, TimeoutError) else str(failure) or type(failure).__name__
    return f"{request.method} {address}: {cause}"
