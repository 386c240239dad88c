"""The SSH wire format (RFC 4251, section 5), read with suspicion."""

import struct


class Malformed(ValueError):
    """Bytes that are not what the format says."""


class Reader:
    """Reads values from the front. Raises Malformed where the bytes end too early, or do not end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise Malformed("it ends too early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def uint32(self) -> int:
        (value,) = struct.unpack(">I", self.take(4))
        return int(value)

    def string(self) -> bytes:
        return self.take(self.uint32())

    def text(self) -> str:
        """A string of printable ASCII."""
        raw = self.string()
        if not all(0x20 <= byte < 0x7F for byte in raw):
            raise Malformed("a name in it is not printable text")
        return raw.decode("ascii")

    def positive(self) -> int:
        """An mpint that is greater than zero and written in the one canonical way."""
        raw = self.string()
        if not raw or raw[0] & 0x80 or (raw[0] == 0 and (len(raw) == 1 or not raw[1] & 0x80)):
            raise Malformed("a number in it is not positive, or not written as it should be")
        return int.from_bytes(raw, "big")

    def end(self) -> None:
        if self._at != len(self._data):
            raise Malformed("something follows its end")


def string(data: bytes) -> bytes:
    """`data` with its length in front."""
    return struct.pack(">I", len(data)) + data
