"""HTTP answered at a socket that is given, for as long as a block lasts: the door of a child (`loopback.py`)."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web


@contextlib.asynccontextmanager
async def answering(
    listener: socket.socket, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
) -> AsyncIterator[None]:
    """Let `handle` answer whoever connects to `listener`. Whoever is still connected at the end is cut off."""
    server = web.Server(handle, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, sock=listener)
    try:
        yield
    finally:
        listening.close()
        await server.shutdown(0.0)
