"""Services by apprise: its code runs confined, and its requests go over the wire of the Provider.

An address of apprise is the word of a tenant, and apprise is a large program that was not written for such. So it gets
a process of its own, without a network, with an end (`base/confined.py`), and one door: there it hands its requests to
us, and each is sent as those of every provider are, or is not. Does I/O.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import socket
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

import msgspec
from aiohttp import web

from trimtab.base.answering import answering
from trimtab.base.confined import Bounds, Confined, Task
from trimtab.base.errors import TrimtabError
from trimtab.base.process import Limits
from trimtab.notify.provider import (
    Answer,
    Delivered,
    Misconfigured,
    NoAnswer,
    Order,
    Outcome,
    Refused,
    Request,
    Retry,
    judge,
)
from trimtab.notify.providers.apprise import REFUSED_OPTIONS

MOST_REQUESTS: Final = 20
"""Of one notice: services that are signed in to need a few."""
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"})
_BOUNDS: Final = Bounds(
    workers=2,
    timeout_s=60.0,
    max_output=64 << 10,
    limits=Limits(memory_bytes=1 << 30, cpu_s=20, file_bytes=1 << 20, offline=True),
)
_PROGRAM: Final = Path(__file__).with_name("errand.py")


class Asking(Protocol):
    """The part of a wire that is needed here."""

    async def ask(self, request: Request) -> Answer:
        """Send one request. Raises NoAnswer."""
        ...


class _Wanted(msgspec.Struct, frozen=True):
    method: str
    url: str
    headers: dict[str, str]
    body: str


class Apprising:
    """Tells by apprise. `work_dir` is private to us, and made when it is needed."""

    def __init__(self, work_dir: Path) -> None:
        self._work_dir = work_dir
        self._confined: Confined | None = None
        self._making = asyncio.Lock()

    async def deliver(self, order: Order, wire: Asking) -> Outcome:
        """What became of `order`. Raises Misconfigured."""
        if find_spec("apprise") is None:
            raise Misconfigured(
                "a Provider of type apprise needs a package that is not installed: pip install 'trimtab[apprise]'"
            )
        confined = await self._room()
        door = _Door(wire)
        wanted = {
            "scheme": order.scheme,
            "module": order.module,
            "address": order.address,
            "title": order.title,
            "body": order.body,
            "kind": order.kind,
            "refused": list(REFUSED_OPTIONS),
        }
        task = Task(
            ["-I", "-B", str(_PROGRAM)],
            lambda _place: None,
            hashlib.sha256(order.address.encode()).hexdigest(),
            f"tell a notice by apprise ({order.scheme})",
            stdin=msgspec.json.encode(wanted),
            service=door,
        )
        try:
            said = await confined.run(task)
        except TrimtabError as failure:
            return Retry(failure.message)
        return _outcome(order, said.done.stdout.decode(errors="replace"), door)

    async def _room(self) -> Confined:
        async with self._making:
            if self._confined is None:
                self._confined = await asyncio.to_thread(
                    lambda: Confined(Path(sys.executable), self._work_dir, reason="AppriseFailed", bounds=_BOUNDS)
                )
            return self._confined


def _outcome(order: Order, word: str, door: "_Door") -> Outcome:
    if word == "told":
        return Delivered()
    if word == "unknown":
        raise Misconfigured(
            f"the address in the Secret of spec.secretRef is not one that apprise takes for {order.scheme}://: see "
            "apprise's words on that service"
        )
    if door.outcome is not None:
        return door.outcome
    if door.answer is None:
        return Retry(f"apprise has told nothing by {order.scheme}://, and does not say why")
    outcome = judge(door.answer)
    if isinstance(outcome, Delivered):
        return Retry(f"the server answered {door.answer.status}, and apprise finds no success in that")
    return outcome


class _Door:
    """Where the requests of one process come out. `outcome` is that of one that was not sent, or led elsewhere."""

    def __init__(self, wire: Asking) -> None:
        self.answer: Answer | None = None
        self.outcome: Retry | Refused | None = None
        self._wire = wire
        self._token = secrets.token_hex(16)
        self._left = MOST_REQUESTS

    def files(self, port: int) -> Mapping[str, bytes]:
        """How the program finds it. The token is for where the network is not its own."""
        return {"door": msgspec.json.encode({"port": port, "token": self._token})}

    def serving(self, listener: socket.socket) -> AbstractAsyncContextManager[None]:
        """Send what comes, as long as the block lasts."""
        return answering(listener, self._handle)

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        given = request.rel_url.raw_path.removeprefix("/")
        if request.method != "POST" or not hmac.compare_digest(given.encode(), self._token.encode()):
            return web.Response(status=401)
        try:
            wanted = msgspec.json.decode(await request.read(), type=_Wanted)
            body = base64.b64decode(wanted.body, validate=True)
        except web.HTTPRequestEntityTooLarge:
            return self._not_sent(Refused("apprise wants to send more than a notice is"))
        except (msgspec.DecodeError, binascii.Error):
            return self._not_sent(Refused("apprise wants to send what makes no sense"))
        self._left -= 1
        if self._left < 0 or wanted.method not in _METHODS:
            return self._not_sent(Refused(f"apprise wants to send more than {MOST_REQUESTS} requests, or odd ones"))
        try:
            answer = await self._wire.ask(
                Request(method=wanted.method, url=wanted.url, headers=wanted.headers, body=body)
            )
        except NoAnswer as failure:
            return self._not_sent(failure.outcome)
        if 300 <= answer.status < 400:
            led = judge(answer)
            return self._not_sent(led if isinstance(led, Refused) else Refused("the server sends us elsewhere"))
        self.answer = answer
        return _said({"status": answer.status, "headers": dict(answer.headers), "body": _text(answer.body)})

    def _not_sent(self, why: Retry | Refused) -> web.Response:
        self.outcome = self.outcome or why
        return _said({})


def _said(found: Mapping[str, object]) -> web.Response:
    return web.Response(body=msgspec.json.encode(found), content_type="application/json")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
