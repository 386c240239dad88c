"""The type `gitea`: the status of a commit, at Gitea and Forgejo."""

from typing import Any, Final

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Request, Settings
from trimtab.notify.providers.asking import post
from trimtab.notify.providers.forge import Dialect, Said, items, sender, token_of
from trimtab.notify.providers.status import Status
from trimtab.notify.text import cut
from trimtab.remotes.forges.dialects import DIALECTS
from trimtab.remotes.git.address import Address

_MOST_DESCRIPTION: Final = 255
_FORGE: Final = DIALECTS["gitea"]


def look(address: Address, settings: Settings, status: Status) -> Request:
    """The latest statuses first."""
    url = f"{_statuses(address, status)}?sort=recentupdate&limit=50"
    return Request(method="GET", url=url, headers=_FORGE.headers(token_of(settings)))


def found(answer: Any, status: Status) -> Said | None:
    """The first of our name. What is sent as `state` comes back as `status`."""
    ours = (one for one in items(answer) if one.get("context") == status.context)
    return next((Said(str(one.get("status")), str(one.get("description") or "")) for one in ours), None)


def tell(address: Address, settings: Settings, status: Status, notice: Notice) -> tuple[Request, Said]:
    """In the words of GitHub."""
    said = Said(status.state.value, cut(status.description, _MOST_DESCRIPTION))
    body = {"state": said.state, "context": status.context, "description": said.description}
    if status.link is not None:
        body["target_url"] = status.link.url
    return post(notice, _statuses(address, status), body, _FORGE.headers(token_of(settings))), said


def _statuses(address: Address, status: Status) -> str:
    return f"{_FORGE.api(address)}/repos/{_FORGE.project(address)}/statuses/{status.commit}"


send = sender(Dialect(look, found, tell))
