"""Signing in as a GitHub App: a signed statement of who we are, for a token that reads, or writes, for an hour.

The private key signs here and goes nowhere: not over the wire, not into messages. The token is asked for with the right
to read contents alone, or to write them, and is kept in memory until shortly before it expires.
"""

import base64
import hashlib
import itertools
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeVar

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from yarl import URL

from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import Request, Transport, TransportError
from trimtab.remotes.git.address import Address, parse_address
from trimtab.remotes.git.credentials import AuthenticationFailed, Credentials
from trimtab.remotes.git.reach import resolve, resolve_proxy

_PUBLIC = "https://api.github.com"
_ID = re.compile(r"[1-9][0-9]{0,18}")
_CLIENT_ID = re.compile(r"[A-Za-z0-9.]{1,64}")
_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?")
_SMALLEST_KEY_BITS = 2048
_LARGEST_KEY_BITS = 4096
_MAX_KEY = 4096
"""Bytes of a private key in PEM: one of 4096 bits has 3300."""
_MAX_ANSWER = 256 << 10
_SAID_CHARS = 300
_TOKEN_CHARS = 4096
_AHEAD = timedelta(minutes=5)
"""So long before its end a token is not used any more: a fetch that begins with it has to end with it."""
_CLOCKS_DIFFER_S = 60
_STATEMENT_LASTS_S = 540  # GitHub takes ten minutes at most, by its own clock
_MOST_TOKENS = 1000
_WRITES = ":writes"
_MOST_CONTEXTS = 200
_LONGEST_HOLD_S = 3600.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class App:
    """An installation of a GitHub App, as a Secret names it. The key is never printed."""

    api: Address
    app_id: str
    installation: str
    owner: str
    key: rsa.RSAPrivateKey = field(repr=False)
    key_digest: str = field(repr=False)
    tls: Credentials = field(repr=False)

    @classmethod
    def from_secret(cls, data: Mapping[str, bytes], where: str, proxy: URL | None = None) -> "App":
        """Read the decoded `data` of a Secret. Raises AuthenticationFailed saying what is wrong, and `where`."""
        app_id = _text(data, "githubAppID", where)
        installation = _text(data, "githubAppInstallationID", where)
        owner = _text(data, "githubAppInstallationOwner", where)
        pem = data.get("githubAppPrivateKey", b"")
        if not _CLIENT_ID.fullmatch(app_id):
            raise AuthenticationFailed(f"{where}: githubAppID is missing, or is not the id of an App")
        if bool(installation) is bool(owner):
            raise AuthenticationFailed(
                f"{where}: exactly one of githubAppInstallationID and githubAppInstallationOwner is needed"
            )
        if installation and not _ID.fullmatch(installation):
            raise AuthenticationFailed(f"{where}: githubAppInstallationID is not a number")
        if owner and not _OWNER.fullmatch(owner):
            raise AuthenticationFailed(f"{where}: githubAppInstallationOwner is not the name of an account")
        ca = {key: value for key, value in data.items() if key in ("ca.crt", "caFile")}
        return cls(
            api=_api(_text(data, "githubAppBaseURL", where), where),
            app_id=app_id,
            installation=installation,
            owner=owner,
            key=_key(pem, where),
            key_digest=hashlib.sha256(pem).hexdigest(),
            tls=Credentials.from_secret(ca).over(proxy),
        )

    @property
    def account(self) -> str:
        """Who signs in, whichever token that is done with."""
        parts = (self.api.url, self.app_id, self.installation, self.owner, self.key_digest, self.tls.digest)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def statement(self, now: datetime) -> str:
        """Who we are, signed: a JSON Web Token as RFC 7519 has it."""
        issued = int(now.timestamp()) - _CLOCKS_DIFFER_S
        head = _encoded(msgspec.json.encode({"alg": "RS256", "typ": "JWT"}))
        lasts = _CLOCKS_DIFFER_S + _STATEMENT_LASTS_S
        body = _encoded(msgspec.json.encode({"iat": issued, "exp": issued + lasts, "iss": self.app_id}))
        signature = self.key.sign(f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{head}.{body}.{_encoded(signature)}"


class _Token(msgspec.Struct, frozen=True):
    token: str
    expires_at: datetime


class _Installation(msgspec.Struct, frozen=True):
    id: int


class _Complaint(msgspec.Struct, frozen=True):
    message: str = ""


class Apps:
    """Tokens of installations. One per process: it keeps them while they are good."""

    def __init__(self, transport: Transport, clock: Clock, *, deny_private: bool = False) -> None:
        self._transport = transport
        self._clock = clock
        self._deny_private = deny_private
        self._tokens: dict[str, _Token] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def credentials(
        self, app: App, *, timeout: float = 60.0, writes: bool = False, permissions: Mapping[str, str] | None = None
    ) -> Credentials:
        """Credentials that read what `app` may read, or with `writes` what it may write.

        With `permissions` they are good for these, in GitHub's words, and for nothing else.
        Raises AuthenticationFailed and Transient (GitOperationFailed).
        """
        wished = permissions or {"contents": "write" if writes else "read"}
        named = ",".join(f"{name}={right}" for name, right in sorted(wished.items()))
        account = app.account + (f":{named}" if permissions else _WRITES if writes else "")
        known = self._tokens.get(account)
        if known is None or known.expires_at - self._clock.now() < _AHEAD:
            known = await self._fresh(app, timeout, wished)
            if len(self._tokens) >= _MOST_TOKENS:
                self._tokens.clear()
            self._tokens[account] = known
        return Credentials(
            username="x-access-token",
            password=known.token,
            ca=app.tls.ca,
            proxy=app.tls.proxy,
            account=account,
        )

    def forget(self, account: str) -> None:
        """The token of `account` did not help: the next one is asked for anew."""
        self._tokens.pop(account, None)

    async def _fresh(self, app: App, timeout: float, wished: Mapping[str, str]) -> _Token:
        installation = app.installation or await self._installation(app, timeout)
        path = f"/app/installations/{installation}/access_tokens"
        # Less than the App may do: what reads cannot write.
        wish = msgspec.json.encode({"permissions": wished})
        token = await self._ask(app, "POST", path, _Token, timeout, wish)
        sane = token.token.isascii() and token.token.isprintable() and " " not in token.token
        if not token.token or not sane or len(token.token) > _TOKEN_CHARS:
            raise _failed(app, "it answered with something that cannot be a token")
        expires = token.expires_at if token.expires_at.tzinfo else token.expires_at.replace(tzinfo=UTC)
        return _Token(token.token, expires)

    async def _installation(self, app: App, timeout: float) -> str:
        """Where the App is installed for its owner, an organisation or a user."""
        try:
            found = await self._ask(app, "GET", f"/orgs/{app.owner}/installation", _Installation, timeout)
        except _NotThere:
            found = await self._ask(app, "GET", f"/users/{app.owner}/installation", _Installation, timeout)
        return str(found.id)

    async def _ask(
        self, app: App, method: str, path: str, kind: type[T], timeout: float, body: bytes | None = None
    ) -> T:
        """The answer to one question, signed; redirects are not followed. Raises AuthenticationFailed, Transient."""
        try:
            hosts = await resolve(app.api, proxy=app.tls.proxy, deny_private=self._deny_private)
        except Terminal as refusal:
            # It was written in a Secret, which may be repaired without any change to our object.
            raise AuthenticationFailed(f"githubAppBaseURL in the Secret of spec.secretRef: {refusal}") from refusal
        proxies: tuple[URL | None, ...] = (None,)
        if app.tls.proxy is not None:
            proxies = await resolve_proxy(app.api, app.tls.proxy, deny_private=self._deny_private)
        headers = {
            "Host": app.api.authority,
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {app.statement(self._clock.now())}",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        problem: TransportError | None = None
        for ip, proxy in itertools.product(hosts, proxies):
            server_name = app.api.host if app.api.host != ip else None
            url = app.api.at(ip, path)
            request = Request(
                method, url, headers, body, timeout, tls=self._tls(app), tls_server_name=server_name, proxy=proxy
            )
            try:
                response = await self._transport.send(request)
                answer = await response.read(_MAX_ANSWER)
            except TransportError as failure:
                problem = failure
                continue
            if response.status not in (200, 201):
                raise _refused(app, path, response.status, answer, response.headers.get("Retry-After", ""))
            try:
                return msgspec.json.decode(answer, type=kind)
            except (msgspec.DecodeError, ValueError) as failure:
                raise _failed(app, f"an answer that is not understood: {failure}") from failure
        raise _failed(app, str(problem)) from problem

    def _tls(self, app: App) -> ssl.SSLContext | None:
        if not app.tls.has_tls:
            return None
        if app.tls.digest not in self._contexts:
            while len(self._contexts) >= _MOST_CONTEXTS:
                self._contexts.pop(next(iter(self._contexts)))
            self._contexts[app.tls.digest] = app.tls.tls()
        return self._contexts[app.tls.digest]


class _NotThere(AuthenticationFailed):
    """There is no such installation."""


def _refused(app: App, path: str, status: int, answer: bytes, retry_after: str) -> Transient:
    try:
        said = msgspec.json.decode(answer, type=_Complaint).message
    except (msgspec.DecodeError, ValueError):
        said = ""
    said = f": {ascii(said[:_SAID_CHARS])[1:-1]}" if said else ""
    shown = f"{app.api}{path}"
    if status in (404, 410):
        return _NotThere(
            f"{shown}: the App {app.app_id} is not installed there ({status}){said}; check githubAppInstallationID or "
            "githubAppInstallationOwner in the Secret of spec.secretRef"
        )
    # 403 is also what too many requests are answered with.
    if status in (401, 422) or (status == 403 and not retry_after):
        return AuthenticationFailed(
            f"{shown}: signing in as the App {app.app_id} failed ({status}){said}; check githubAppID and "
            "githubAppPrivateKey in the Secret of spec.secretRef, and that the App has the rights it needs"
        )
    if status == 407:
        return AuthenticationFailed(f"{shown}: the proxy wants other credentials (407); check spec.proxySecretRef")
    after = min(float(retry_after), _LONGEST_HOLD_S) if retry_after.isdecimal() and len(retry_after) < 10 else None
    return _failed(app, f"it answered {status}{said}", retry_after=after)


def _failed(app: App, why: str, *, retry_after: float | None = None) -> Transient:
    return Transient(
        "GitOperationFailed", f"no token for the GitHub App {app.app_id} from {app.api}: {why}", retry_after=retry_after
    )


def _api(text: str, where: str) -> Address:
    # The reading of addresses knows repositories, which have a path; this may be the root of a host.
    text = (text or _PUBLIC).rstrip("/")
    try:
        with_path = parse_address(f"{text}/x")
    except Terminal as problem:
        raise AuthenticationFailed(f"{where}: githubAppBaseURL is refused: {problem}") from problem
    if with_path.scheme != "https":
        raise AuthenticationFailed(f"{where}: githubAppBaseURL must be https://, for a token comes from there")
    return replace(with_path, path=with_path.path.removesuffix("/x"))


# Reading a key takes 30 ms and more, for it is checked; the Secret is read for every look.
@lru_cache(maxsize=256)
def _key(pem: bytes, where: str) -> rsa.RSAPrivateKey:
    pem = pem.strip()
    # Before it is read: the check of a key of 16384 bits takes ten seconds, in which nothing else is done.
    if len(pem) > _MAX_KEY:
        raise AuthenticationFailed(
            f"{where}: githubAppPrivateKey has {len(pem)} bytes, more than {_MAX_KEY}; use an RSA key of 2048 bits, as "
            "GitHub makes them"
        )
    try:
        key = load_pem_private_key(pem + b"\n", password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Not what the library says of it, and not chained: nothing of a key belongs into a message.
        raise AuthenticationFailed(f"{where}: githubAppPrivateKey is not a private key in PEM") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < _SMALLEST_KEY_BITS:
        raise AuthenticationFailed(
            f"{where}: githubAppPrivateKey is not an RSA key of at least {_SMALLEST_KEY_BITS} bits"
        )
    if key.key_size > _LARGEST_KEY_BITS:
        raise AuthenticationFailed(
            f"{where}: githubAppPrivateKey is an RSA key of {key.key_size} bits, more than {_LARGEST_KEY_BITS}; use "
            "one of 2048 bits, as GitHub makes them"
        )
    return key


def _text(data: Mapping[str, bytes], key: str, where: str) -> str:
    try:
        return data.get(key, b"").decode("ascii").strip()
    except UnicodeDecodeError:
        raise AuthenticationFailed(f"{where}: {key} is not plain text") from None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
