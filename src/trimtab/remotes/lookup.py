"""Looks up the addresses of a host, in threads of its own, and each name once at a time.

A name server that does not answer keeps a thread for up to half a minute. In the threads that all other work shares, a
few such names would hold up what is read, rendered and written; here they hold up nobody but those who ask for them.
"""

import asyncio
import socket
from concurrent.futures import Future
from threading import Thread
from typing import Final

PATIENCE_S: Final = 30.0
"""A resolver with two servers and a search list takes its time before it gives up."""
_asking: Final[dict[tuple[str, int], Future[tuple[str, ...]]]] = {}


async def lookup(host: str, port: int) -> tuple[str, ...]:
    """The IP addresses of `host`, in the system's order of preference, at least one.

    Raises OSError and UnicodeError in the words of the resolver, TimeoutError where it says nothing for `PATIENCE_S`.
    """
    try:
        return _addresses(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # not an address: somebody must be asked
    answer = _asking.get((host, port))
    if answer is None:
        answer = _asking[host, port] = Future()
        # A daemon: who is told to end does not wait for a name server.
        asking = Thread(target=_ask, args=(host, port, answer), name=f"lookup {host}", daemon=True)
        try:
            asking.start()
        except RuntimeError:  # there can be no more of them now: who asks later is not to wait for this one
            del _asking[host, port]
            raise
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.shield(asyncio.wrap_future(answer))


def _ask(host: str, port: int, answer: "Future[tuple[str, ...]]") -> None:
    try:
        try:
            found = _addresses(host, port)
        finally:
            del _asking[host, port]
    except (OSError, ValueError, OverflowError) as failure:
        answer.set_exception(failure)
    else:
        answer.set_result(found)


def _addresses(host: str, port: int, flags: int = 0) -> tuple[str, ...]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
