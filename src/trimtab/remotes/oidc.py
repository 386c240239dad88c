"""Issuers of identities: where each publishes its keys, and what is published there (OpenID Connect Discovery 1.0).

The owner of an object wrote the address of the issuer; where the keys are, the issuer says. So keys at another origin
than the issuer's own are fetched from public addresses only. Redirects are not followed: they are not part of it.
"""

from typing import Final

import msgspec
from yarl import URL

from trimtab.base.http import Request
from trimtab.remotes import outbound, redirects
from trimtab.remotes.outbound import Outbound, Unanswered, Way
from trimtab.remotes.shown import shown

_WAY: Final = Way(timeout_s=10.0)
_MOST: Final = 512 << 10


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str


def is_issuer(text: str) -> bool:
    """Whether `text` can be the address of an issuer: https, a host, and nothing that hides in an address."""
    try:
        url = URL(text)
        return url.scheme == "https" and bool(url.host) and url.user is None and not url.query and not url.fragment
    except ValueError:
        return False


async def keys_of(out: Outbound, issuer: str) -> bytes:
    """The key set of `issuer`, as it is published. Raises Unanswered, NotAllowed."""
    if not is_issuer(issuer):
        raise Unanswered(f"{shown(issuer)} is not the https address of an issuer")
    home = URL(issuer)
    document = await fetch(out, home.with_path(home.path.rstrip("/") + "/.well-known/openid-configuration"), own=True)
    try:
        said = msgspec.json.decode(document, type=_Discovery)
        keys = URL(said.jwks_uri)
        usable = keys.scheme == "https" and bool(keys.host) and keys.user is None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as failure:
        raise Unanswered(f"the issuer {issuer} does not say where its keys are") from failure
    if said.issuer != issuer:
        raise Unanswered(f"the issuer {issuer} says that it is {shown(said.issuer)}")
    if not usable:
        raise Unanswered(f"the issuer {issuer} has its keys at {shown(said.jwks_uri)}; only https is taken")
    return await fetch(out, keys, own=redirects.same_origin(keys, home))


async def fetch(out: Outbound, url: URL, *, own: bool) -> bytes:
    """The document at `url`; `own` as for `Outbound.send`. Raises Unanswered, NotAllowed."""
    response = await out.send(Request("GET", url, {"Accept": "application/json"}), _WAY, own=own)
    if response.status != 200:
        await outbound.drain(response)
        raise Unanswered(f"{url.origin()} answers {response.status} where its keys are asked for")
    return await outbound.body(response, _MOST)
