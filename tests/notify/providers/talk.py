"""A double of the way out for providers that converse: it answers by a script and notes what was asked."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec

from trimtab.notify.provider import Answer, Request


class Talk:
    """Answers in turn; what is asked beyond the script is a failure of the test."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[Request] = []

    def now(self) -> datetime:
        return datetime(2026, 11, 26, 20, 15, 30, tzinfo=UTC)

    async def ask(self, request: Request) -> Answer:
        self.asked.append(request)
        assert self._answers, f"nothing more was expected, and {request.method} {request.url} was asked"
        return self._answers.pop(0)

    async def connect(self, host: str, port: int, *, tls: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        raise AssertionError("no connection was expected")

    async def secure(self, writer: asyncio.StreamWriter, host: str) -> None:
        raise AssertionError("no connection was expected")

    @property
    def told(self) -> dict[str, Any]:
        """The body of the last request."""
        found = msgspec.json.decode(self.asked[-1].body)
        assert isinstance(found, dict)
        return found

    @property
    def steps(self) -> list[tuple[str, str]]:
        """Methods and addresses."""
        return [(one.method, one.url) for one in self.asked]


def said(found: Any, status: int = 200) -> Answer:
    """An answer in JSON."""
    return Answer(status, {}, msgspec.json.encode(found))
