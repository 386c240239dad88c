"""The type `gitlab`: the status of a commit, at GitLab."""

from typing import Any, Final
from urllib.parse import urlencode

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import post
from trimtab.notify.providers.forge import Dialect, Said, items, sender, token_of
from trimtab.notify.providers.status import State, Status
from trimtab.notify.text import cut
from trimtab.remotes.forges.dialects import DIALECTS
from trimtab.remotes.git.address import Address

_MOST_DESCRIPTION: Final = 255
_FORGE: Final = DIALECTS["gitlab"]
_WORDS: Final = {State.PENDING: "pending", State.SUCCESS: "success", State.FAILURE: "failed"}


def look(address: Address, settings: Settings, status: Status) -> Request:
    """The latest of each name only, which is what GitLab shows without being asked for all."""
    query = urlencode({"name": status.context, "per_page": 100})
    url = f"{_project(address)}/repository/commits/{status.commit}/statuses?{query}"
    return Request(method="GET", url=url, headers=_FORGE.headers(token_of(settings)))


def found(answer: Any, status: Status) -> Said | None:
    """The newest of our name, by its number."""
    ours = [one for one in items(answer) if one.get("name") == status.context]
    latest = max(ours, key=lambda one: one["id"] if isinstance(one.get("id"), int) else 0, default=None)
    return None if latest is None else Said(str(latest.get("status")), str(latest.get("description") or ""))


def tell(address: Address, settings: Settings, status: Status, notice: Notice) -> tuple[Request, Said]:
    """One of GitLab's jobs from outside."""
    said = Said(_WORDS[status.state], cut(status.description, _MOST_DESCRIPTION))
    body = {"state": said.state, "name": status.context, "description": said.description}
    if status.link is not None:
        body["target_url"] = status.link.url
    headers = _FORGE.headers(token_of(settings))
    return post(notice, f"{_project(address)}/statuses/{status.commit}", body, headers), said


def known(answer: Answer) -> bool:
    """It does not take the state that it has, whatever else is new."""
    words = answers.fields(answer).get("message")
    return answer.status == 400 and isinstance(words, str) and words.startswith("Cannot transition status")


def _project(address: Address) -> str:
    return f"{_FORGE.api(address)}/projects/{_FORGE.project(address)}"


send = sender(Dialect(look, found, tell, known))
