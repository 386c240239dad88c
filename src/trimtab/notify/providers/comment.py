"""Telling a pull request: one comment for each object and Provider, found again by a mark that is not seen."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from trimtab.notify.notice import Notice, key_of
from trimtab.notify.provider import (
    KEY_HEADER,
    Delivered,
    Outcome,
    Refused,
    Request,
    Retry,
    Send,
    Settings,
    Wire,
    json_request,
)
from trimtab.notify.providers.escaping import defused, fenced
from trimtab.notify.providers.forge import address_of, body, items, judge, token_of
from trimtab.notify.providers.saying import bad, details
from trimtab.notify.text import cut
from trimtab.remotes.forges.dialects import DIALECTS
from trimtab.remotes.git.address import Address

REQUEST: Final = "change_request"
"""Key of the metadata that says which pull request; as an annotation of the object, event.toolkit.fluxcd.io/ before."""
_PAGE: Final = 20
"""So many comments of the longest are read whole."""
_MOST_PAGES: Final = 25
_MOST_TRIED: Final = 3
_MOST_TEXT: Final = 30_000
_MOST_FIELDS: Final = 20
_MOST_FIELD: Final = 300


class Thread(NamedTuple):
    """How one kind of forge keeps comments, by the name of its dialect.

    `comments` is the path of those of a pull request, `comment` of one of them; `method` changes it. `paged` says that
    the forge gives them in pages.
    """

    forge: str
    comments: Callable[[str, int], str]
    comment: Callable[[str, int, int], str]
    method: str
    query: Callable[[int], str]
    paged: bool = True


class Place(NamedTuple):
    """A pull request of one project, and who we are there. `author` is our name, if it is known."""

    thread: Thread
    api: str
    project: str
    number: int
    headers: Mapping[str, str]
    author: str = ""

    @classmethod
    def of(cls, thread: Thread, address: Address, token: str, number: int) -> "Place":
        """That of the repository at `address`. Raises ValueError where it cannot be one."""
        dialect = DIALECTS[thread.forge]
        api = str(dialect.api(address)).rstrip("/")
        return cls(thread, api, dialect.project(address), number, dialect.headers(token))


def sender(thread: Thread) -> Send:
    """The provider that writes into `thread`."""

    async def send(notice: Notice, settings: Settings, wire: Wire) -> Outcome:
        said = notice.fields.get(REQUEST, "") or notice.event.value(REQUEST)
        if not said:
            return Delivered()
        if not said.isascii() or not said.isdecimal() or len(said) > 9:
            return Refused(f"{REQUEST} is {said[:40]!a}, which is not the number of a pull request")
        try:
            place = Place.of(thread, address_of(settings), token_of(settings), int(said))
        except ValueError as failure:
            return Refused(f"the address of the Provider: {failure}")
        return await keep(place, wire, mark_of(notice, settings), text_of(notice, settings), key=notice.key)

    return send


async def keep(place: Place, wire: Wire, mark: str, text: str, *, key: str = "") -> Outcome:
    """See to it that one comment says `text`, which begins with `mark`; nothing is written where it says so already.

    Raises NoAnswer.
    """
    thread, project, number = place.thread, place.project, place.number
    comments = f"{place.api}{thread.comments(project, number)}"
    headers = {**({KEY_HEADER: key} if key else {}), **place.headers}
    content = msgspec.json.encode({"body": text})
    found = await _ours(place, wire, comments, mark)
    if not isinstance(found, list):
        return found
    for comment, known in found[:_MOST_TRIED]:
        if _plain(known) == _plain(text):
            return Delivered(known=True)
        url = f"{place.api}{thread.comment(project, number, comment)}"
        answer = await wire.ask(json_request(url, content, headers, method=thread.method))
        # Anybody can copy the mark. What is not ours to change is left alone.
        if answer.status not in (403, 404) or isinstance(judge(answer), Retry):
            return judge(answer)
    return judge(await wire.ask(json_request(comments, content, headers)))


async def _ours(place: Place, wire: Wire, url: str, mark: str) -> list[tuple[int, str]] | Retry | Refused:
    """The comments with our mark, as far as they may be ours: number and text."""
    thread = place.thread
    found: list[tuple[int, str]] = []
    for page in range(1, _MOST_PAGES + 1):
        answer = await wire.ask(Request(method="GET", url=f"{url}?{thread.query(page)}", headers=place.headers))
        outcome = judge(answer)
        if not isinstance(outcome, Delivered):
            return outcome
        if (read := body(answer)) is None:
            return Refused("the comments of the pull request are more than is read, or not understood")
        comments = items(read)
        for one in comments:
            number, text = one.get("id"), one.get("body")
            mine = not place.author or _author(one) == place.author
            if mine and isinstance(number, int) and isinstance(text, str) and text.startswith(mark):
                found.append((number, text))
        if not thread.paged or len(comments) < _PAGE or len(found) >= _MOST_TRIED:
            break
    return found


def _author(comment: Mapping[str, Any]) -> str:
    """Who wrote it, as the forges say so."""
    for field, name in (("user", "login"), ("author", "username")):
        person = comment.get(field)
        if isinstance(person, dict) and isinstance(found := person.get(name), str):
            return found
    return ""


def mark_of(notice: Notice, settings: Settings) -> str:
    """What is the same for all that is told of one object by one Provider, and of no other."""
    involved = notice.event.involved_object
    return f"<!-- trimtab:{key_of(settings.uid, involved.kind, involved.namespace, involved.name)} -->"


def text_of(notice: Notice, settings: Settings) -> str:
    """The comment. What others wrote is in a block, where nothing is read as Markdown."""
    sign = "❌" if bad(notice) else "✅"
    told = [(name, value) for name, value in details(notice).items() if name != REQUEST]
    rows = [cut(f"{name}: {value}", _MOST_FIELD) for name, value in told[:_MOST_FIELDS]]
    block = "\n".join([notice.text, "", *rows]) if rows else notice.text
    title = defused(notice.title).replace("`", "'")
    return f"{mark_of(notice, settings)}\n{sign} `{title}`\n\n{fenced(block, _MOST_TEXT)}\n"


def _plain(text: str) -> str:
    """Forges put line ends in of their own."""
    return text.replace("\r\n", "\n").strip()


def _numbered(page: int) -> str:
    return f"per_page={_PAGE}&page={page}"


GITHUB: Final = Thread(
    "github",
    lambda project, number: f"/repos/{project}/issues/{number}/comments",
    lambda project, _, comment: f"/repos/{project}/issues/comments/{comment}",
    "PATCH",
    _numbered,
)
GITEA: Final = Thread(
    "gitea",
    lambda project, number: f"/repos/{project}/issues/{number}/comments",
    lambda project, _, comment: f"/repos/{project}/issues/comments/{comment}",
    "PATCH",
    lambda _: "since=1970-01-01T00:00:00Z",
    paged=False,
)
GITLAB: Final = Thread(
    "gitlab",
    lambda project, number: f"/projects/{project}/merge_requests/{number}/notes",
    lambda project, number, comment: f"/projects/{project}/merge_requests/{number}/notes/{comment}",
    "PUT",
    lambda page: f"{_numbered(page)}&sort=asc&order_by=created_at",
)
THREADS: Final = {one.forge: one for one in (GITHUB, GITEA, GITLAB)}
"""By the name of the forge."""
