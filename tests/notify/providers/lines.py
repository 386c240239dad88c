"""A double of servers that speak in lines: SMTP as Postfix does, NATS as nats-server does; on loopback, with TLS."""

import asyncio
import base64
import json
import ssl
from dataclasses import dataclass, field


@dataclass
class Mail:
    """Takes mail. `says` are replies in place of the usual ones, by the first word of a command."""

    tls: ssl.SSLContext
    implicit: bool = False
    offers: tuple[str, ...] = ("STARTTLS", "AUTH PLAIN LOGIN", "SIZE 1000000")
    says: dict[str, str] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    message: bytes = b""
    port: int = 0
    secured: bool = False
    signed_in: str = ""
    drips: bool = False
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> "Mail":
        context = self.tls if self.implicit else None
        self.secured = self.implicit
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=context, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(words: str) -> None:
            writer.write(words.encode() + b"\r\n")

        try:
            while self.drips:
                # Always something, and never a line.
                writer.write(b"2")
                await writer.drain()
                await asyncio.sleep(0.02)
            say(self.says.get("", "220 mail.example ESMTP"))
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                self.heard.append(line)
                word = line.split(" ")[0]
                if word in self.says:
                    say(self.says[word])
                    if word == "STARTTLS":
                        return
                    continue
                match word:
                    case "EHLO":
                        offers = [one for one in self.offers if not (self.secured and one == "STARTTLS")]
                        for number, one in enumerate(["mail.example", *offers]):
                            say(f"250{' ' if number == len(offers) else '-'}{one}")
                    case "STARTTLS":
                        say("220 go ahead")
                        await writer.drain()
                        await writer.start_tls(self.tls)
                        self.secured = True
                    case "AUTH":
                        self.signed_in = base64.b64decode(line.split(" ")[2]).decode()
                        say("235 welcome")
                    case "DATA":
                        say("354 go on")
                        await writer.drain()
                        self.message = await reader.readuntil(b"\r\n.\r\n")
                        say(self.says.get(".", "250 taken"))
                    case _:
                        say("250 fine")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@dataclass
class Subjects:
    """Takes what is published. `error` is said in place of PONG."""

    tls: ssl.SSLContext
    demands_tls: bool = False
    headers: bool = True
    error: str = ""
    most: int = 1 << 20
    connected: dict[str, object] = field(default_factory=dict)
    published: list[tuple[bytes, bytes]] = field(default_factory=list)
    port: int = 0
    secured: bool = False
    drips: bool = False
    first: bytes = b""
    """What is said in place of INFO."""
    nonce: str = ""
    elsewhere: str = ""
    """Another server of the cluster, which INFO names."""
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> "Subjects":
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            info = {
                "server_id": "x",
                "headers": self.headers,
                "max_payload": self.most,
                "tls_required": self.demands_tls,
                **({"nonce": self.nonce} if self.nonce else {}),
                "connect_urls": [self.elsewhere] if self.elsewhere else [],
            }
            while self.drips:
                writer.write(b"I")
                await writer.drain()
                await asyncio.sleep(0.02)
            writer.write(self.first or b"INFO " + json.dumps(info).encode() + b" \r\n")
            await writer.drain()
            if self.demands_tls:
                await writer.start_tls(self.tls)
                self.secured = True
            while line := await reader.readline():
                word, _, rest = line.rstrip().partition(b" ")
                match word:
                    case b"CONNECT":
                        self.connected = json.loads(rest)
                    case b"PUB" | b"HPUB":
                        body = await reader.readexactly(int(rest.split()[-1]) + 2)
                        self.published.append((line.rstrip(), body[:-2]))
                    case b"PING":
                        writer.write(f"-ERR '{self.error}'\r\n".encode() if self.error else b"PING\r\nPONG\r\n")
                        await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
