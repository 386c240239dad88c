"""One exchange with a registry: to checked addresses only, signed in where that is due, redirects followed with care.

Credentials go to the registry's own origin and to realms that may see them, nowhere else. A redirect, which is how most
registries hand out contents, is followed without them, and never into a private network.
"""

import asyncio
import hashlib
import itertools
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

import msgspec
from yarl import URL

from trimtab.base.certificates import load_pair
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import Request, Response, Transport, TransportError
from trimtab.remotes.oci.challenge import Challenge, Realm, challenges, realm_of
from trimtab.remotes.oci.credentials import AuthenticationFailed, Login, Logins
from trimtab.remotes.oci.reference import Repository, host_of
from trimtab.remotes.reach import NotAllowed, Unresolved, addresses, refusal, written

IDLE_S = 30.0
"""Seconds without a byte."""
_MAX_REDIRECTS = 3
_MAX_TOKEN = 64 << 10
_MAX_ERROR = 64 << 10
_TOKEN_S = 60.0
_LONGEST_TOKEN_S = 3600.0
_LONGEST_HOLD_S = 3600.0
_MOST_REMEMBERED = 10_000
_MOST_CONTEXTS = 200


class PullFailed(Transient):
    """The registry did not give what was asked for, or something else than it promised."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__("OCIArtifactPullFailed", message, retry_after=retry_after)


class NotThere(PullFailed):
    """The registry knows nothing of that name."""


@dataclass(frozen=True, slots=True)
class Access:
    """How one repository is reached: with which logins and certificates, over which proxy."""

    logins: Logins = field(default_factory=Logins, repr=False)
    ca: bytes = field(default=b"", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    proxy: URL | None = field(default=None, repr=False)
    timeout_s: float = 60.0

    @property
    def identity(self) -> str:
        """Tells apart who asks and over which way. What one was given must not serve, or stop, another."""
        parts = (self.logins.digest, self.ca, self.certificate, self.key, str(self.proxy))
        return hashlib.sha256(repr(parts).encode()).hexdigest()


class _TokenAnswer(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""
    expires_in: float | None = None


class _Complaint(msgspec.Struct, frozen=True):
    code: str = ""
    message: str | None = None


class _Complaints(msgspec.Struct, frozen=True):
    errors: list[_Complaint] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Pass:
    """What goes into the header Authorization, until then (monotonic seconds)."""

    authorization: str
    until: float


class Wire:
    """Exchanges with registries. One per process: it keeps tokens, and remembers who asked for patience."""

    def __init__(self, transport: Transport, clock: Clock, *, deny_private: bool = False) -> None:
        self._transport = transport
        self._clock = clock
        self._deny_private = deny_private
        self._passes: dict[tuple[Repository, str], _Pass] = {}
        self._held: dict[tuple[URL, URL | None], float] = {}
        self._contexts: dict[bytes, ssl.SSLContext] = {}

    async def exchange(
        self, repository: Repository, access: Access, method: str, url: URL, headers: Mapping[str, str]
    ) -> Response:
        """The answer to `method` on `url`, which is on the registry, after signing in and following redirects.

        Its status is 200. Raises AuthenticationFailed, PullFailed, NotThere, and Terminal for an address refused.
        """
        response = await self._signed_in(repository, access, method, url, headers)
        for _ in range(_MAX_REDIRECTS):
            if response.status not in (301, 302, 303, 307, 308):
                break
            await _drain(response)
            url = _target(repository, url, response.headers.get("Location", ""))
            if url.origin() == repository.origin.origin():
                response = await self._signed_in(repository, access, method, url, headers)
            else:
                response = await self._send(repository, access, Request(method, url, dict(headers)))
        if response.status != 200:
            raise await self._complaint(repository, access, url, response)
        return response

    async def _signed_in(
        self, repository: Repository, access: Access, method: str, url: URL, headers: Mapping[str, str]
    ) -> Response:
        login = _login(repository, access)
        known = (repository, access.identity)
        response = await self._shown(repository, access, Request(method, url, headers), self._passes.get(known))
        if response.status != 401:
            return response
        await _drain(response)
        self._passes.pop(known, None)
        offered = challenges(value for name, value in response.headers.items() if name.lower() == "www-authenticate")
        passed = await self._sign_in(repository, access, login, offered)
        self._remember(known, passed)
        return await self._shown(repository, access, Request(method, url, headers), passed)

    async def _shown(self, repository: Repository, access: Access, request: Request, passed: _Pass | None) -> Response:
        if passed is None or passed.until <= self._clock.monotonic():
            return await self._send(repository, access, request)
        headers = {**request.headers, "Authorization": passed.authorization}
        return await self._send(repository, access, Request(request.method, request.url, headers))

    def _remember(self, known: tuple[Repository, str], passed: _Pass) -> None:
        if len(self._passes) >= _MOST_REMEMBERED:
            now = self._clock.monotonic()
            self._passes = {one: other for one, other in self._passes.items() if other.until > now}
            if len(self._passes) >= _MOST_REMEMBERED:
                self._passes.clear()
        self._passes[known] = passed

    async def _sign_in(
        self, repository: Repository, access: Access, login: Login | None, offered: list[Challenge]
    ) -> _Pass:
        if login is not None and login.registry_token:
            return _Pass(f"Bearer {login.registry_token}", float("inf"))
        bearer = next((one for one in offered if one.scheme == "bearer"), None)
        if bearer is not None:
            return await self._token(repository, access, login, bearer)
        if any(one.scheme == "basic" for one in offered) and login is not None and login.username:
            return _Pass(login.basic, float("inf"))
        raise _denied(repository, signed_in=login is not None)

    async def _token(self, repository: Repository, access: Access, login: Login | None, challenge: Challenge) -> _Pass:
        realm = realm_of(challenge, repository)
        # Whoever wrote the Secret allows another host by an entry with the same credentials. With others a registry
        # could have a token made that opens somebody else's: the token is shown to whoever named the realm.
        allowed = realm.trusted or login == access.logins.find(host_of(realm.url), _port(realm.url))
        if login is not None and not allowed:
            raise AuthenticationFailed(
                f"{repository}: the registry sends us to {realm.url.origin()} for a token, and credentials are not "
                f"shown to another host; to allow it, add an entry for {realm.url.raw_authority} with the same "
                "credentials to the Secret"
            )
        asked = {"scope": f"repository:{repository.path}:pull", "client_id": "trimtab"}
        if service := challenge.parameters.get("service", ""):
            asked["service"] = service[:1024]
        response = await self._send(repository, access, _token_request(realm, login, asked), realm=realm)
        if response.status in (401, 403):
            await _drain(response)
            raise _denied(repository, signed_in=login is not None)
        if response.status != 200:
            raise await self._complaint(repository, access, realm.url.with_query(None), response)
        try:
            answer = msgspec.json.decode(await response.read(_MAX_TOKEN), type=_TokenAnswer)
        except (TransportError, msgspec.DecodeError, ValueError) as failure:
            raise PullFailed(f"{repository}: {realm.url.origin()} did not answer with a token: {failure}") from failure
        token = answer.token or answer.access_token
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise PullFailed(f"{repository}: {realm.url.origin()} answered with something that cannot be a token")
        lasts = min(max(answer.expires_in or _TOKEN_S, _TOKEN_S), _LONGEST_TOKEN_S)
        return _Pass(f"Bearer {token}", self._clock.monotonic() + lasts * 0.8)

    async def _send(
        self, repository: Repository, access: Access, request: Request, *, realm: Realm | None = None
    ) -> Response:
        """Send to the first of the checked addresses that accepts it."""
        host, port = host_of(request.url), request.url.port or 443
        own = host == repository.host
        origin = request.url.origin()
        if (wait := self._held.get((origin, access.proxy), 0.0) - self._clock.monotonic()) > 0:
            raise PullFailed(f"{repository}: {origin} asked us to wait {wait:.0f} s more", retry_after=wait)
        tls = self._tls(access, own=own) if request.url.scheme == "https" else None
        try:
            deny_private = self._deny_private or not own
            proxies: tuple[URL | None, ...] = (None,)
            if access.proxy is not None:
                # The proxy looks names up, so that only what is written as an address can be judged here.
                if (ip := written(host)) and (why := refusal(ip, deny_private=deny_private)):
                    raise NotAllowed(f"{host} is {ip}, {why}, which is never contacted")
                hosts: tuple[str, ...] = (host,)
                proxies = await self._proxies(repository, access.proxy)
            else:
                hosts = await addresses(host, port, deny_private=deny_private)
        except Unresolved as failure:
            raise PullFailed(f"{repository}: {failure}") from failure
        except NotAllowed as failure:
            if own:
                raise Terminal("URLInvalid", f"{repository}: {failure}") from failure
            said = "for a token" if realm else "by a redirect"
            raise PullFailed(f"{repository}: the registry sends us {said} to {origin}: {failure}") from failure
        failure_: TransportError | None = None
        for ip, proxy in itertools.product(hosts, proxies):
            pinned = Request(
                request.method,
                request.url.with_host(ip),
                {**request.headers, "Host": request.url.raw_authority.rpartition("@")[2]},
                request.body,
                timeout=access.timeout_s,
                idle_timeout=IDLE_S,
                tls=tls,
                tls_server_name=host if tls is not None and host != ip else None,
                proxy=proxy,
            )
            try:
                return await self._transport.send(pinned)
            except TransportError as failure:
                failure_ = failure
        raise PullFailed(f"{repository}: {failure_}") from failure_

    async def _proxies(self, repository: Repository, proxy: URL) -> tuple[URL, ...]:
        """The proxy at each of its addresses, checked like any other host that an object names."""
        try:
            ips = await addresses(host_of(proxy), proxy.port or 80, deny_private=self._deny_private)
        except (Unresolved, NotAllowed, ValueError) as failure:
            raise PullFailed(f"{repository}: the proxy of spec.proxySecretRef: {failure}") from failure
        return tuple(proxy.with_host(ip) for ip in ips)

    async def _complaint(self, repository: Repository, access: Access, url: URL, response: Response) -> Transient:
        """What the other side says is wrong, as an error."""
        status = response.status
        words = await _words(response)
        own = url.origin() == repository.origin.origin()
        place = f"{repository}: {url.path if own else url.with_query(None)}"
        # Elsewhere nobody was shown credentials: another Secret would not help there.
        if own and status in (401, 403):
            return _denied(repository, signed_in=_login(repository, access) is not None, words=words)
        if status in (404, 410):
            return NotThere(f"{place}: there is no such thing in the registry ({status}){words}")
        after = retry_after(response.headers.get("Retry-After", ""), self._clock.now())
        if status in (429, 503) and after is not None:
            self._hold(url.origin(), access.proxy, after)
        if status == 429:
            return PullFailed(f"{place}: the registry has had too many requests (429){words}", retry_after=after)
        return PullFailed(f"{place}: the registry answered {status}{words}", retry_after=after)

    def _hold(self, origin: URL, proxy: URL | None, seconds: float) -> None:
        # Of this proxy only: what it says in the registry's name must not stop those who go there themselves.
        now = self._clock.monotonic()
        if len(self._held) >= _MOST_REMEMBERED:
            self._held = {one: until for one, until in self._held.items() if until > now}
        if len(self._held) < _MOST_REMEMBERED:
            self._held[origin, proxy] = now + seconds

    def _tls(self, access: Access, *, own: bool) -> ssl.SSLContext | None:
        # One context per set of certificates: connections are pooled by it, and making one takes milliseconds.
        certificate, key = (access.certificate, access.key) if own else (b"", b"")
        if not access.ca and not certificate:
            return None
        known = b"".join(hashlib.sha256(part).digest() for part in (access.ca, certificate, key))
        if known not in self._contexts:
            while len(self._contexts) >= _MOST_CONTEXTS:
                self._contexts.pop(next(iter(self._contexts)))
            self._contexts[known] = _context(access.ca, certificate, key)
        return self._contexts[known]


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds that a header Retry-After asks for, an hour at most; None if it is not there or not readable."""
    if text.isdecimal() and len(text) < 10:
        return min(float(text), _LONGEST_HOLD_S)
    try:
        return min(max((parsedate_to_datetime(text) - now).total_seconds(), 0.0), _LONGEST_HOLD_S)
    except (ValueError, TypeError):
        return None


def _login(repository: Repository, access: Access) -> Login | None:
    return access.logins.find(repository.host, _port(repository.origin), repository.path)


def _port(url: URL) -> int | None:
    return None if url.is_default_port() or url.port == 443 else url.port


def _token_request(realm: Realm, login: Login | None, asked: dict[str, str]) -> Request:
    if login is not None and login.identity_token:
        form = {**asked, "grant_type": "refresh_token", "refresh_token": login.identity_token}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Request("POST", realm.url, headers, urlencode(form).encode())
    headers = {"Authorization": login.basic} if login is not None and login.username else {}
    return Request("GET", realm.url.update_query(asked), headers)


def _target(repository: Repository, url: URL, location: str) -> URL:
    try:
        target = url.join(URL(location, encoded=True))
        host = host_of(target)
    except ValueError:
        host, target = "", url
    if not location or not host or target.user is not None or not location.isascii() or len(location) > 8192:
        raise PullFailed(f"{repository}: the registry redirects to {location[:200]!a}, which is not an address")
    if target.scheme != "https" and not (target.scheme == "http" and repository.insecure and host == repository.host):
        raise PullFailed(f"{repository}: the registry redirects to {location[:200]!a}; only https is followed")
    return target


def _context(ca: bytes, certificate: bytes, key: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca:
        try:
            context.load_verify_locations(cadata=ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as failure:
            raise AuthenticationFailed(f"ca.crt in the Secret is not a certificate in PEM: {failure}") from failure
    if certificate or key:
        try:
            load_pair(context, certificate, key)
        except (OSError, ValueError) as failure:
            raise AuthenticationFailed(f"tls.crt and tls.key in the Secret cannot be used: {failure}") from failure
    return context


async def _drain(response: Response) -> None:
    """Read the rest, so that the connection can be used again; an answer without an end is cut off."""
    try:
        async with asyncio.timeout(IDLE_S):
            await response.read(_MAX_ERROR)
    except (TransportError, TimeoutError):
        await response.close()


async def _words(response: Response) -> str:
    """What the other side says is wrong, fit to be shown."""
    try:
        async with asyncio.timeout(IDLE_S):
            body = await response.read(_MAX_ERROR)
        complaints = msgspec.json.decode(body, type=_Complaints).errors
    except (TransportError, TimeoutError, msgspec.DecodeError, ValueError):
        await response.close()
        return ""
    said = "; ".join(" ".join(filter(None, (one.code, one.message))) for one in complaints)[:300]
    return f": {ascii(said)[1:-1]}" if said else ""


def _denied(repository: Repository, *, signed_in: bool, words: str = "") -> AuthenticationFailed:
    cause = "refuses these credentials" if signed_in else "wants credentials, or there is no such repository"
    way_out = "check the Secret of spec.secretRef" if signed_in else "name a Secret in spec.secretRef"
    return AuthenticationFailed(f"{repository}: the registry {cause}; {way_out}{words}")
