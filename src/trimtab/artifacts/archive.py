"""Reading archives that somebody else made: regular files come out, everything doubtful is an error.

Our own reader, because the standard library's trusts its input: 200,000 empty members keep it busy for 20 seconds, one
pax header takes 337 MB, and its extraction filter was bypassed four times. This one knows regular files, directories
and the two ways to write a long name, checks every number against a limit before it acts on it, and reads the stream
once, in pieces.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple, TypeAlias

from trimtab.artifacts.paths import Paths
from trimtab.artifacts.tarball import BLOCK
from trimtab.base.errors import Terminal

_CHUNK = 1 << 16
_TRAILER_BYTES = 1 << 20
_NUMBER = re.compile(rb"[0-7]*")
_DECIMAL = re.compile(rb"[0-9]{1,20}")
_EXTENDED = (b"x", b"g", b"L", b"K")
_MOST_EXTENDED = 4  # before one member: each kind once


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may be. Bytes are those of the unpacked contents; `members` counts directories and links too."""

    bytes: int = 100 << 20
    members: int = 50_000
    depth: int = 64
    path_bytes: int = 4096
    pax_bytes: int = 64 << 10


DEFAULT_LIMITS = Limits()


class Member(NamedTuple):
    """A regular file."""

    path: str
    data: bytes
    executable: bool


class Link(NamedTuple):
    """A symbolic link, left out. Where it points to is of no interest."""

    path: str


Found: TypeAlias = Member | Link


class BadArchive(Terminal):
    """The archive is hostile or damaged; nothing of it may be used."""

    def __init__(self, message: str) -> None:
        super().__init__("ArtifactFailed", f"the archive is refused: {message}")


def read_archive(stream: IO[bytes], limits: Limits = DEFAULT_LIMITS) -> Iterator[Found]:
    """What is in the gzipped tar `stream`, in its order. Raises BadArchive, which makes everything yielded void.

    Symbolic links are yielded as Link. Absolute and dot-dot paths, devices, hard links, sparse files, set-id bits,
    control characters, duplicate names, damaged headers and data behind the end are errors.
    """
    source = _Inflated(stream, limits.bytes + (limits.members + 1) * 3 * BLOCK + _TRAILER_BYTES)
    names = Paths(most=limits.members, depth=limits.depth, longest=limits.path_bytes, refuse=BadArchive)
    total = extended = 0
    long_path: str | None = None
    pax: dict[str, bytes] = {}
    while (block := source.take(BLOCK)).strip(b"\0"):
        header = _Header.parse(block)
        if header.kind in _EXTENDED:
            # a long name needs one of its own, so they do not count as members
            extended += 1
            if extended > _MOST_EXTENDED:
                raise BadArchive("more extended headers than a member can have")
            if header.size > limits.pax_bytes:
                raise BadArchive(f"an extended header of {header.size} bytes; the limit is {limits.pax_bytes}")
            data = source.take_padded(header.size)
            if header.kind == b"x":
                pax = _parse_pax(data)
            elif header.kind == b"L":
                long_path = _text(data.rstrip(b"\0"))
            continue
        names.count()
        extended = 0
        path = _text(pax["path"]) if "path" in pax else long_path if long_path is not None else _text(header.name)
        size = _pax_size(pax) if "size" in pax else header.size
        if any(key.startswith("GNU.sparse") for key in pax):
            raise BadArchive(f"{path!a} is a sparse file")
        long_path, pax = None, {}
        if header.kind == b"5":
            names.directory(path)
            continue
        if header.kind == b"2":
            yield Link(names.file(path))
            continue
        if header.kind not in (b"0", b"\0"):
            raise BadArchive(f"{path!a} is neither a file nor a directory (type {header.kind!r})")
        if header.mode & 0o6000:
            raise BadArchive(f"{path!a} has a set-id bit")
        total += size
        if total > limits.bytes:
            raise BadArchive(f"more than {limits.bytes} bytes of files")
        yield Member(names.file(path), source.take_padded(size), bool(header.mode & 0o100))
    source.finish()


class _Header(NamedTuple):
    name: bytes  # cut off, perhaps inside a character, where an extended header has all of it
    mode: int
    size: int
    kind: bytes

    @classmethod
    def parse(cls, block: bytes) -> "_Header":
        unsigned = sum(block) - sum(block[148:156]) + 8 * 32
        if _octal(block[148:156]) != unsigned:
            raise BadArchive("a header whose checksum is wrong")
        name = _terminated(block[0:100])
        if block[257:262] == b"ustar" and block[262:263] == b"\0" and (prefix := _terminated(block[345:500])):
            name = prefix + b"/" + name
        return cls(name, _octal(block[100:108]), _octal(block[124:136]), block[156:157])


class _Inflated:
    """The uncompressed stream, never more than a piece of it beyond what was asked for."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj(31)
        self._buffer = bytearray()
        self._left = limit

    def take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not self._more():
                raise BadArchive("it ends in the middle")
        with memoryview(self._buffer) as view:
            taken = bytes(view[:size])
        del self._buffer[:size]
        return taken

    def take_padded(self, size: int) -> bytes:
        data = self.take(size)
        self.take(-size % BLOCK)
        return data

    def finish(self) -> None:
        """Only zeros may follow, and nothing may follow the gzip stream."""
        if self.take(BLOCK).strip(b"\0"):
            raise BadArchive("its end is not marked")
        rest = 0
        while True:
            if self._buffer.strip(b"\0"):
                raise BadArchive("there is data behind its end")
            rest += len(self._buffer)
            self._buffer.clear()
            if rest > _TRAILER_BYTES:
                raise BadArchive("its end is padded without end")
            if not self._more():
                break
        if self._inflate.unused_data or self._stream.read(1):
            raise BadArchive("there is data behind its end")

    def _more(self) -> bool:
        """Inflate some more; False at the end, with the checksum verified."""
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._stream.read(_CHUNK)
            try:
                piece = self._inflate.decompress(packed, _CHUNK)
            except zlib.error as failure:
                raise BadArchive(f"it is not gzip, or damaged: {failure}") from failure
            self._left -= len(piece)
            if self._left < 0:
                raise BadArchive("it unpacks to more than the limits allow")
            if piece:
                self._buffer += piece
                return True
            if not packed:
                raise BadArchive("it ends in the middle")
        return False


def _terminated(field: bytes) -> bytes:
    text, _, rest = field.partition(b"\0")
    if rest.strip(b"\0"):
        raise BadArchive(f"{field.rstrip(bytes(1))!a} has a NUL in its name")
    return text


def _octal(field: bytes) -> int:
    if field[0] & 0x80:  # GNU's way to write large numbers
        number = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if number >= 1 << 62:
            raise BadArchive("a header with an impossible number")
        return number
    digits = field.strip(b" \0")
    if not _NUMBER.fullmatch(digits):
        raise BadArchive(f"a header with {field!r} where a number belongs")
    return int(digits or b"0", 8)


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise BadArchive(f"the name {name[:100]!a} is not UTF-8") from None


def _parse_pax(data: bytes) -> dict[str, bytes]:
    records: dict[str, bytes] = {}
    while data:
        length, _, _ = data[:21].partition(b" ")
        if not _DECIMAL.fullmatch(length) or not len(length) + 1 < int(length) <= len(data):
            raise BadArchive("an extended header that is damaged")
        record, data = data[len(length) + 1 : int(length)], data[int(length) :]
        key, equals, value = record[:-1].partition(b"=")
        if not equals or record[-1:] != b"\n":
            raise BadArchive("an extended header that is damaged")
        records[_text(key)] = value
    return records


def _pax_size(pax: dict[str, bytes]) -> int:
    if not _DECIMAL.fullmatch(pax["size"]):
        raise BadArchive("an extended header with an impossible size")
    return int(pax["size"])
