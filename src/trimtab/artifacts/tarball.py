"""Writing archives: the same files give the same bytes, on every machine and at every time."""

import hashlib
import zlib
from collections.abc import Iterable
from typing import IO, NamedTuple

BLOCK = 512
_GZIP = 31  # zlib's way to say: with gzip header and trailer; it writes no time and no name
_LEVEL = 1
_PATH_BYTES = 100
_SIZE_MAX = 8**11 - 1


class Written(NamedTuple):
    """What came out: `digest` is the SHA-256 (hex) of the compressed bytes."""

    digest: str
    size: int


class Packed(NamedTuple):
    """A file to pack."""

    path: str
    data: bytes
    executable: bool = False


def write_archive(out: IO[bytes], files: Iterable[Packed]) -> Written:
    """Write `files`, in the order given, as a gzipped tar of regular files without owners and times."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    digest = hashlib.sha256()
    size = 0

    def emit(data: bytes) -> None:
        nonlocal size
        digest.update(data)
        size += len(data)
        out.write(data)

    for file in files:
        emit(packer.compress(b"".join(_member(file))))
    emit(packer.compress(b"\0" * (2 * BLOCK)))
    emit(packer.flush())
    return Written(digest.hexdigest(), size)


def _member(file: Packed) -> list[bytes]:
    name = file.path.encode()
    parts: list[bytes] = []
    if len(name) > _PATH_BYTES or not file.path.isascii():
        record = _pax_record("path", name)
        parts += [_header(b"PaxHeaders/path", len(record), 0o644, b"x"), _padded(record)]
        name = file.path.encode("ascii", "replace")[:_PATH_BYTES]
    mode = 0o755 if file.executable else 0o644
    return [*parts, _header(name, len(file.data), mode, b"0"), _padded(file.data)]


def _header(name: bytes, size: int, mode: int, kind: bytes) -> bytes:
    if size > _SIZE_MAX:
        raise ValueError(f"{name!r} is too large for an archive")
    head = name.ljust(100, b"\0") + b"%07o\0" % mode + b"0000000\0" * 2 + b"%011o\0" % size + b"00000000000\0"
    tail = kind + b"\0" * 100 + b"ustar\x0000" + b"\0" * 64 + b"0000000\0" * 2 + b"\0" * 167
    return head + b"%06o\0 " % (sum(head) + sum(tail) + 8 * 32) + tail


def _pax_record(key: str, value: bytes) -> bytes:
    body = b" " + key.encode() + b"=" + value + b"\n"
    length = len(body)
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % BLOCK)
