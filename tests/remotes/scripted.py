"""A double of the transport that answers from a script, and notes what would have been sent where."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from multidict import CIMultiDict

from trimtab.base.http import Request, TransportError


@dataclass
class Answer:
    """One response; without an end if `endless`."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    endless: bool = False
    taken: int = 0
    closed: bool = False

    def __post_init__(self) -> None:
        self.headers = CIMultiDict(self.headers)

    async def read(self, limit: int = 64 << 20) -> bytes:
        parts = []
        async for chunk in self.chunks():
            parts.append(chunk)
            if sum(map(len, parts)) > limit:
                raise TransportError("over the limit")
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            chunk = b"\0" * 65536 if self.endless else self.body
            self.taken += len(chunk)
            yield chunk
            if not self.endless:
                return

    async def close(self) -> None:
        self.closed = True


class Scripted:
    """Answers in turn; after the last one there is no answer any more. `unreachable` are addresses that do not."""

    def __init__(self, *answers: Answer, unreachable: tuple[str, ...] = ()) -> None:
        self._answers = list(answers)
        self._unreachable = unreachable
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Answer:
        self.sent.append(request)
        if request.url.host in self._unreachable or not self._answers:
            raise TransportError(f"{request.url.host}: nobody there")
        return self._answers.pop(0)


def sent_on(location: str, status: int = 302, **more: object) -> Answer:
    return Answer(status, {"Location": location}, **more)  # type: ignore[arg-type]
