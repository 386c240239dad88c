"""Our own way to API servers: what reads as an answer is one, and anything else is not taken for one."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from multidict import CIMultiDict
from yarl import URL

from trimtab.base import direct as module
from trimtab.base.direct import Direct
from trimtab.base.http import BodyTooLarge, Request, TransportError
from trimtab.cluster.plane import ControlPlane
from trimtab.kube import config

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Server:
    """A double of a server: says what it was told to, whatever it is asked. An empty answer closes the connection."""

    answers: list[bytes]
    url: URL = field(default_factory=URL)
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while self.answers:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                sizes = [line.partition(": ")[2] for line in head.splitlines() if line.startswith("Content-Length")]
                self.bodies.append(await reader.readexactly(int(sizes[0])) if sizes else b"")
                self.heads.append(head)
                if not (answer := self.answers.pop(0)):
                    break
                writer.write(answer)
                await writer.drain()
                if b"close" in answer or not answer.startswith(b"HTTP"):
                    break
        writer.close()


@contextlib.asynccontextmanager
async def serving(*answers: bytes) -> AsyncIterator[tuple[Direct, Server]]:
    server, direct = Server(list(answers)), Direct()
    async with await asyncio.start_server(server.serve, "127.0.0.1") as listening:
        server.url = URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/api?limit=1")
        try:
            yield direct, server
        finally:
            await direct.close()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (CHUNKED + b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", b"abc0123456789"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200\r\ncontent-length:2\r\n\r\nok", b"ok"),
        (b"HTTP/1.0 503 Service Unavailable\r\nConnection: close\r\n\r\nbusy", b"busy"),
        (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", b""),
    ],
    ids=["counted", "empty", "in chunks", "after a word in between", "without a reason", "until closed", "unchanged"],
)
async def test_an_answer_is_read_to_where_it_says_it_ends(answer: bytes, body: bytes) -> None:
    async with serving(answer) as (direct, server):
        response = await direct.send(Request("GET", server.url))
        assert await response.read() == body


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed the connection"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "none of HTTP"),
        (b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", "none of HTTP"),
        (b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", "cannot be read"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", "where it ends"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "where it ends"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", "where it ends"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nok", "where it ends"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nok", "where it ends"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX: close\r\n\r\nok", "broke off"),
        (CHUNKED + b"zz\r\n", "size of a chunk"),
        (CHUNKED + b"1\r\nabc\r\n", "does not end where"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "something else than an answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20, "something else than an answer"),
        (CHUNKED + b"0\r\n" + b"A: b\r\n" * 20, "more trailers"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 16) + b"\r\n\r\n", "more than 65536 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_does_not_read_as_it_should_is_no_answer_and_ends_its_connection(answer: bytes, words: str) -> None:
    async with serving(answer, OK) as (direct, server):
        with pytest.raises(TransportError, match=words):
            await (await direct.send(Request("GET", server.url))).read()
        assert await (await direct.send(Request("GET", server.url))).read() == b"ok"
        assert server.connections == 2


async def test_a_connection_is_kept_for_the_next_request_and_one_that_was_closed_meanwhile_is_replaced() -> None:
    async with serving(OK, OK, b"", OK) as (direct, server):
        for _ in range(3):
            assert await (await direct.send(Request("GET", server.url))).read() == b"ok"
        assert server.connections == 2


async def test_a_connection_that_rested_for_long_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(OK, OK) as (direct, server):
        assert await (await direct.send(Request("GET", server.url))).read() == b"ok"
        monkeypatch.setattr(module, "_REST_S", 0.0)
        assert await (await direct.send(Request("POST", server.url, body=b"{}"))).read() == b"ok"
        assert server.connections == 2


async def test_what_changes_something_is_not_sent_twice() -> None:
    async with serving(OK, b"", OK) as (direct, server):
        await (await direct.send(Request("GET", server.url))).read()
        with pytest.raises(TransportError):
            await direct.send(Request("POST", server.url, body=b"{}"))
        assert len(server.heads) == 2


async def test_what_comes_without_being_asked_for_is_the_answer_to_nothing() -> None:
    async with serving(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", OK) as (direct, server):
        assert await (await direct.send(Request("GET", server.url))).read() == b"ok"
        assert await (await direct.send(Request("GET", server.url))).read() == b"ok"


async def test_a_body_that_is_too_large_and_one_that_nobody_reads_to_the_end_end_their_connections() -> None:
    async with serving(OK, CHUNKED + b"3\r\nabc\r\n", OK) as (direct, server):
        with pytest.raises(BodyTooLarge):
            await (await direct.send(Request("GET", server.url))).read(limit=1)
        response = await direct.send(Request("GET", server.url))
        async with contextlib.aclosing(response.chunks()) as chunks:  # type: ignore[type-var]
            assert await anext(chunks) == b"abc"
        assert await (await direct.send(Request("GET", server.url))).read() == b"ok"
        assert server.connections == 3


@pytest.mark.parametrize(
    "request_",
    [Request("GET", URL(), timeout=0.05), Request("GET", URL(), timeout=None, idle_timeout=0.05)],
    ids=["as a whole", "without a byte"],
)
@pytest.mark.parametrize("begun", [b"HTTP/1.1 200 OK\r\n", CHUNKED], ids=["headers", "body"])
async def test_an_answer_that_does_not_come_in_time_is_none(request_: Request, begun: bytes) -> None:
    async with serving(begun, b"") as (direct, server):
        with pytest.raises(TransportError, match="timed out") as raised:
            await (await direct.send(replaced(request_, server.url))).read()
        assert isinstance(raised.value.__cause__, TimeoutError)


def replaced(request: Request, url: URL) -> Request:
    return Request(request.method, url, timeout=request.timeout, idle_timeout=request.idle_timeout)


async def test_a_request_is_said_as_it_is_and_a_name_may_be_there_several_times() -> None:
    headers = CIMultiDict([("Impersonate-Group", "a"), ("Impersonate-Group", "b"), ("Accept", "application/json")])
    async with serving(OK) as (direct, server):
        await (await direct.send(Request("PATCH", server.url, headers, b'{"a":1}'))).read()
        first, *lines = server.heads[0].splitlines()
    assert first == "PATCH /api?limit=1 HTTP/1.1"
    assert {"Impersonate-Group: a", "Impersonate-Group: b", "Content-Length: 7", "Accept-Encoding: identity"} < {*lines}
    assert f"Host: 127.0.0.1:{server.url.port}" in lines
    assert server.bodies == [b'{"a":1}']


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer a\r\nX: y"}, {"X\r\nY": "z"}, {"X": "a\x00b"}], ids=["value", "name", "null"]
)
async def test_nothing_is_smuggled_into_a_request(headers: dict[str, str]) -> None:
    async with serving(OK) as (direct, server):
        with pytest.raises(TransportError, match="characters of control") as raised:
            await direct.send(Request("GET", server.url, headers))
        assert "Bearer" not in str(raised.value)
        assert server.heads == []


async def test_what_goes_through_a_proxy_is_left_to_the_other_transport() -> None:
    async with serving(OK) as (direct, proxy):
        request = Request("GET", URL("http://api.example.test/version"), proxy=proxy.url.origin())
        assert await (await direct.send(request)).read() == b"ok"
        assert proxy.heads[0].startswith("GET http://api.example.test/version HTTP/1.1\r\n")


async def test_where_nobody_listens_it_is_said() -> None:
    async with serving() as (direct, server):
        pass
    with pytest.raises(TransportError, match=rf"GET http://127.0.0.1:{server.url.port}/api: cannot connect: "):
        await direct.send(Request("GET", server.url))


@contextlib.asynccontextmanager
async def served(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[Direct, URL]]:
    """A server that does what `serve` does with its first connection, and says OK on all others."""
    direct, others, first = Direct(), Server([OK] * 9), True

    async def either(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        mine, first = first, False
        await (serve if mine else others.serve)(reader, writer)
        writer.close()

    async with await asyncio.start_server(either, "127.0.0.1") as listening:
        try:
            yield direct, URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/")
        finally:
            await direct.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.001)


async def test_an_answer_may_come_byte_by_byte() -> None:
    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (OK, CHUNKED + b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"):
            await reader.readuntil(b"\r\n\r\n")
            for byte in answer:
                writer.write(bytes([byte]))
                await asyncio.sleep(0)

    async with served(slowly) as (direct, url):
        assert await (await direct.send(Request("GET", url))).read() == b"ok"
        assert await (await direct.send(Request("GET", url))).read() == b"abcd"


async def test_what_is_not_read_stays_with_the_server() -> None:
    size, piece = 48 << 20, b"x" * (1 << 20)

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED)
        for _ in range(size // len(piece)):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with served(pour) as (direct, url):
        sizes = []
        async for some in (await direct.send(Request("GET", url))).chunks():
            sizes.append(len(some))
            for _ in range(30):  # all that is poured in meanwhile would be the next piece
                await asyncio.sleep(0)
        assert sum(sizes) == size
        assert max(sizes) <= (1 << 20) + (1 << 18)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-", CHUNKED + b"3\r\nab"], ids=["0", "1", "2"])
async def test_an_answer_that_nobody_waits_for_any_more_is_not_the_next_one(begun: bytes) -> None:
    ended = asyncio.Event()

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(begun)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()

    async with served(begin) as (direct, url):

        async def ask() -> None:
            await (await direct.send(Request("GET", url))).read()

        async with asyncio.TaskGroup() as group:
            asking = group.create_task(ask())
            await until(lambda: repr(direct) == "<Direct 1 open, 0 resting>")
            for _ in range(20):
                await asyncio.sleep(0)
            asking.cancel()
        async with asyncio.timeout(60):
            await ended.wait()
        assert await (await direct.send(Request("GET", url))).read() == b"ok"
        assert repr(direct) == "<Direct 1 open, 1 resting>"


async def test_connections_that_have_ended_are_forgotten() -> None:
    last = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, close\r\n\r\nok"
    async with serving(last, last, OK, CHUNKED + b"zz\r\n", OK, b"") as (direct, server):
        for _ in range(3):
            assert await (await direct.send(Request("GET", server.url))).read() == b"ok"
        await until(lambda: repr(direct) == "<Direct 1 open, 1 resting>")
        with pytest.raises(TransportError):
            await (await direct.send(Request("GET", server.url))).read()
        await until(lambda: repr(direct) == "<Direct 0 open, 0 resting>")
        await (await direct.send(Request("GET", server.url))).close()
        await until(lambda: repr(direct) == "<Direct 0 open, 0 resting>")
        assert server.connections == 4


async def test_a_connection_that_the_server_ends_or_speaks_on_while_it_rests_is_forgotten_at_once() -> None:
    go = asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await go.wait()
        writer.write(OK)
        with contextlib.suppress(ConnectionError):
            await reader.read()

    async with served(speak) as (direct, url):
        assert await (await direct.send(Request("GET", url))).read() == b"ok"
        assert repr(direct) == "<Direct 1 open, 1 resting>"
        go.set()
        await until(lambda: repr(direct) == "<Direct 0 open, 0 resting>")
    async with serving(OK) as (direct, server):
        assert await (await direct.send(Request("GET", server.url))).read() == b"ok"
        await until(lambda: repr(direct) == "<Direct 0 open, 0 resting>")


async def test_connections_that_rest_for_long_are_closed_when_another_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(OK, OK, OK) as (direct, server), serving(OK, OK) as (_, other):
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(direct.send(Request("GET", server.url))) for _ in range(2)]
        for task in asking:
            assert await task.result().read() == b"ok"
        assert repr(direct) == "<Direct 2 open, 2 resting>"
        monkeypatch.setattr(module, "_REST_S", 0.0)
        assert await (await direct.send(Request("GET", other.url))).read() == b"ok"
        await until(lambda: repr(direct) == "<Direct 1 open, 1 resting>")


@pytest.mark.parametrize("then", ["leaves", "stays", "listens on"])
async def test_a_server_that_answers_before_it_has_listened_to_the_end_is_heard(then: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 6\r\n\r\nenough")
        if then == "stays":
            reader._transport.pause_reading()  # type: ignore[attr-defined]
        if then != "leaves":
            with contextlib.suppress(ConnectionError):
                while await reader.read(1 << 20):
                    pass

    async with served(refuse) as (direct, url):
        response = await direct.send(Request("POST", url, body=bytes(48 << 20)))
        if then == "listens on":
            unsent = response._connection._transport.get_write_buffer_size  # type: ignore[attr-defined]
            await until(lambda: not unsent())
        assert (response.status, await response.read()) == (413, b"enough")
        assert repr(direct).endswith(" 0 resting>")
        assert await (await direct.send(Request("POST", url, body=b""))).read() == b"ok"


async def test_a_large_body_is_sent_to_its_end_whatever_is_said_in_between() -> None:
    heard = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (OK, OK):
            head = await reader.readuntil(b"\r\n\r\n")
            heard.clear()
            writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            while b"Content-Length: %d\r\n" % len(heard) not in head:
                heard.extend(await reader.read(1 << 16))
            writer.write(answer)

    body = bytes(range(256)) * (1 << 16)
    async with served(listen) as (direct, url):
        for _ in range(2):
            assert await (await direct.send(Request("POST", url, body=body, idle_timeout=60))).read() == b"ok"
            assert heard == body
        assert repr(direct) == "<Direct 1 open, 1 resting>"


async def test_a_server_that_takes_nothing_is_waited_for_as_long_as_one_that_says_nothing() -> None:
    async def sit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: repr(direct) == "<Direct 0 open, 0 resting>")

    async with served(sit) as (direct, url):
        with pytest.raises(TransportError, match="timed out"):
            await direct.send(Request("POST", url, body=bytes(48 << 20), timeout=0.2))
        assert await (await direct.send(Request("GET", url))).read() == b"ok"


async def test_an_answer_without_a_length_is_not_whole_if_its_connection_is_torn_down() -> None:
    async def tear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await asyncio.sleep(0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with served(tear) as (direct, url):
        with pytest.raises(TransportError, match="reset"):
            await (await direct.send(Request("GET", url))).read()


async def test_all_connections_end_with_the_transport() -> None:
    async with serving(OK, CHUNKED, OK, OK) as (direct, server):
        await (await direct.send(Request("GET", server.url))).read()
        unread = await direct.send(Request("GET", server.url))
        await direct.close()
        await until(lambda: repr(direct) == "<Direct 0 open, 0 resting>")
        with pytest.raises(TransportError, match="broke off"):
            await unread.read()


async def test_a_server_has_to_prove_itself(plane: ControlPlane) -> None:
    loaded, direct = config.load(plane.kubeconfig), Direct()
    url = loaded.server / "version"
    try:
        assert b"gitVersion" in await (await direct.send(Request("GET", url, tls=loaded.tls))).read()
        with pytest.raises(TransportError, match="certificate verify failed"):
            await direct.send(Request("GET", url))
        with pytest.raises(TransportError, match="certificate verify failed"):
            await direct.send(Request("GET", url, tls=loaded.tls, tls_server_name="other.example"))
    finally:
        await direct.close()
