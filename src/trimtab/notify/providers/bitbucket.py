"""The type `bitbucket`: the build status of a commit, at Bitbucket Cloud."""

import hashlib
from typing import Any, Final

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Request, Settings
from trimtab.notify.providers.asking import basic, post
from trimtab.notify.providers.forge import Dialect, Said, host_of, sender
from trimtab.notify.providers.status import State, Status
from trimtab.notify.text import cut
from trimtab.remotes.git.address import Address

_MOST_DESCRIPTION: Final = 255
_WORDS: Final = {State.PENDING: "INPROGRESS", State.SUCCESS: "SUCCESSFUL", State.FAILURE: "FAILED"}


def look(address: Address, settings: Settings, status: Status) -> Request:
    """The one of our key, or 404."""
    url = f"{_statuses(address, status)}/{key_of(status)}"
    return Request(method="GET", url=url, headers={"Accept": "application/json", **_authorization(settings)})


def found(answer: Any, status: Status) -> Said | None:  # noqa: ARG001 - it was asked for by its key
    """There is one or none."""
    if not isinstance(answer, dict):
        return None
    return Said(str(answer.get("state")), str(answer.get("description") or ""))


def tell(address: Address, settings: Settings, status: Status, notice: Notice) -> tuple[Request, Said]:
    """Create or change the one of our key. It has to lead somewhere: to the repository if to nothing better."""
    said = Said(_WORDS[status.state], cut(status.description, _MOST_DESCRIPTION))
    body = {
        "key": key_of(status),
        "name": status.context,
        "state": said.state,
        "description": said.description,
        "url": status.link.url if status.link is not None else f"{host_of(address)}/{_repository(address)}",
    }
    return post(notice, _statuses(address, status), body, _authorization(settings)), said


def key_of(status: Status) -> str:
    """The name as a key, which has 40 characters at most."""
    return hashlib.sha1(status.context.encode(), usedforsecurity=False).hexdigest()


def _authorization(settings: Settings) -> dict[str, str]:
    token = settings.needed("token", "set `token` in the Secret of spec.secretRef: an access token, or `user:password`")
    user, colon, password = token.partition(":")
    return basic(user, password) if colon else {"Authorization": f"Bearer {token}"}


def _statuses(address: Address, status: Status) -> str:
    api = "https://api.bitbucket.org" if address.host == "bitbucket.org" else host_of(address)
    return f"{api}/2.0/repositories/{_repository(address)}/commit/{status.commit}/statuses/build"


def _repository(address: Address) -> str:
    parts = address.path.strip("/").removesuffix(".git").split("/")
    if len(parts) != 2:
        raise ValueError(f"{address} is not the address of a repository, such as https://bitbucket.org/owner/name")
    return "/".join(parts)


send = sender(Dialect(look, found, tell))
