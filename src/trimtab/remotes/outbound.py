"""The way out, to servers that objects name: to checked addresses only, patient, and not led astray.

One for registries, buckets and repositories of charts alike. A name is resolved once and the connection goes to what
was checked. Link-local and metadata addresses are never contacted. Private ones are, where the owner of the object
wrote them (unless they are denied to everybody), and never because another server said so. Answers are never
decompressed here, so that a small one cannot become large.
"""

import asyncio
import hashlib
import itertools
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Protocol

from yarl import URL

from trimtab.base.certificates import load_pair
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.base.http import BodyTooLarge, Request, Response, Transport, TransportError
from trimtab.remotes import redirects
from trimtab.remotes.reach import NotAllowed, Unresolved, addresses, host_of, refusal, written

IDLE_S = 30.0
"""Seconds without a byte."""
_MAX_ERROR = 64 << 10
_LONGEST_WAIT_S = 3600.0
_LONGEST_HOLD_S = 300.0
"""So long at most nobody asks again, whatever was said: those who ask the same way need not be one owner's."""
_MOST_REMEMBERED = 10_000
_MOST_CONTEXTS = 200


class AuthenticationFailed(Transient):
    """Signing in did not work, or cannot. Retried: a Secret may be repaired without any change to our object."""

    def __init__(self, message: str) -> None:
        super().__init__("AuthenticationFailed", message)


class Unanswered(Exception):
    """There is no answer, or one that is not taken. `retry_after` (seconds) is what the other side asked for."""

    def __init__(self, words: str, *, retry_after: float | None = None) -> None:
        super().__init__(words)
        self.retry_after = retry_after


class Astray(Unanswered):
    """The other side sends us to a place that is not gone to. `why` does not say which."""

    def __init__(self, words: str, why: str = "") -> None:
        super().__init__(words)
        self.why = why or words


class Unusable(Exception):
    """The certificates of the Secret cannot be used."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a server is reached: with which certificates, over which proxy, and in which time each exchange.

    `ca` is trusted everywhere beside the system's authorities; `certificate` and `key` are shown to its host alone.
    `owner` tells apart those who share nothing but the server, such as two webhooks of one chat service.
    """

    ca: bytes = field(default=b"", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    proxy: URL | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    owner: str = ""

    @property
    def identity(self) -> str:
        """Tells ways apart. What one was given must not serve, or stop, another."""
        parts = (self.ca, self.certificate, self.key, str(self.proxy), self.owner)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


class Followed(NamedTuple):
    """An answer, and the address it came from in the end."""

    url: URL
    response: Response


class Failure(Protocol):
    """Makes an error of somebody's own from words and the other side's wish."""

    def __call__(self, message: str, *, retry_after: float | None = None) -> TrimtabError: ...


@contextmanager
def told(subject: object, failed: Failure) -> Iterator[None]:
    """What goes wrong inside becomes an error that names `subject`: URLInvalid, AuthenticationFailed or `failed`."""
    try:
        yield
    except NotAllowed as failure:
        raise Terminal("URLInvalid", f"{subject}: {failure}") from failure
    except Unusable as failure:
        raise AuthenticationFailed(f"{subject}: {failure}") from failure
    except Unanswered as failure:
        raise failed(f"{subject}: {failure}", retry_after=failure.retry_after) from failure
    except TransportError as failure:
        raise failed(f"{subject}: {failure}") from failure


class Outbound:
    """Sends requests. One per process: it remembers who asked for patience."""

    def __init__(self, transport: Transport, clock: Clock, *, deny_private: bool = False) -> None:
        self._transport = transport
        self._clock = clock
        self._deny_private = deny_private
        self._held: dict[tuple[URL, str], float] = {}
        self._contexts: dict[bytes, ssl.SSLContext] = {}

    async def follow(
        self,
        request: Request,
        way: Way,
        *,
        at_home: Callable[[Request], Awaitable[Response]] | None = None,
        own: bool = True,
    ) -> Followed:
        """Send `request`, a GET or HEAD, and follow redirects.

        At another origin than the first, credentials and all headers that are somebody's own are left out; at home
        `at_home` may send, to sign in. After too many the last answer is returned as it is. `own` says, as for `send`,
        that the owner of the object wrote the first host. Raises as `send`.
        """
        home = url = request.url
        left = False
        for hop in itertools.count():
            # Who was elsewhere may have been sent back on purpose: to have us ask for something as ourselves.
            left = left or not redirects.same_origin(url, home)
            if left:
                stripped = replace(request, url=url, headers=redirects.shown_elsewhere(request.headers))
                response = await self.send(stripped, way, own=own and host_of(url) == host_of(home))
            elif at_home is not None:
                response = await at_home(replace(request, url=url))
            else:
                response = await self.send(replace(request, url=url), way, own=own)
            if response.status not in redirects.STATUSES or hop == redirects.MOST:
                return Followed(url, response)
            await drain(response)
            try:
                url = redirects.target(home, url, response.headers.get("Location", ""))
            except redirects.BadRedirect as failure:
                raise Astray(str(failure)) from failure
        raise AssertionError("unreachable")

    async def send(self, request: Request, way: Way, *, own: bool) -> Response:
        """Send to the first of the checked addresses that accepts it; redirects are not followed.

        `own` says that the owner of the object wrote the host. Raises NotAllowed for such a host, Astray for another,
        Unanswered, and Unusable.
        """
        origin = request.url.origin()
        if (wait := self._held.get((origin, way.identity), 0.0) - self._clock.monotonic()) > 0:
            raise Unanswered(f"{origin} asked us to wait {wait:.0f} s more", retry_after=wait)
        secure = request.url.scheme == "https"
        tls = self._tls(way, own=own) if secure else None
        try:
            host, hosts = await self._hosts(request.url, way, deny_private=self._deny_private or not own)
        except (NotAllowed, ValueError) as failure:
            if own:
                raise NotAllowed(str(failure)) from failure
            raise Astray(f"the server sends us to {origin}: {failure}", str(failure)) from failure
        except Unresolved as failure:
            raise Unanswered(str(failure)) from failure
        proxies = await self._proxies(way.proxy) if way.proxy is not None else (None,)
        failed: TransportError | None = None
        for ip, proxy in itertools.product(hosts, proxies):
            pinned = Request(
                request.method,
                request.url.with_host(ip),
                {
                    **request.headers,
                    "Host": request.url.raw_authority.rpartition("@")[2],
                    "Accept-Encoding": "identity",
                },
                request.body,
                timeout=way.timeout_s,
                idle_timeout=IDLE_S,
                tls=tls,
                tls_server_name=host if secure and host != ip else None,
                proxy=proxy,
            )
            try:
                response = await self._transport.send(pinned)
            except TransportError as failure:
                failed = failure
                continue
            self._heed(origin, way, response)
            return response
        raise Unanswered(str(failed)) from failed

    async def connect(
        self, host: str, port: int, way: Way, *, tls: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection for another protocol than HTTP, to a host that the owner of the object wrote. Close it.

        Raises NotAllowed, Unanswered and Unusable.
        """
        if way.proxy is not None:
            raise Unanswered("a proxy is for HTTP only: take spec.proxySecretRef away")
        context = self.context(way) if tls else None
        try:
            name = host_of(URL.build(scheme="https", host=host))
            ips = await addresses(name, port, deny_private=self._deny_private)
        except ValueError as failure:
            raise NotAllowed(str(failure)) from failure
        except Unresolved as failure:
            raise Unanswered(str(failure)) from failure
        failed: Exception | None = None
        for ip in ips:
            try:
                async with asyncio.timeout(way.timeout_s):
                    return await asyncio.open_connection(ip, port, ssl=context, server_hostname=name if tls else None)
            except (OSError, TimeoutError) as failure:
                failed = failure
        why = "timed out" if isinstance(failed, TimeoutError) else failed
        raise Unanswered(f"cannot connect to {name}:{port}: {why}") from failed

    def context(self, way: Way) -> ssl.SSLContext:
        """How a connection of `way` to its own host is secured. Raises Unusable."""
        return self._tls(way, own=True) or ssl.create_default_context()

    def now(self) -> datetime:
        """The time by which answers are read here."""
        return self._clock.now()

    def retry_after(self, response: Response) -> float | None:
        """Seconds that the other side asks us to wait, if it does."""
        return retry_after(response.headers.get("Retry-After", ""), self._clock.now())

    async def _hosts(self, url: URL, way: Way, *, deny_private: bool) -> tuple[str, tuple[str, ...]]:
        """The host as it is written, and the addresses to send to."""
        host = host_of(url)
        if way.proxy is None:
            return host, await addresses(host, url.port or 443, deny_private=deny_private)
        # The proxy looks names up, so that only what is written as an address can be judged here.
        if (ip := written(host)) and (why := refusal(ip, deny_private=deny_private)):
            raise NotAllowed(f"{host} is {ip}, {why}, which is never contacted")
        return host, (host,)

    async def _proxies(self, proxy: URL) -> tuple[URL, ...]:
        """The proxy at each of its addresses, checked like any other host that an object names."""
        try:
            ips = await addresses(host_of(proxy), proxy.port or 80, deny_private=self._deny_private)
        except (Unresolved, NotAllowed, ValueError) as failure:
            raise Unanswered(f"the proxy of spec.proxySecretRef: {failure}") from failure
        return tuple(proxy.with_host(ip) for ip in ips)

    def _heed(self, origin: URL, way: Way, response: Response) -> None:
        if response.status not in (429, 503) or (seconds := self.retry_after(response)) is None:
            return
        # Of who asked, and over which proxy: what is said to them must not stop others who go to the same server.
        now = self._clock.monotonic()
        if len(self._held) >= _MOST_REMEMBERED:
            self._held = {one: until for one, until in self._held.items() if until > now}
        if len(self._held) < _MOST_REMEMBERED:
            self._held[origin, way.identity] = now + min(seconds, _LONGEST_HOLD_S)

    def _tls(self, way: Way, *, own: bool) -> ssl.SSLContext | None:
        # One context per set of certificates: connections are pooled by it, and making one takes milliseconds.
        certificate, key = (way.certificate, way.key) if own else (b"", b"")
        if not way.ca and not certificate and not key:
            return None
        known = b"".join(hashlib.sha256(part).digest() for part in (way.ca, certificate, key))
        if known not in self._contexts:
            while len(self._contexts) >= _MOST_CONTEXTS:
                self._contexts.pop(next(iter(self._contexts)))
            self._contexts[known] = _context(way.ca, certificate, key)
        return self._contexts[known]


async def body(response: Response, limit: int) -> bytes:
    """The whole body, of at most `limit` bytes. Raises Unanswered."""
    try:
        return await response.read(limit)
    except BodyTooLarge as failure:
        raise Unanswered(f"an answer of more than {limit} bytes") from failure
    except TransportError as failure:
        raise Unanswered(str(failure)) from failure


async def drain(response: Response) -> None:
    """Let go of an answer that nobody reads, in a way that the connection may be used again."""
    try:
        async with asyncio.timeout(IDLE_S):
            await response.read(_MAX_ERROR)
    except (TransportError, TimeoutError):
        await response.close()


async def complaint(response: Response) -> bytes:
    """What the other side says is wrong, as far as it fits; nothing if that cannot be had."""
    try:
        async with asyncio.timeout(IDLE_S):
            return await response.read(_MAX_ERROR)
    except (TransportError, TimeoutError):
        await response.close()
        return b""


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds that a header Retry-After asks for, an hour at most; None if it is not there or not readable."""
    if text.isdecimal() and len(text) < 10:
        return min(float(text), _LONGEST_WAIT_S)
    try:
        return min(max((parsedate_to_datetime(text) - now).total_seconds(), 0.0), _LONGEST_WAIT_S)
    except (ValueError, TypeError):
        return None


def _context(ca: bytes, certificate: bytes, key: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca:
        try:
            context.load_verify_locations(cadata=ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as failure:
            raise Unusable(f"ca.crt in the Secret is not a certificate in PEM: {failure}") from failure
    if certificate or key:
        try:
            load_pair(context, certificate, key)
        except (OSError, ValueError) as failure:
            raise Unusable(f"tls.crt and tls.key in the Secret cannot be used: {failure}") from failure
    return context
