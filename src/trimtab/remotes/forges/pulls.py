"""One pull request for one branch: found, opened if there is none, and brought up to date.

The token goes to the API of the forge and nowhere else: redirects are not followed, and plain HTTP is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
from yarl import URL

from trimtab.base.errors import Transient
from trimtab.base.http import Request, Response
from trimtab.remotes.forges.dialects import LONGEST_BODY, LONGEST_TITLE, Asked, Dialect, Pull, Wish
from trimtab.remotes.outbound import AuthenticationFailed, Outbound, Way, body, complaint, drain, told

FAILED: Final = "PullRequestFailed"
_MOST: Final = 8 << 20
_SAID_CHARS: Final = 300
_NO_DIFFERENCE: Final = ("No commits between", "no commits between")


@dataclass(frozen=True, slots=True)
class Forge:
    """Where pull requests of one repository are made. `where` names the Secret of the token in messages."""

    dialect: Dialect
    api: URL
    project: str
    where: str
    token: str = field(repr=False)
    way: Way = field(repr=False, default=Way())

    def __str__(self) -> str:
        return f"{self.dialect.name} at {self.api}"


class Opened(NamedTuple):
    """The pull request that is there now. `news` says that it was not, or was another."""

    number: int
    url: str
    news: bool


class Pulls:
    """Asks forges."""

    def __init__(self, out: Outbound) -> None:
        self._out = out

    async def ensure(self, forge: Forge, wish: Wish) -> Opened | None:
        """See to it that `wish` is open; None if there is nothing between its branches.

        What somebody has closed is not opened again, but for something else.

        Raises AuthenticationFailed, Transient (PullRequestFailed) and Terminal (URLInvalid).
        """
        wish = wish._replace(title=wish.title[:LONGEST_TITLE], body=wish.body[:LONGEST_BODY])
        with told(forge, _failed), _understood(forge):
            pull = await self._find(forge, wish)
            if pull is None or (not pull.open and not _same(pull, wish)):
                status, answer = await self._ask(forge, forge.dialect.create(forge.project, wish))
                if status == 201:
                    return _opened(forge.dialect.opened(answer), news=True)
                said = _said(answer)
                if any(words in said for words in _NO_DIFFERENCE):
                    return None
                # somebody was faster, perhaps we: the answer to an earlier request was lost
                pull = await self._find(forge, wish) if status in (409, 422) else None
                if pull is None or not pull.open:
                    raise _refused(forge, status, said)
            if _same(pull, wish):
                return _opened(pull, news=False)
            status, answer = await self._ask(forge, forge.dialect.update(forge.project, pull, wish))
            if status not in (200, 201):
                raise _refused(forge, status, _said(answer))
            return _opened(forge.dialect.opened(answer), news=True)

    async def _find(self, forge: Forge, wish: Wish) -> Pull | None:
        closed: Pull | None = None
        for page in range(1, forge.dialect.pages + 1):
            status, answer = await self._ask(forge, forge.dialect.search(forge.project, wish, page))
            if status != 200:
                raise _refused(forge, status, _said(answer))
            pull, more = forge.dialect.found(answer, wish)
            if pull is not None and pull.open:
                return pull
            closed = closed or pull
            if not more:
                break
        return closed

    async def _ask(self, forge: Forge, asked: Asked) -> tuple[int, bytes]:
        """The status and the answer; one that cannot be taken raises."""
        if forge.api.scheme != "https":
            raise AuthenticationFailed(f"{forge.where}: the address must be https://, for a token goes there")
        url = URL(f"{str(forge.api).rstrip('/')}{asked.path}", encoded=True)
        headers = dict(forge.dialect.headers(forge.token))
        payload = None
        if asked.body is not None:
            headers["Content-Type"] = "application/json"
            payload = msgspec.json.encode(asked.body)
        response = await self._out.send(Request(asked.method, url, headers, payload), forge.way, own=True)
        if response.status in range(300, 400):
            await drain(response)
            raise _failed(
                f"{forge}: it redirects, and a token is not taken along; if it has moved, write the new address"
            )
        if (wait := self._patience(response)) is not None:
            said = _said(await complaint(response))
            raise _failed(f"{forge}: it asks for patience ({response.status}){_behind(said)}", retry_after=wait)
        answer = await body(response, _MOST)
        return response.status, answer

    def _patience(self, response: Response) -> float | None:
        """Seconds to wait, where there were too many requests."""
        if response.status not in (403, 429, 503):
            return None
        asked = self._out.retry_after(response)
        spent = response.headers.get("X-RateLimit-Remaining") == "0"
        return asked if asked is not None else 60.0 if spent or response.status != 403 else None


@contextmanager
def _understood(forge: Forge) -> Iterator[None]:
    """What is no answer of a forge, such as the page of a proxy, is said to be none."""
    try:
        yield
    except msgspec.DecodeError as problem:
        raise _failed(f"{forge}: an answer that is not understood: {problem}") from problem


def _opened(pull: Pull, *, news: bool) -> Opened:
    sane = pull.url.isascii() and pull.url.isprintable() and len(pull.url) <= 500
    return Opened(pull.number, pull.url if sane and pull.url.startswith(("https://", "http://")) else "", news)


def _same(pull: Pull, wish: Wish) -> bool:
    return (pull.title, _plain(pull.body)) == (wish.title, _plain(wish.body))


def _plain(text: str) -> str:
    """Forges put line ends in of their own."""
    return text.replace("\r\n", "\n").strip()


class _Complaint(msgspec.Struct, frozen=True):
    message: Any = ""
    error: Any = ""
    errors: Any = ()


def _said(answer: bytes) -> str:
    """What the other side says is wrong, in one line."""
    try:
        found = msgspec.json.decode(answer, type=_Complaint)
    except (msgspec.DecodeError, ValueError):
        return ""
    parts: list[str] = []
    for one in (found.message, found.error, found.errors):
        for item in one if isinstance(one, list | tuple) else [one]:
            said = item.get("message", "") if isinstance(item, dict) else item
            parts += [said] if isinstance(said, str) and said else []
    return ascii("; ".join(parts)[:_SAID_CHARS])[1:-1]


def _behind(said: str) -> str:
    return f": {said}" if said else ""


def _refused(forge: Forge, status: int, said: str) -> Transient:
    if status in (401, 403):
        return AuthenticationFailed(
            f"{forge} does not take the token of {forge.where} ({status}){_behind(said)}; it needs to read and write "
            "pull requests of the repository"
        )
    if status == 404:
        return AuthenticationFailed(
            f"{forge} has no repository {forge.project} that the token of {forge.where} may see (404){_behind(said)}"
        )
    return _failed(f"{forge}: it answered {status}{_behind(said)}")


def _failed(message: str, *, retry_after: float | None = None) -> Transient:
    return Transient(FAILED, message, retry_after=retry_after)
