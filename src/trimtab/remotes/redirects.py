"""Where a redirect may lead, and what is shown there. Pure.

A redirect is written by the other side. It must not decide who sees our credentials, nor which of our neighbours we
call: to another origin only https is followed, and only headers go along that say nothing about who asks.
"""

from collections.abc import Mapping
from typing import Final

from yarl import URL

from trimtab.remotes.reach import host_of
from trimtab.remotes.shown import shown

STATUSES: Final = frozenset({301, 302, 303, 307, 308})
MOST: Final = 3
"""How many are followed, one after the other."""
LONGEST: Final = 8192

# What is not here stays at home: a header that somebody invents for a token is never thought of beforehand.
_ANYBODY: Final = frozenset({"accept", "if-match", "if-modified-since", "if-none-match", "range"})


class BadRedirect(Exception):
    """It leads nowhere that is gone to."""


def target(home: URL, url: URL, location: str) -> URL:
    """Where `location` in an answer of `url` leads, when `home` was asked first. Raises BadRedirect."""
    try:
        # As it is: decoding and encoding again could make another address of it than the one that was signed.
        found = url.join(URL(location, encoded=True))
        host, _ = host_of(found), found.port
    except ValueError:
        host, found = "", url
    if not location or not host or found.user is not None or not location.isascii() or len(location) > LONGEST:
        raise BadRedirect(f"the server redirects to {shown(location)}, which is not an address")
    stays = url.scheme == "http" and same_origin(found, home)
    if found.scheme != "https" and not stays:
        raise BadRedirect(f"the server redirects to {shown(location)}; only https is followed")
    return found.with_fragment(None)


def same_origin(one: URL, other: URL) -> bool:
    """Whether both are the same server: scheme, host and port."""
    return (one.scheme, one.raw_host, one.port) == (other.scheme, other.raw_host, other.port)


def shown_elsewhere(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that may be sent to another origin than the one they were made for."""
    return {name: value for name, value in headers.items() if name.lower() in _ANYBODY}
