"""The type `github`: the status of a commit, at GitHub and GitHub Enterprise."""

from typing import Any, Final

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Request, Settings
from trimtab.notify.providers.asking import post
from trimtab.notify.providers.forge import Dialect, Said, items, sender, token_of
from trimtab.notify.providers.status import Status
from trimtab.notify.text import cut
from trimtab.remotes.forges.dialects import DIALECTS
from trimtab.remotes.git.address import Address

_MOST_DESCRIPTION: Final = 140
_FORGE: Final = DIALECTS["github"]


def look(address: Address, settings: Settings, status: Status) -> Request:
    """The latest statuses come first."""
    url = f"{_repository(address)}/commits/{status.commit}/statuses?per_page=100"
    return Request(method="GET", url=url, headers=_FORGE.headers(token_of(settings)))


def found(answer: Any, status: Status) -> Said | None:
    """The first of our name."""
    ours = (one for one in items(answer) if str(one.get("context", "")).lower() == status.context.lower())
    return next((Said(str(one.get("state")), str(one.get("description") or "")) for one in ours), None)


def tell(address: Address, settings: Settings, status: Status, notice: Notice) -> tuple[Request, Said]:
    """A status is never changed: a new one comes on top."""
    said = Said(status.state.value, cut(status.description, _MOST_DESCRIPTION))
    body = {"state": said.state, "context": status.context, "description": said.description}
    if status.link is not None:
        body["target_url"] = status.link.url
    headers = _FORGE.headers(token_of(settings))
    return post(notice, f"{_repository(address)}/statuses/{status.commit}", body, headers), said


def _repository(address: Address) -> str:
    return f"{_FORGE.api(address)}/repos/{_FORGE.project(address)}"


send = sender(Dialect(look, found, tell))
