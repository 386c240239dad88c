"""Doubles of what lies between us and a server: an HTTP proxy, and a wire that is cut.

Both are real TCP on loopback. No packet leaves the machine, whatever the proxy is asked for: it connects to what the
test says.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Speaks CONNECT and plain forwarding. `asked` is the first line of each request, `shown` what signed it in.

    `leads` says where a host and port really are; everything else is refused with 502.
    """

    login: str = ""
    leads: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.asked.append(lines[0])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        method, target, _ = lines[0].split(" ")
        sent = headers.get("proxy-authorization", "")
        self.shown.append(sent)
        if self.login and sent != "Basic " + base64.b64encode(self.login.encode()).decode():
            writer.write(
                b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="p"\r\n'
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            await writer.drain()
            return
        host = target if method == "CONNECT" else target.split("/")[2]
        if host not in self.leads:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.leads[host])
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            path = "/" + target.split("/", 3)[3]
            kept = [line for line in lines[1:] if not line.lower().startswith(("proxy-", "connection:"))]
            upstream.write("\r\n".join([f"{method} {path} HTTP/1.1", "Connection: close", *kept]).encode("latin-1"))
        await asyncio.gather(_pump(reader, upstream), _pump(upstream_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int = 1 << 62) -> None:
    with contextlib.suppress(OSError):
        while most > 0 and (chunk := await reader.read(min(1 << 16, most))):
            most -= len(chunk)
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


@contextlib.asynccontextmanager
async def proxy(login: str = "", **leads: int) -> AsyncIterator[Proxy]:
    """A proxy that is listening. `leads` is filled by the test."""
    double = Proxy(login, dict(leads))
    server = await asyncio.start_server(double.handle, "127.0.0.1", 0)
    double.port = server.sockets[0].getsockname()[1]
    async with server:
        yield double


@dataclass
class Cutter:
    """A wire to `port` that is cut after `most` bytes from there, on the connection that follows `passes` others."""

    to: int
    port: int = 0
    most: int = 1 << 62
    passes: int = 0
    sent: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.to)
        limit = self.most if self.passes <= 0 else 1 << 62
        self.passes -= 1

        async def back() -> None:
            left = limit
            with contextlib.suppress(OSError):
                while left > 0 and (chunk := await upstream_reader.read(min(1 << 12, left))):
                    left -= len(chunk)
                    self.sent += len(chunk)
                    writer.write(chunk)
                    await writer.drain()
            # Cut, not ended in good order.
            writer.transport.abort() if left <= 0 else writer.close()
            upstream.close()

        await asyncio.gather(_pump(reader, upstream), back())


@contextlib.asynccontextmanager
async def cutter(to: int) -> AsyncIterator[Cutter]:
    """A wire to the server on port `to`, whole until the test says otherwise."""
    double = Cutter(to)
    server = await asyncio.start_server(double.handle, "127.0.0.1", 0)
    double.port = server.sockets[0].getsockname()[1]
    async with server:
        yield double
