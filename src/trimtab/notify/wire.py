"""The way out for one provider: checked addresses, its certificates, its proxy, its time; nothing led astray.

Does I/O.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from yarl import URL

from trimtab.base.http import Request as Exchange
from trimtab.base.http import Response, TransportError
from trimtab.notify.apprising import Apprising
from trimtab.notify.provider import (
    MOST_ANSWER,
    Answer,
    Misconfigured,
    NoAnswer,
    Order,
    Outcome,
    Refused,
    Request,
    Retry,
    Settings,
)
from trimtab.remotes.outbound import Outbound, Unanswered, Unusable, Way
from trimtab.remotes.reach import NotAllowed

_MISUSED = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})


@dataclass(frozen=True, slots=True)
class ProviderWire:
    """`Wire` over the outbound of the process. What the owner has to repair is waited for: nothing is lost by it."""

    out: Outbound
    settings: Settings
    apprising: Apprising | None = None

    def now(self) -> datetime:
        """The time."""
        return self.out.now()

    async def ask(self, request: Request) -> Answer:
        """Send one request; redirects are not followed: where it goes is the owner's to say. Raises NoAnswer."""
        exchange = Exchange(request.method, _address(request.url), _headers(request), request.body)
        try:
            response = await self.out.send(exchange, self._way(), own=True)
            content = await _beginning(response)
        except NotAllowed as failure:
            raise NoAnswer(Retry(f"the address cannot be used: {failure}")) from failure
        except Unusable as failure:
            raise NoAnswer(Retry(str(failure))) from failure
        except Unanswered as failure:
            raise NoAnswer(Retry(_without(str(failure), request.url), failure.retry_after)) from failure
        except TransportError as failure:
            raise NoAnswer(Retry(_without(str(failure), request.url))) from failure
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, content, self.out.retry_after(response))

    async def connect(self, host: str, port: int, *, tls: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection for another protocol. Raises NoAnswer."""
        try:
            return await self.out.connect(host, port, self._way(), tls=tls)
        except (NotAllowed, Unusable) as failure:
            raise NoAnswer(Retry(str(failure))) from failure
        except Unanswered as failure:
            raise NoAnswer(Retry(str(failure), failure.retry_after)) from failure

    async def deliver(self, order: Order) -> Outcome:
        """Have apprise tell it. Raises Misconfigured."""
        if self.apprising is None:
            raise Misconfigured("Providers of type apprise are not served here")
        return await self.apprising.deliver(order, self)

    async def secure(self, writer: asyncio.StreamWriter, host: str) -> None:
        """Go on in TLS. Raises NoAnswer."""
        try:
            context = self.out.context(self._way())
            await writer.start_tls(context, server_hostname=host, ssl_handshake_timeout=self.settings.timeout_s)
        except Unusable as failure:
            raise NoAnswer(Retry(str(failure))) from failure
        except (OSError, TimeoutError) as failure:
            raise NoAnswer(Retry(f"no TLS with {host}: {failure}")) from failure

    def _way(self) -> Way:
        one = self.settings
        proxy = URL(one.proxy) if one.proxy else None
        # A chat service asks each webhook for patience, and a stranger's need not be ours.
        return Way(one.ca, one.certificate, one.key, proxy, one.timeout_s, f"{one.namespace}/{one.name}")


def _address(text: str) -> URL:
    try:
        url = URL(text)
        sound = url.scheme in ("http", "https") and bool(url.raw_host) and text.strip() == text
    except ValueError:
        sound, url = False, URL()
    if not sound:
        raise NoAnswer(Retry("the address of the Provider is not one of http or https"))
    if url.user is not None or url.password is not None:
        raise NoAnswer(Retry("the address of the Provider has a user or a password in it: set `headers` in its Secret"))
    return url


def _headers(request: Request) -> dict[str, str]:
    headers = {}
    for name, value in request.headers.items():
        if name.lower() in _MISUSED:
            continue
        if any(char in f"{name}{value}" for char in "\r\n\0") or not name.isascii() or not name.strip():
            raise NoAnswer(
                Refused("a header of the Provider, or of its Secret, has characters that no header may have")
            )
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise NoAnswer(
                Refused("a header of the Provider, or of its Secret, is not text of Latin letters")
            ) from None
        headers[name] = value
    return headers


def _without(words: str, address: str) -> str:
    """`words` without the address but for its host: with many providers the path is the secret."""
    url = URL(address)
    for secret in (address, url.path_qs, url.raw_path_qs, url.path, url.raw_path):
        if len(secret) > 1:
            words = words.replace(secret, "/***")
    return words


async def _beginning(response: Response) -> bytes:
    """As much of the answer as is read. One that breaks off does not undo what its status says."""
    parts: list[bytes] = []
    size = 0
    try:
        async for chunk in response.chunks():
            parts.append(chunk[: MOST_ANSWER - size])
            size += len(chunk)
            if size >= MOST_ANSWER:
                await response.close()
                break
    except TransportError:
        await response.close()
    return b"".join(parts)
