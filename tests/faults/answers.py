"""Answers that the server did not give."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from trimtab.base.http import MAX_BODY
from trimtab.manifests import codec


@dataclass
class Canned:
    """An answer that is here in full."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    async def read(self, limit: int = MAX_BODY) -> bytes:
        return self.body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.body

    async def close(self) -> None:
        pass


def refusal(code: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> Canned:
    """What the API server says instead of success."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return Canned(
        code, codec.encode(body | {"message": message}), {"Content-Type": "application/json", **(headers or {})}
    )
