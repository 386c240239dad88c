"""Faults of the view: what a watch shows is late, twice, in another order, cut short, or old."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tests.faults.answers import refusal
from trimtab.base.http import MAX_BODY, Request, Response, TransportError
from trimtab.manifests import codec

STALE_S = 0.25
SILENT_S = 1.0


class Distortion(StrEnum):
    """How watches lie."""

    NONE = "none"
    DROP = "events lost, then the stream ends"
    TWICE = "every event twice"
    REORDER = "neighbours change places"
    EXPIRE = "410 in mid-stream"
    BREAK = "the stream breaks"
    SILENT = "a half-open connection"
    STALE = "an old view after a restart"
    PAGES = "lists in pages, and the second page fails"


@dataclass
class View:
    """What happens to the watches of one run."""

    distortion: Distortion = Distortion.NONE
    seed: int = 0
    _opened: int = 0
    _first: dict[str, list[bytes]] = field(default_factory=dict)
    _streams: Counter[str] = field(default_factory=Counter)
    _failed: Counter[str] = field(default_factory=Counter)

    def rewrite(self, request: Request) -> Request:
        """The request as the server shall see it: with `PAGES`, lists come in many."""
        if self.distortion is not Distortion.PAGES or not request.url.query.get("limit"):
            return request
        return replace(request, url=request.url.update_query(limit="2"))

    def answer(self, request: Request) -> Response | None:
        """What is said in the server's place: no streaming lists, and once in each list the next page is not there."""
        if self.distortion is not Distortion.PAGES or request.method != "GET":
            return None
        if "sendInitialEvents" in request.url.query:
            return refusal(422, "Invalid", "sendInitialEvents is forbidden for watch unless the feature is enabled")
        path = request.url.path
        if request.url.query.get("continue") and not self._failed[path]:
            self._failed[path] += 1
            if random.Random(self.seed + len(path)).random() < 0.5:
                return refusal(410, "Expired", "the provided continue parameter is too old")
            return refusal(500, "InternalError", "etcdserver: request timed out")
        return None

    def distort(self, request: Request, response: Response) -> Response:
        """The stream as the client shall see it."""
        if self.distortion in (Distortion.NONE, Distortion.PAGES) or response.status != 200:
            return response
        self._opened += 1
        return _Stream(self, request, response, random.Random(self.seed * 1000 + self._opened))


class _Stream:
    def __init__(self, view: View, request: Request, response: Response, chance: random.Random) -> None:
        self.status, self.headers = response.status, response.headers
        self._view, self._response, self._chance = view, response, chance
        self._path = request.url.path
        self._initial = "sendInitialEvents" in request.url.query

    async def read(self, limit: int = MAX_BODY) -> bytes:
        return await self._response.read(limit)

    async def close(self) -> None:
        await self._response.close()

    async def chunks(self) -> AsyncIterator[bytes]:
        match self._view.distortion:
            case Distortion.DROP:
                lines = self._dropped()
            case Distortion.TWICE:
                lines = self._twice()
            case Distortion.REORDER:
                lines = self._reordered()
            case Distortion.EXPIRE:
                lines = self._expired()
            case Distortion.BREAK:
                lines = self._broken()
            case Distortion.SILENT:
                lines = self._silent()
            case _:
                lines = self._stale()
        async for line in lines:
            yield line + b"\n"

    async def _lines(self) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in self._response.chunks():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if line:
                    yield line

    def _length(self) -> int:
        """After how many lines it goes wrong: later and later, so that no stream fails for ever."""
        self._view._streams[self._path] += 1
        return self._chance.randint(2, 12) * self._view._streams[self._path]

    async def _dropped(self) -> AsyncIterator[bytes]:
        """Some events are never seen and the stream ends: the client resumes from what it did see."""
        left = self._length()
        async for line in self._lines():
            if not (left := left - 1):
                await asyncio.sleep(0.1)
                return
            yield line

    async def _twice(self) -> AsyncIterator[bytes]:
        async for line in self._lines():
            yield line
            if _kind(line) in ("ADDED", "MODIFIED", "DELETED"):
                yield line

    async def _reordered(self) -> AsyncIterator[bytes]:
        """An event lets the next one, about another object, go first; within an object the order stays."""
        held: bytes | None = None
        lines = aiter(self._lines())
        following: asyncio.Future[bytes | None] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(lines, None))
                done, _ = await asyncio.wait({following}, timeout=0.05 if held else None)
                if not done:
                    assert held is not None
                    yield held
                    held = None
                    continue
                line, following = following.result(), None
                if line is None:
                    break
                if held is not None and (_kind(line) == "BOOKMARK" or _name(line) == _name(held)):
                    yield held
                    held = None
                if held is None and _kind(line) in ("ADDED", "MODIFIED", "DELETED") and self._chance.random() < 0.5:
                    held = line
                    continue
                yield line
                if held is not None:
                    yield held
                    held = None
        finally:
            if following is not None:
                following.cancel()
                await asyncio.wait({following})
        if held is not None:
            yield held

    async def _expired(self) -> AsyncIterator[bytes]:
        left = self._length()
        async for line in self._lines():
            if not (left := left - 1):
                message = "too old resource version: 1 (2)"
                status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired"}
                yield codec.encode({"type": "ERROR", "object": status | {"message": message}})
                return
            yield line

    async def _broken(self) -> AsyncIterator[bytes]:
        left = self._length()
        async for line in self._lines():
            if not (left := left - 1):
                raise TransportError("connection reset by peer")
            yield line

    async def _silent(self) -> AsyncIterator[bytes]:
        """From some line on nothing arrives any more, until the client finds that this takes too long."""
        left = self._length()
        async for line in self._lines():
            if not (left := left - 1):
                await asyncio.sleep(SILENT_S)
                raise TransportError("timed out") from TimeoutError()
            yield line

    async def _stale(self) -> AsyncIterator[bytes]:
        """The first view of each path is kept; whoever lists again sees that one first, and then the truth."""
        first = self._view._first
        if self._initial and self._path in first:
            for line in first[self._path]:
                yield line
            await asyncio.sleep(STALE_S)
            return
        kept: list[bytes] = []
        async for line in self._lines():
            if self._initial and self._path not in first:
                kept.append(line)
                if b"k8s.io/initial-events-end" in line:
                    first[self._path] = kept
            yield line


def _kind(line: bytes) -> str:
    return str(codec.decode(line).get("type"))


def _name(line: bytes) -> tuple[str, str]:
    metadata = codec.decode(line)["object"].get("metadata") or {}
    return metadata.get("namespace", ""), metadata.get("name", "")
