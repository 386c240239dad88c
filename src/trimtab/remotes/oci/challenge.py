"""What a registry answers who has not signed in, and whether the place it sends them to may be gone to. Pure.

A challenge names a *realm*, an address where tokens are handed out. It comes from the other side, before anybody has
proven anything, so it must not decide where our credentials go, nor which of our neighbours we call.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from yarl import URL

from trimtab.remotes.oci.reference import DOCKER_HUB, Repository
from trimtab.remotes.outbound import AuthenticationFailed
from trimtab.remotes.reach import host_of, refusal, written
from trimtab.remotes.shown import shown

REALMS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(DOCKER_HUB, frozenset({"auth.docker.io"})),
    "registry.gitlab.com": frozenset({"gitlab.com"}),
    "registry.digitalocean.com": frozenset({"api.digitalocean.com"}),
}
"""Hosts that hand out tokens for a public registry under another name, and may see its credentials."""

_PARAMETER = re.compile(r'\s*([A-Za-z0-9_-]{1,64})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))\s*(,|$)')
_SCHEME = re.compile(r"\s*(Bearer|Basic)(?=\s|,|$)", re.IGNORECASE)
_LONGEST = 8192
_LONGEST_REALM = 2048


class Challenge(NamedTuple):
    """One way to sign in: `scheme` is `bearer` or `basic`."""

    scheme: str
    parameters: Mapping[str, str]


def challenges(headers: Iterable[str]) -> list[Challenge]:
    """The ways to sign in that `WWW-Authenticate` headers name, as far as they are known here."""
    found: list[Challenge] = []
    for header in headers:
        at = 0
        while len(header) <= _LONGEST and (match := _SCHEME.match(header, at)):
            at = match.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(header, at):
                parameters[parameter[1].lower()] = re.sub(r"\\(.)", r"\1", parameter[2] or parameter[3] or "")
                at = parameter.end()
            found.append(Challenge(match[1].lower(), parameters))
            at += len(header[at:]) - len(header[at:].lstrip(" ,"))
    return found


class Realm(NamedTuple):
    """Where tokens are handed out. `own` is the registry's own host; only `trusted` ones are shown credentials."""

    url: URL
    own: bool
    trusted: bool


def realm_of(challenge: Challenge, repository: Repository) -> Realm:
    """The realm of a challenge of the repository's registry. Raises AuthenticationFailed if it is not gone to.

    The registry's own host is always allowed, over what the registry itself is spoken to with, or better. Any other has
    to be https and public. A host name says nothing about where it leads: its addresses are checked when it is called.
    """
    text = challenge.parameters.get("realm", "")
    try:
        url = URL(text)
        host, port = host_of(url), url.port
    except ValueError:
        host, port, url = "", None, URL()
    if not host or not port or url.scheme not in ("http", "https") or len(text) > _LONGEST_REALM:
        raise _refused(repository, text, "it is not an http or https address")
    if url.user is not None or url.password is not None or not text.isascii():
        raise _refused(repository, text, "it is written so that people and programs may read it differently")
    if host == repository.host:
        if url.scheme == "http" and not repository.insecure:
            raise _refused(repository, text, "tokens are not asked for over plain http")
        return Realm(url, own=True, trusted=True)
    if url.scheme != "https":
        raise _refused(repository, text, "on another host than the registry's only https is used")
    ip = written(host)
    if ip and (why := refusal(ip, deny_private=True)):
        raise _refused(repository, text, f"on another host than the registry's, {why} is never contacted")
    return Realm(url, own=False, trusted=host in REALMS.get(repository.host, ()))


def _refused(repository: Repository, realm: str, why: str) -> AuthenticationFailed:
    return AuthenticationFailed(f"{repository}: the registry sends us to {shown(realm)} for a token: {why}")
