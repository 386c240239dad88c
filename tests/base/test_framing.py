"""Requests and answers as they are written: however an answer is cut into segments, it reads the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from trimtab.base.framing import Chunked, body_of, closes, head_of, said
from trimtab.base.http import Request


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, int, bytes]:
    """An answer as it is written, its status, and its body."""
    status = draw(st.sampled_from([200, 201, 404, 500]))
    reason = draw(st.sampled_from(["OK", "", "Not Found"]))
    head = f"HTTP/1.1 {status} {reason}\r\nX-Y: {'z' * draw(st.integers(0, 9))}\r\n"
    parts = draw(st.lists(st.binary(min_size=1, max_size=40) | st.sampled_from([b"\r\n", b"0\r\n\r\n"]), max_size=6))
    body = b"".join(parts)
    if draw(st.booleans()):
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, status, body
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(part), draw(st.sampled_from([b"", b";a=b"])), part) for part in parts)
    trailer = draw(st.sampled_from([b"", b"A: b\r\n"]))
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n" + trailer + b"\r\n", status, body


@given(answers(), st.data())
def test_an_answer_reads_the_same_however_it_is_cut(answer: tuple[bytes, int, bytes], data: st.DataObject) -> None:
    text, status, body = answer
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text))) | st.just(set(range(len(text))))))
    buffer, head, reading, heard = bytearray(), None, None, b""
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        assert reading is None or not reading.done or begin == len(text)
        buffer += text[begin:end]
        if head is None and (head := head_of(buffer)) is not None:
            reading = body_of("GET", head)
        if reading is not None:
            heard += reading.take(buffer)
    assert head is not None
    assert reading is not None
    assert (head.status, heard, reading.done, bytes(buffer)) == (status, body, True, b"")


def test_all_chunks_that_are_there_are_one_piece() -> None:
    body, buffer = Chunked(), bytearray(b"3\r\nabc\r\n2\r\nde\r\n4\r\nfg")
    assert body.take(buffer) == b"abcdefg"
    assert not buffer
    buffer += b"hi\r\n1"
    assert (body.take(buffer), bytes(buffer), body.done) == (b"hi", b"1", False)
    buffer += b"\r\nj\r\n0\r\n\r\nHTTP/1.1"
    assert (body.take(buffer), bytes(buffer), body.done) == (b"j", b"HTTP/1.1", True)


def test_a_line_between_chunks_has_an_end() -> None:
    with pytest.raises(OSError, match="does not end"):
        Chunked().take(bytearray(b"1;" + b"x" * 5000))


@pytest.mark.parametrize(
    "line",
    ["A b: c", "A: b\nC: d", "A: b\rC: d", "A: \0", " A: b", "\u00e4: b", ": b"],
)
def test_a_header_that_could_be_read_in_two_ways_is_read_in_none(line: str) -> None:
    buffer = bytearray(f"HTTP/1.1 200 OK\r\nOk: ok\r\n{line}\r\nMore: x\r\n\r\n".encode("latin-1"))
    with pytest.raises(OSError, match="cannot be read"):
        head_of(buffer)


def test_a_header_is_read_without_the_spaces_around_it() -> None:
    head = head_of(bytearray(b"HTTP/1.1 200 OK\r\nContent-Length: \t 2 \t\r\nCONNECTION:Close\r\nX:\r\n\r\n"))
    assert head is not None
    assert dict(head.headers) == {"Content-Length": "2", "CONNECTION": "Close", "X": ""}
    assert closes(head)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://[::1]:6443/x", "[::1]:6443"),
        ("https://[fd00::1]/x", "[fd00::1]"),
        ("https://a.example/x", "a.example"),
        ("http://a.example:443/x", "a.example:443"),
    ],
)
def test_the_host_is_said_as_it_is_addressed(address: str, host: str) -> None:
    assert f"\r\nHost: {host}\r\n".encode() in said(Request("GET", URL(address)))


def test_a_body_has_a_length_even_if_it_is_empty() -> None:
    assert b"Content-Length: 0\r\n" in said(Request("POST", URL("http://a/")))
    assert b"Content-Length" not in said(Request("GET", URL("http://a/")))
