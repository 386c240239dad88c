"""Asking a server of keys: one request, to an address that the owner of the credentials has named, nowhere else.

A file says itself where its key is. Whoever writes to the repository writes that, too, and would otherwise be shown
credentials that he has no right to.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from yarl import URL

from trimtab.base.http import Request
from trimtab.remotes import outbound
from trimtab.remotes.outbound import Outbound, Unanswered, Unusable, Way
from trimtab.remotes.reach import NotAllowed, host_of
from trimtab.sops.errors import Locked

TIMEOUT_S: Final = 30.0
_MAX_ANSWER: Final = 256 << 10
_LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class Answer(msgspec.Struct, frozen=True):
    """What a server said: its status, and the object in the body, empty where there is none."""

    status: int
    body: Mapping[str, Any]

    @property
    def passing(self) -> bool:
        """Whether it may say something else by itself."""
        return self.status in _LATER


async def ask(out: Outbound, url: URL, headers: Mapping[str, str], body: bytes, *, ca: bytes = b"") -> Answer:
    """POST `body` to a server that the owner has named. Raises Locked where there is no answer."""
    way = Way(ca=ca, timeout_s=TIMEOUT_S)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            response = await out.send(Request("POST", url, headers, body), way, own=True)
            raw = await outbound.body(response, _MAX_ANSWER)
    except TimeoutError:
        raise Locked(f"{url.origin()} did not answer in {TIMEOUT_S:g} s", passing=True) from None
    except NotAllowed as failure:
        raise Locked(str(failure)) from None
    except Unusable as failure:
        raise Locked(str(failure)) from None
    except Unanswered as failure:
        raise Locked(f"{url.origin()} does not answer: {failure}", passing=True) from None
    try:
        decoded = msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError:
        decoded = {}
    return Answer(response.status, decoded)


def origin(text: str) -> str:
    """An address of a server in the form in which two are compared. Raises ValueError if it is none to go to."""
    try:
        url = URL(text.strip())
        host, port = host_of(url), url.port
    except (ValueError, TypeError):
        raise ValueError("it is not an address") from None
    if url.scheme not in ("http", "https") or not host or not port or url.user is not None or not text.isascii():
        raise ValueError("it is not an http or https address without credentials")
    if url.path.strip("/") or url.query_string or url.fragment:
        raise ValueError("it has a path; only scheme, host and port belong there")
    return str(url.origin())


def words(said: Any) -> str:
    """What a server says is wrong, short and printable."""
    text = "".join(character if character.isprintable() else " " for character in str(said))
    return text if len(text) <= 200 else text[:199] + "…"
