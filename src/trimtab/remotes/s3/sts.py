"""Keys for a while, for a name and password of a directory (AssumeRoleWithLDAPIdentity, as MinIO has it)."""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlencode

from yarl import URL

from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import Request
from trimtab.remotes import outbound
from trimtab.remotes.outbound import AuthenticationFailed, Outbound, Way, told
from trimtab.remotes.reach import host_of
from trimtab.remotes.s3 import document
from trimtab.remotes.s3.document import BadDocument
from trimtab.remotes.s3.sigv4 import Keys
from trimtab.remotes.shown import shown

_ACTION = "AssumeRoleWithLDAPIdentity"
_VERSION = "2011-06-15"
_MAX_ANSWER = 64 << 10
_LASTS_S = 3600
_SPARE = timedelta(seconds=60)
_MOST_REMEMBERED = 1_000
_WORD = re.compile(r"[\x21-\x7e]{1,4096}")


class NoKeys(Transient):
    """The server that makes keys did not make any."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__("AuthenticationFailed", message, retry_after=retry_after)


@dataclass(frozen=True, slots=True)
class Ldap:
    """Who asks for keys, and where."""

    endpoint: URL
    username: str = field(repr=False)
    password: str = field(repr=False)


class KeyMaker:
    """Asks for keys, and keeps them as long as they are good. One per process."""

    def __init__(self, out: Outbound, clock: Clock) -> None:
        self._out = out
        self._clock = clock
        self._made: dict[tuple[Ldap, str], tuple[Keys, datetime]] = {}

    async def keys(self, who: Ldap, way: Way) -> Keys:
        """Keys for `who`. Raises NoKeys, AuthenticationFailed, and Terminal (URLInvalid)."""
        known = (who, way.identity)
        keys, until = self._made.get(known, (None, None))
        if keys is not None and until is not None and self._clock.now() + _SPARE < until:
            return keys
        keys, until = await self._ask(who, way)
        if len(self._made) >= _MOST_REMEMBERED:
            self._made.clear()
        self._made[known] = (keys, until)
        return keys

    async def _ask(self, who: Ldap, way: Way) -> tuple[Keys, datetime]:
        # In the body, so that neither is in anybody's log of addresses.
        form = {
            "Action": _ACTION,
            "Version": _VERSION,
            "LDAPUsername": who.username,
            "LDAPPassword": who.password,
            "DurationSeconds": str(_LASTS_S),
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        request = Request("POST", who.endpoint, headers, urlencode(form).encode())
        place = f"spec.sts.endpoint {who.endpoint}"
        with told(place, NoKeys):
            response = await self._out.send(request, way, own=True)
        if response.status != 200:
            after = self._out.retry_after(response)
            await outbound.drain(response)
            if response.status in (400, 401, 403):
                raise AuthenticationFailed(
                    f"{place}: the server refuses the name and password ({response.status}); check the Secret of "
                    "spec.sts.secretRef"
                )
            raise NoKeys(f"{place}: the server answered {response.status}", retry_after=after)
        with told(place, NoKeys):
            body = await outbound.body(response, _MAX_ANSWER)
        try:
            found = document.parse(body).find(f"{_ACTION}Result", "Credentials")
        except BadDocument as failure:
            raise NoKeys(f"{place}: the answer cannot be read: {failure}") from failure
        said = found or document.Element("Credentials")
        parts = [said.get(name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
        if not all(_WORD.fullmatch(part) for part in parts):
            raise NoKeys(f"{place}: the server answered with something that cannot be keys")
        return Keys(*parts), self._end(said.get("Expiration"))

    def _end(self, text: str) -> datetime:
        longest = self._clock.now() + timedelta(seconds=_LASTS_S)
        try:
            return min(datetime.fromisoformat(text), longest)
        except (ValueError, TypeError):
            return self._clock.now()


def parse_endpoint(text: str, *, insecure: bool) -> URL:
    """`spec.sts.endpoint`. Raises Terminal (InvalidSTSConfiguration)."""
    try:
        url = URL(text)
        host, port = host_of(url), url.port
    except ValueError:
        host, port, url = "", None, URL()
    if not host or not port or url.scheme not in ("http", "https") or url.user is not None or not text.isascii():
        raise _refused(f"{shown(text)} is not an http or https address without credentials")
    if url.scheme == "http" and not insecure:
        raise _refused("a password is not sent over plain http; use https, or set spec.insecure")
    return url.with_fragment(None)


def _refused(why: str) -> Terminal:
    return Terminal("InvalidSTSConfiguration", f"spec.sts.endpoint: {why}")
