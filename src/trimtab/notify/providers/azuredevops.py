"""The type `azuredevops`: the status of a commit, at Azure DevOps, by a personal access token."""

from typing import Any, Final

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Request, Settings
from trimtab.notify.providers.asking import basic, post
from trimtab.notify.providers.forge import Dialect, Said, host_of, items, sender, token_of
from trimtab.notify.providers.status import State, Status
from trimtab.notify.text import cut
from trimtab.remotes.git.address import Address

_GENRE: Final = "fluxcd"
_VERSION: Final = "api-version=7.1"
_MOST_DESCRIPTION: Final = 255
_WORDS: Final = {State.PENDING: "pending", State.SUCCESS: "succeeded", State.FAILURE: "failed"}


def look(address: Address, settings: Settings, status: Status) -> Request:
    """The latest of each name only."""
    url = f"{_statuses(address, status)}?latestOnly=true&top=1000&{_VERSION}"
    return Request(method="GET", url=url, headers={"Accept": "application/json", **_authorization(settings)})


def found(answer: Any, status: Status) -> Said | None:
    """The one of our name and genre."""
    for one in items(answer, "value"):
        if one.get("context") == {"name": status.context, "genre": _GENRE}:
            return Said(str(one.get("state")), str(one.get("description") or ""))
    return None


def tell(address: Address, settings: Settings, status: Status, notice: Notice) -> tuple[Request, Said]:
    """A new one, of the genre that Flux uses: policies that ask for it stay as they are."""
    said = Said(_WORDS[status.state], cut(status.description, _MOST_DESCRIPTION))
    body: dict[str, Any] = {
        "state": said.state,
        "description": said.description,
        "context": {"name": status.context, "genre": _GENRE},
    }
    if status.link is not None:
        body["targetUrl"] = status.link.url
    return post(notice, f"{_statuses(address, status)}?{_VERSION}", body, _authorization(settings)), said


def _authorization(settings: Settings) -> dict[str, str]:
    return basic("", token_of(settings))


def _statuses(address: Address, status: Status) -> str:
    path = address.path.strip("/")
    project, git, name = path.rpartition("/_git/")
    if not git or not project or "/" in name or address.scheme != "https":
        raise ValueError(
            f"{address} is not the address of a repository, such as https://dev.azure.com/organisation/project/_git/name"
        )
    return f"{host_of(address)}/{project}/_apis/git/repositories/{name}/commits/{status.commit}/statuses"


send = sender(Dialect(look, found, tell))
