"""One exchange with a registry: signed in where that is due, over the way out that all sources share.

Credentials go to the registry's own origin and to realms that may see them, nowhere else. A redirect, which is how most
registries hand out contents, is followed without them, and never into a private network.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

import msgspec
from yarl import URL

from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.base.http import Request, Response
from trimtab.remotes import outbound
from trimtab.remotes.oci.challenge import Challenge, Realm, challenges, realm_of
from trimtab.remotes.oci.credentials import Login, Logins
from trimtab.remotes.oci.reference import Repository
from trimtab.remotes.outbound import Astray, AuthenticationFailed, Outbound, Unanswered, Way, drain, told
from trimtab.remotes.reach import host_of

_MAX_TOKEN = 64 << 10
_TOKEN_S = 60.0
_LONGEST_TOKEN_S = 3600.0
_MOST_REMEMBERED = 10_000


class PullFailed(Transient):
    """The registry did not give what was asked for, or something else than it promised."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__("OCIArtifactPullFailed", message, retry_after=retry_after)


class NotThere(PullFailed):
    """The registry knows nothing of that name."""


class TooMany(PullFailed):
    """The registry has had more requests from us than it likes."""


@dataclass(frozen=True, slots=True)
class Access(Way):
    """How one repository is reached: with which logins beside the certificates and the proxy."""

    logins: Logins = field(default_factory=Logins, repr=False)

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
    """What goes into the header Authorization, until then (monotonic seconds), and the challenges it answered."""

    authorization: str
    until: float
    offered: tuple[Challenge, ...] = ()


class Wire:
    """Exchanges with registries. One per process: it keeps tokens."""

    def __init__(self, out: Outbound, clock: Clock) -> None:
        self._out = out
        self._clock = clock
        self._passes: dict[tuple[Repository, str], _Pass] = {}

    async def exchange(
        self,
        repository: Repository,
        access: Access,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        *,
        conditional: bool = False,
    ) -> Response:
        """The answer to `method` on `url`, which is on the registry, after signing in and following redirects.

        Its status is 200, or 304 where the request is `conditional`. Raises AuthenticationFailed, PullFailed, NotThere,
        TooMany, and Terminal for an address refused.
        """

        async def at_home(request: Request) -> Response:
            return await self._signed_in(repository, access, request)

        with told(repository, PullFailed):
            url, response = await self._out.follow(Request(method, url, headers), access, at_home=at_home)
        if response.status != 200 and not (conditional and response.status == 304):
            raise await self._complaint(repository, access, url, response)
        return response

    async def _signed_in(self, repository: Repository, access: Access, request: Request) -> Response:
        login = _login(repository, access)
        known = (repository, access.identity)
        passed = self._passes.get(known)
        if passed is not None and passed.until <= self._clock.monotonic():
            # What is asked for is known from last time: a request that is bound to be refused is not made first.
            passed = await self._renew(known, access, login, passed.offered)
        response = await self._shown(access, request, passed)
        if response.status != 401:
            return response
        await drain(response)
        self._passes.pop(known, None)
        offered = challenges(value for name, value in response.headers.items() if name.lower() == "www-authenticate")
        passed = await self._renew(known, access, login, tuple(offered))
        return await self._shown(access, request, passed)

    async def _renew(
        self, known: tuple[Repository, str], access: Access, login: Login | None, offered: tuple[Challenge, ...]
    ) -> _Pass:
        self._passes.pop(known, None)
        passed = replace(await self._sign_in(known[0], access, login, offered), offered=offered)
        self._remember(known, passed)
        return passed

    async def _shown(self, access: Access, request: Request, passed: _Pass | None) -> Response:
        if passed is not None and passed.until > self._clock.monotonic():
            request = replace(request, headers={**request.headers, "Authorization": passed.authorization})
        return await self._out.send(request, access, own=True)

    def _remember(self, known: tuple[Repository, str], passed: _Pass) -> None:
        if len(self._passes) >= _MOST_REMEMBERED:
            now = self._clock.monotonic()
            self._passes = {one: other for one, other in self._passes.items() if other.until > now}
            if len(self._passes) >= _MOST_REMEMBERED:
                self._passes.clear()
        self._passes[known] = passed

    async def _sign_in(
        self, repository: Repository, access: Access, login: Login | None, offered: tuple[Challenge, ...]
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
        try:
            response = await self._out.send(_token_request(realm, login, asked), access, own=realm.own)
        except Astray as failure:
            raise PullFailed(
                f"{repository}: the registry sends us for a token to {realm.url.origin()}: {failure.why}"
            ) from failure
        if response.status in (401, 403):
            await drain(response)
            raise _denied(repository, signed_in=login is not None)
        if response.status != 200:
            raise await self._complaint(repository, access, realm.url.with_query(None), response)
        try:
            answer = msgspec.json.decode(await outbound.body(response, _MAX_TOKEN), type=_TokenAnswer)
        except (Unanswered, msgspec.DecodeError, ValueError) as failure:
            raise PullFailed(f"{repository}: {realm.url.origin()} did not answer with a token: {failure}") from failure
        token = answer.token or answer.access_token
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise PullFailed(f"{repository}: {realm.url.origin()} answered with something that cannot be a token")
        lasts = min(max(answer.expires_in or _TOKEN_S, _TOKEN_S), _LONGEST_TOKEN_S)
        return _Pass(f"Bearer {token}", self._clock.monotonic() + lasts * 0.8)

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
        after = self._out.retry_after(response)
        if status == 429:
            return TooMany(f"{place}: the registry has had too many requests (429){words}", retry_after=after)
        return PullFailed(f"{place}: the registry answered {status}{words}", retry_after=after)


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


async def _words(response: Response) -> str:
    """What the other side says is wrong, fit to be shown."""
    try:
        complaints = msgspec.json.decode(await outbound.complaint(response), type=_Complaints).errors
    except (msgspec.DecodeError, ValueError):
        return ""
    said = "; ".join(" ".join(filter(None, (one.code, one.message))) for one in complaints)[:300]
    return f": {ascii(said)[1:-1]}" if said else ""


def _denied(repository: Repository, *, signed_in: bool, words: str = "") -> AuthenticationFailed:
    cause = "refuses these credentials" if signed_in else "wants credentials, or there is no such repository"
    way_out = "check the Secret of spec.secretRef" if signed_in else "name a Secret in spec.secretRef"
    return AuthenticationFailed(f"{repository}: the registry {cause}; {way_out}{words}")
