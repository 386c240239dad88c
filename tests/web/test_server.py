"""What may come through the socket: real connections, spoken by hand where a client would not say such things."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.web.deliveries import TOKEN, sign
from tests.web.ground import Ground
from trimtab.base.clock import SystemClock
from trimtab.web import server
from trimtab.web.server import Listener, app, listen


@pytest.fixture
async def listener(ground: Ground) -> AsyncIterator[Listener]:
    listener = await listen(app(ground.reception, ground.telemetry, SystemClock()), "127.0.0.1:0", most=20)
    yield listener
    await listener.close()


async def say(listener: Listener, *parts: bytes, wait_s: float = 0.0) -> bytes:
    """What is answered, until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 60 + wait_s)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def request(path: str = "/hook/x", body: bytes = b"", *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def code(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


async def samples(ground: Ground, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families((await ground.telemetry.render()).decode())
        for sample in family.samples
        if sample.name == name
    }


async def test_a_delivery_is_taken_and_measured_without_its_path(ground: Ground, listener: Listener) -> None:
    path = ground.receiver(type="generic-hmac")
    answer = await say(listener, request(path, b"x", f"X-Signature: {sign(b'x')}"))
    assert code(answer) == 200
    assert code(await say(listener, request(path, b"x"))) == 401
    assert code(await say(listener, request("/hook/nobody"))) == 404
    assert await ground.settled() == [("GitRepository", "ns", "repo")]
    counts = await samples(ground, "gotk_receiver_http_request_duration_seconds_count")
    assert counts == {(("code", str(number)), ("method", "POST")): 1 for number in (200, 401, 404)}
    assert await samples(ground, "trimtab_deliveries_refused_total") == {
        (("reason", "unproven"),): 1,
        (("reason", "unknown"),): 1,
    }
    assert await samples(ground, "trimtab_hints_total") == {(("outcome", "asked"),): 1}
    assert path.encode() not in await ground.telemetry.render()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_only_post_is_taken(ground: Ground, listener: Listener, method: str) -> None:
    path = ground.receiver()
    for asked in (path, "/hook/nobody"):
        answer = await say(listener, request(asked, method=method))
        assert code(answer) == 405
        assert b"Allow: POST" in answer
        assert b"Server: trimtab\r\n" in answer
    assert await ground.settled() == []


async def test_a_body_beyond_the_limit_is_refused_announced_or_not(ground: Ground, listener: Listener) -> None:
    path = ground.receiver()
    most = server.MOST_BODY
    assert code(await say(listener, request(path, b"x" * most))) == 200
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {most + 1}\r\n\r\n".encode()
    assert code(await say(listener, head)) == 413
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    assert code(await say(listener, head, chunk, chunk, chunk, b"1\r\nx\r\n")) == 413


async def test_whoever_knows_no_path_may_not_even_send_a_body(ground: Ground, listener: Listener) -> None:
    head = f"POST /hook/nobody HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 40}\r\n\r\n".encode()
    assert code(await say(listener, head)) == 404


async def test_a_small_body_does_not_become_a_large_one(ground: Ground, listener: Listener) -> None:
    path = ground.receiver(type="generic-hmac", resourceFilter="true")
    bomb = gzip.compress(b"0" * (50 << 20))
    headers = (f"X-Signature: {sign(bomb)}", "Content-Encoding: gzip", "Content-Type: application/json")
    assert code(await say(listener, request(path, bomb, *headers))) == 400


@pytest.mark.parametrize(
    "lines",
    [
        ["X-Signature: " + "a" * (1 << 20)],
        [f"X-{number}: {'a' * 2000}" for number in range(127)] * 2,
        [f"X-{number}: a" for number in range(1000)],
        [f"X-{number}: {'a' * 30_000}" for number in range(10)],
    ],
    ids=["a megabyte in one", "half a megabyte in many", "a thousand", "a third of a megabyte"],
)
async def test_headers_have_an_end(ground: Ground, listener: Listener, lines: list[str]) -> None:
    path = ground.receiver()
    answer = await say(listener, request(path, b"", *lines))
    assert code(answer) in (0, 400, 431)
    assert code(await say(listener, request(path))) == 200


@pytest.mark.parametrize(
    "value", [b"sha256=\xe9\xff\x80", "sha256=ü".encode(), b"\xf0\x9f\x92\xa9", b"sha256=" + bytes(range(128, 256))]
)
async def test_a_header_that_is_not_ascii_is_an_answer_and_no_accident(
    ground: Ground, listener: Listener, value: bytes
) -> None:
    path = ground.receiver(type="github")
    for name in (b"X-Hub-Signature-256", b"X-GitHub-Event", b"X-GitHub-Delivery", b"Authorization", b"Content-Type"):
        call = request(path).replace(b"Host: x\r\n", b"Host: x\r\n" + name + b": " + value + b"\r\n")
        assert code(await say(listener, call)) in (400, 401)


async def test_two_signatures_are_none(ground: Ground, listener: Listener) -> None:
    path = ground.receiver(type="generic-hmac")
    right = f"X-Signature: {sign(b'x')}"
    assert code(await say(listener, request(path, b"x", right, "x-signature: sha256=00"))) == 400
    assert code(await say(listener, request(path, b"x", right, right))) == 400


async def test_what_is_not_http_is_answered_and_not_logged(
    ground: Ground, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = ground.receiver()
    for junk in (
        f"POST {path} HTTP/9.9\r\n\r\n".encode(),
        f"BREW {path} HTTP/1.1\r\n\r\n".encode(),
        f"POST {path} HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n".encode(),
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".encode(),
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".encode(),
        f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode(),
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\x00" * 100 + b"\r\n\r\n",
        f"POST /{'a' * 100_000} HTTP/1.1\r\n\r\n".encode(),
    ):
        # A half of a TLS greeting is waited for like any other start of a request.
        answer = b"" if junk[:1] == b"\x16" else await say(listener, junk)
        assert code(answer) in (0, 400, 404, 413)
    assert path not in caplog.text
    assert "/hook/" not in caplog.text
    assert code(await say(listener, request(path))) == 200


async def test_headers_that_trickle_are_not_waited_for(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "HEADERS_S", 0.4)
    listener = await listen(app(ground.reception, ground.telemetry, SystemClock()), "127.0.0.1:0")
    try:
        path = ground.receiver()
        for start in (b"", b"POST ", f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Slow: ".encode()):
            assert code(await trickle(listener, start)) in (0, 400)
        # The next headers of a connection that is kept have no more time than the first.
        kept = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        answer = await trickle(listener, kept + b"POST ")
        assert answer.count(b"HTTP/1.1") == 1
    finally:
        await listener.close()


async def trickle(listener: Listener, start: bytes) -> bytes:
    """Say a letter now and then, for ever; what is answered until the other side has had enough."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(start)

    async def drip() -> None:
        while True:
            await asyncio.sleep(0.05)
            writer.write(b"a")

    dripping = asyncio.ensure_future(drip())
    answered = b""
    try:
        async with asyncio.timeout(60):
            while some := await reader.read(1 << 16):
                answered += some
    except ConnectionResetError:
        pass  # a letter may come when the other side is just closing; what was answered before stays
    finally:
        dripping.cancel()
        writer.close()
    return answered


async def test_a_body_that_trickles_is_not_waited_for(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    from trimtab.web import reception

    monkeypatch.setattr(reception, "READ_S", 0.3)
    listener = await listen(app(ground.reception, ground.telemetry, SystemClock()), "127.0.0.1:0")
    try:
        head = f"POST {ground.receiver()} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode()
        # A connection that is closed while somebody still talks may end before its answer is read.
        assert code(await trickle(listener, head)) in (0, 408)
        assert await samples(ground, "trimtab_deliveries_refused_total") == {(("reason", "slow"),): 1}
    finally:
        await listener.close()


async def test_a_body_that_breaks_off_has_no_effect(ground: Ground, listener: Listener) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(f"POST {ground.receiver()} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf".encode())
    await writer.drain()
    writer.close()
    assert code(await say(listener, request(ground.receiver("other"), b"whole"))) == 200
    assert len(await ground.settled()) == 1


async def test_so_many_connections_and_no_more(ground: Ground, listener: Listener) -> None:
    path = ground.receiver()
    open_ones = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(20)]
    await asyncio.sleep(0)
    assert code(await say(listener, request(path))) == 0
    for _, writer in open_ones:
        writer.close()
        await writer.wait_closed()
    for _ in range(100):
        if code(await say(listener, request(path))) == 200:
            break
    else:
        raise AssertionError("nobody is let in again")


async def test_a_mistake_of_ours_is_told_without_what_was_sent(
    ground: Ground, listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> str:
        raise KeyError(TOKEN.decode())

    monkeypatch.setattr(ground.reception, "take", broken)
    answer = await say(listener, request(ground.receiver()))
    assert code(answer) == 500
    assert TOKEN not in answer
    assert "a delivery failed: KeyError at broken:" in caplog.text
    assert TOKEN.decode() not in caplog.text
