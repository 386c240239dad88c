"""Requests and streams to one API server: headers, slots, retries, and refusals turned into errors."""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

from multidict import CIMultiDict
from yarl import URL

from trimtab.base import flows
from trimtab.base.clock import Clock
from trimtab.base.http import MAX_BODY, BodyTooLarge, Request, Response, Transport, TransportError
from trimtab.kube import errors
from trimtab.kube.config import ClusterConfig, Impersonation
from trimtab.kube.errors import ApiError, Fenced, Silent, Unauthorized, Unreachable
from trimtab.kube.limiter import Limiter

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_ATTEMPTS = 4
_LONGEST_RETRY_AFTER_S = 30.0
_PATIENCE_S = 60.0
"""So long a request of a flow waits for a server that is too busy: its pace is what finds the server free."""
_JITTER_S = (0.1, 1.0)
_TIMEOUT_S = 60.0
_LONGEST_LINE = 16 << 20
_QUERY_SAFE = "/:,=()!"

Query: TypeAlias = Mapping[str, str]
Identity: TypeAlias = tuple[tuple[str, str], ...]
"""Impersonation headers; a group is a header of its own."""
Fence: TypeAlias = Callable[[], bool]
"""Whether a request that changes something may go out now."""


class Answer(NamedTuple):
    """A successful HTTP answer; 304 counts as one, because it is what a conditional request asks for."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Call(NamedTuple):
    """One request to the API, before it is known how often it has to be sent."""

    method: str
    path: str  # percent-encoded
    query: Query | None = None
    body: bytes | None = None
    content_type: str = JSON
    accept: str = JSON
    headers: Query | None = None
    repeatable: bool = False  # may be sent again when the answer got lost
    max_body: int = MAX_BODY


class Wire:
    """The way to one API server, shared by all views of a client."""

    def __init__(
        self, config: ClusterConfig, transport: Transport, limiter: Limiter, clock: Clock, seed: int | None
    ) -> None:
        self.config = config
        self.transport = transport
        self.limiter = limiter
        self.clock = clock
        self.server = str(config.server).rstrip("/")
        self._random = random.Random(seed)  # noqa: S311 - jitter

    async def exchange(self, call: Call, identity: Identity, priority: int, may_send: Fence | None = None) -> Answer:
        """Send until there is an answer that counts.

        429, and 503 with Retry-After, were not carried out: they are sent again in any case, up to 30 s later; what
        asks for more time goes back to the caller, in whose queue it holds nobody up.
        """
        forgiven, left, patience_s, flow = False, _ATTEMPTS - 1, _PATIENCE_S, flows.current()
        while True:
            try:
                # A slot is held for an attempt, not for the pause between two.
                async with self.limiter.slot(priority, flow):
                    if may_send is not None and not may_send():
                        raise Fenced(self.server, "not asked: the Lease may be somebody else's, who writes now")
                    response = await self._send(call, identity)
                    self.limiter.answered(flow)
                    return Answer(response.status, response.headers, await self._body(response, call.max_body))
            except Unauthorized:
                if forgiven or not left or not self.config.auth.refused():
                    raise
                forgiven = True
            except ApiError as refusal:
                delay = self._pause_after(refusal, call.repeatable)
                busy = refusal.status == 429 and flow != flows.NOBODY
                if delay is None or not (patience_s >= delay if busy else left):
                    raise
                with self.limiter.pausing(flow):
                    await self.clock.sleep(delay)
                if busy:
                    patience_s -= delay
                    continue
            except Unreachable as failure:
                if not call.repeatable or not left or isinstance(failure, Fenced):
                    raise
                await self.clock.sleep(self._random.uniform(*_JITTER_S))
            left -= 1

    @contextlib.asynccontextmanager
    async def watching(
        self, call: Call, identity: Identity, *, idle_timeout: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of an endless answer; takes no slot. Entered once the server has agreed."""
        response = await self._open(call, identity, idle_timeout)
        try:
            async with contextlib.aclosing(self._lines(response)) as lines:
                yield lines
        finally:
            await response.close()

    async def _open(self, call: Call, identity: Identity, idle_timeout: float) -> Response:
        try:
            return await self._send(call, identity, timeout=None, idle_timeout=idle_timeout)
        except Unauthorized:
            if not self.config.auth.refused():
                raise
        return await self._send(call, identity, timeout=None, idle_timeout=idle_timeout)

    async def _send(
        self,
        call: Call,
        identity: Identity,
        *,
        timeout: float | None = _TIMEOUT_S,
        idle_timeout: float | None = None,
    ) -> Response:
        config = self.config
        headers = CIMultiDict(await config.auth.headers())
        headers["Accept"] = call.accept
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        headers.extend(identity)
        if call.headers:
            headers.update(call.headers)
        request = Request(
            call.method,
            self._url(call),
            headers,
            call.body,
            timeout=timeout,
            idle_timeout=idle_timeout,
            tls=config.tls,
            tls_server_name=config.tls_server_name,
            proxy=config.proxy,
        )
        try:
            response = await self.transport.send(request)
        except TransportError as failure:
            raise self._unreachable(failure) from failure
        if 200 <= response.status < 300 or response.status == 304:
            return response
        said = await self._body(response)
        raise errors.from_answer(
            response.status,
            response.headers,
            said,
            request=f"{call.method} {call.path}",
            server=self.server,
            now=self.clock.now(),
        )

    def _url(self, call: Call) -> URL:
        if not call.query:
            return URL(f"{self.server}{call.path}", encoded=True)
        pairs = "&".join(f"{key}={_quoted(value)}" for key, value in call.query.items())
        return URL(f"{self.server}{call.path}?{pairs}", encoded=True)

    def _pause_after(self, refusal: ApiError, repeatable: bool) -> float | None:
        asked = refusal.retry_after
        if refusal.status == 429 or (refusal.status == 503 and (asked is not None or repeatable)):
            if asked is None:
                return self._random.uniform(*_JITTER_S)
            return asked + self._random.uniform(0.0, 0.1) if asked <= _LONGEST_RETRY_AFTER_S else None
        return None

    async def _body(self, response: Response, limit: int = MAX_BODY) -> bytes:
        try:
            return await response.read(limit)
        except BodyTooLarge as failure:
            raise errors.ServerError(response.status, "AnswerTooLarge", str(failure)) from failure
        except TransportError as failure:
            raise self._unreachable(failure) from failure
        except asyncio.CancelledError:
            await response.close()
            raise

    async def _lines(self, response: Response) -> AsyncGenerator[bytes, None]:
        try:
            async with contextlib.aclosing(split_lines(response.chunks())) as lines:
                async for line in lines:
                    yield line
        except TransportError as failure:
            raise self._unreachable(failure) from failure

    def _unreachable(self, failure: TransportError) -> Unreachable:
        timed_out = isinstance(failure.__cause__, TimeoutError)
        return (Silent if timed_out else Unreachable)(self.server, str(failure))


@lru_cache(maxsize=1024)
def _quoted(value: str) -> str:
    return quote(value, safe=_QUERY_SAFE)


def identity_of(who: Impersonation | None) -> Identity:
    """The headers that ask the server to take us for `who`. Raises ValueError for nobody, and for smuggled headers."""
    if who is None:
        return ()
    words = (who.user, *who.groups, who.uid)
    if not who.user or any(not word.isprintable() for word in words):
        raise ValueError("impersonation needs a user, and names without control characters")
    headers = [("Impersonate-User", who.user)]
    headers += [("Impersonate-Group", group) for group in who.groups]
    headers += [("Impersonate-Uid", who.uid)] if who.uid else []
    return tuple(headers)


async def split_lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """What arrives, cut at line ends, without empty lines. Raises TransportError for a line beyond all reason."""
    rest: list[bytes] = []
    size = 0
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        rest.append(first)
        size += len(first)
        if others:
            *whole, tail = b"".join(rest), *others
            rest, size = [tail], len(tail)
            for line in whole:
                if line:
                    yield line
        if size > _LONGEST_LINE:
            raise TransportError(f"a line of more than {_LONGEST_LINE} bytes")
    if last := b"".join(rest):
        yield last
