"""How requests and answers of HTTP/1.1 are written. Strict: what does not read as it should is no answer. Pure."""

import re
from typing import Final, NamedTuple, Protocol

from multidict import CIMultiDict

from trimtab.base.http import Request, TransportError

_LONGEST_HEAD: Final = 1 << 16
_LONGEST_LINE: Final = 1 << 12
"""Of what stands between chunks: a size, or a trailer."""
_MOST_TRAILERS: Final = 16
_OUR_HEADERS: Final = "User-Agent: trimtab\r\nAccept-Encoding: identity\r\n\r\n"
_FIRST: Final = re.compile(r"HTTP/1\.([01]) ([0-9]{3})(?: .*)?")
_HEADER: Final = re.compile(r"^([\w-]+):([^\r\n\0]*)\r$", re.ASCII | re.MULTILINE)
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_SIZE: Final = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;.*)?")


class Head(NamedTuple):
    """What an answer begins with."""

    status: int
    headers: "CIMultiDict[str]"


class Body(Protocol):
    """What follows a head, and where it ends."""

    done: bool
    until_closed: bool

    def take(self, buffer: bytearray) -> bytes:
        """What is there of it, taken out of `buffer`. Raises OSError for what cannot be a part of it."""
        ...


class Counted:
    """A body of so many bytes."""

    until_closed = False

    def __init__(self, length: int) -> None:
        self.length = length
        self.done = not length

    def take(self, buffer: bytearray) -> bytes:
        """What is there of it, taken out of `buffer`."""
        piece = bytes(buffer) if len(buffer) <= self.length else bytes(buffer[: self.length])
        del buffer[: len(piece)]
        self.length -= len(piece)
        self.done = not self.length
        return piece


class UntilClosed:
    """A body that ends with its connection."""

    until_closed = True
    done = False

    def take(self, buffer: bytearray) -> bytes:
        """What is there of it, taken out of `buffer`."""
        piece = bytes(buffer)
        buffer.clear()
        return piece


class Chunked:
    """A body that says piece by piece how long it is."""

    until_closed = False

    def __init__(self) -> None:
        self.done = False
        self._left = 0
        """Of the present chunk and the end of line after it; 0 before a size."""
        self._trailers = -1
        """So many were read; negative as long as there are chunks."""

    def take(self, buffer: bytearray) -> bytes:
        """What is there of it, all chunks in one, taken out of `buffer`. Raises OSError for what is none."""
        parts = []
        at, end = 0, len(buffer)
        while at < end and not self.done:
            if self._left > 2:
                size = min(self._left - 2, end - at)
                parts.append(buffer[at : at + size])
                at += size
                self._left -= size
            elif self._left:
                if end - at < 2:
                    break
                if not buffer.startswith(b"\r\n", at):
                    raise OSError("a chunk of the answer does not end where it should")
                at += 2
                self._left = 0
            else:
                stop = buffer.find(b"\r\n", at)
                if stop < 0:
                    if end - at > _LONGEST_LINE:
                        raise OSError("the size of a chunk of the answer cannot be read: it does not end")
                    break
                self._line(buffer[at:stop])
                at = stop + 2
        del buffer[:at]
        return b"".join(parts)

    def _line(self, line: bytearray) -> None:
        if self._trailers >= 0:
            self._trailers += 1
            self.done = not line
            if self._trailers >= _MOST_TRAILERS and not self.done:
                raise OSError("the answer has more trailers than there is use for")
        elif (size := _SIZE.fullmatch(line)) is None:
            raise OSError("the size of a chunk of the answer cannot be read")
        elif length := int(size[1], 16):
            self._left = length + 2
        else:
            self._trailers = 0


def said(request: Request) -> bytes:
    """The head of `request`. Raises TransportError for what would be read as something else."""
    url, method = request.url, request.method
    host, target = url.raw_host or "", url.raw_path_qs
    if ":" in host:
        host = f"[{host}]"
    if not url.is_default_port():
        host = f"{host}:{url.port}"
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if request.body is not None or method in {"POST", "PUT", "PATCH"}:
        lines.append(f"Content-Length: {len(request.body or b'')}")
    if " " in target or not "".join(lines).isprintable():
        raise TransportError(f"{method} {url.with_query(None)}: a header or the path has characters of control")
    lines.append(_OUR_HEADERS)
    return "\r\n".join(lines).encode()


def head_of(buffer: bytearray) -> Head | None:
    """The status and the headers, taken out of `buffer`; None while they are not all there. Raises OSError."""
    end = buffer.find(b"\r\n\r\n")
    if (len(buffer) if end < 0 else end) > _LONGEST_HEAD:
        raise OSError(f"the headers of the answer have more than {_LONGEST_HEAD} bytes")
    if end < 0:
        return None
    first, _, lines = buffer[: end + 2].decode("latin-1").partition("\r\n")
    del buffer[: end + 4]
    found = _FIRST.fullmatch(first)
    if found is None:
        raise OSError(f"the answer is none of HTTP: {first[:80]!a}")
    pairs = _HEADER.findall(lines)
    if len(pairs) != lines.count("\n"):
        unread = next((line for line in lines.split("\r\n") if not _HEADER.match(line + "\r")), "")
        raise OSError(f"a header of the answer cannot be read: {unread[:80]!a}")
    headers = CIMultiDict([(name, value.strip(" \t")) for name, value in pairs])
    if found[1] == "0":
        headers["Connection"] = "close"
    return Head(int(found[2]), headers)


def body_of(method: str, head: Head) -> Body:
    """What the answer to `method` has after `head`. Raises OSError for two ends of it, and for nonsense."""
    status, headers = head
    if method == "HEAD" or status in (204, 304):
        return Counted(0)
    lengths, codings = headers.getall("Content-Length", []), headers.getall("Transfer-Encoding", [])
    if not lengths and not codings:
        return UntilClosed()
    if not lengths and [coding.lower() for coding in codings] == ["chunked"]:
        return Chunked()
    if codings or len(set(lengths)) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise OSError("the answer does not say where it ends")
    return Counted(int(lengths[0]))


def closes(head: Head) -> bool:
    """Whether the server says that this answer is the last of its connection."""
    return any("close" in word.lower() for word in head.headers.getall("Connection", []))
