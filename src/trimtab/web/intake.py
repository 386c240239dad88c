"""The address that Flux's controllers, and ours in other processes, post events to.

202 says that the event is on disk; 429 that the same was said a moment ago; 403 that others than the caller may post;
503 that it cannot be kept now, and may be sent again.
"""

import asyncio
import logging
from typing import Final

from aiohttp import web

from trimtab.base.errors import Transient
from trimtab.notify.desk import Desk, Full
from trimtab.notify.event import MOST_BODY, NotAnEvent, parse
from trimtab.notify.meaning import without_ours
from trimtab.notify.provider import TOLD_HEADER
from trimtab.web.callers import Callers

log = logging.getLogger(__name__)

READ_S: Final = 10.0
MOST_AT_ONCE: Final = 16
"""Events whose bodies are read at the same time: each may have three megabytes."""
_KEEP_S: Final = 30.0
_MOST_NAMED: Final = 100


def app(desk: Desk, callers: Callers) -> web.Application:
    """An application that takes events at its root, of `callers` alone."""
    places = asyncio.Semaphore(MOST_AT_ONCE)
    named: set[str] = set()

    async def refused(request: web.Request) -> web.Response | None:
        address = request.remote or ""
        try:
            if await callers.admits(address):
                return None
        except Transient as failure:
            log.warning("an event is put off: %s", failure.message)
            return _answer(503, "who may post is not known now", {"Retry-After": "5"}, close=True)
        if address not in named and len(named) < _MOST_NAMED:
            named.add(address)
            log.warning("events of %s are refused: it is no Pod of this namespace (--events-from)", address)
        return _answer(403, "only Pods of the namespace of Trimtab post events (--events-from)", close=True)

    async def take(request: web.Request) -> web.Response:
        if request.path != "/":
            return _answer(404, "events are posted to /")
        if request.method != "POST":
            return _answer(405, "only POST is taken here", {"Allow": "POST"})
        if (refusal := await refused(request)) is not None:
            return refusal
        if TOLD_HEADER in request.headers:
            # A Provider that names us as its address could go round in circles, and add words of its own each time.
            return _answer(400, "this was told by a Provider already: it is not an event any more", close=True)
        if (request.content_length or 0) > MOST_BODY:
            return _answer(413, f"the body has more than {MOST_BODY} bytes", close=True)
        async with places:
            return await _take(desk, request)

    async def unnamed(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "trimtab"

    application = web.Application(client_max_size=MOST_BODY)
    application.on_response_prepare.append(unnamed)
    application.router.add_route("*", "/{path:.*}", take)
    return application


async def _take(desk: Desk, request: web.Request) -> web.Response:
    try:
        async with asyncio.timeout(READ_S):
            body = await _body(request)
    except TimeoutError:
        return _answer(408, f"the body did not come within {READ_S:g} s", close=True)
    except (OSError, web.RequestPayloadError):
        return _answer(400, "the body broke off", close=True)
    if body is None:
        return _answer(413, f"the body has more than {MOST_BODY} bytes", close=True)
    try:
        event = without_ours(parse(body))
    except NotAnEvent as failure:
        return _answer(400, failure.message)
    try:
        async with asyncio.timeout(_KEEP_S):
            new = await desk.take(event)
    except (Full, TimeoutError):
        return _answer(503, "the event cannot be kept now", {"Retry-After": "5"})
    return _answer(202, "kept") if new else _answer(429, "the same was said a moment ago")


async def _body(request: web.Request) -> bytes | None:
    """The body, or None for one that is too large."""
    parts: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > MOST_BODY:
            return None
        parts.append(chunk)
    return b"".join(parts)


def _answer(status: int, words: str, headers: dict[str, str] | None = None, *, close: bool = False) -> web.Response:
    response = web.Response(status=status, text=f"{words}\n", headers=headers)
    if close:
        response.force_close()
    return response
