"""The type `bitbucketserver`: the build status of a commit, at Bitbucket Server and Data Center."""

from typing import Any, Final

from trimtab.notify.notice import Notice
from trimtab.notify.provider import Misconfigured, Request, Settings
from trimtab.notify.providers.asking import authorization, post
from trimtab.notify.providers.bitbucket import key_of
from trimtab.notify.providers.forge import Dialect, Said, host_of, sender
from trimtab.notify.providers.status import State, Status
from trimtab.notify.text import cut
from trimtab.remotes.git.address import Address

_MOST_DESCRIPTION: Final = 255
_WORDS: Final = {State.PENDING: "INPROGRESS", State.SUCCESS: "SUCCESSFUL", State.FAILURE: "FAILED"}


def look(address: Address, settings: Settings, status: Status) -> Request:
    """The one of our key, or 404."""
    url = f"{_builds(address, status)}?key={key_of(status)}"
    return Request(method="GET", url=url, headers={"Accept": "application/json", **_authorization(settings)})


def found(answer: Any, status: Status) -> Said | None:  # noqa: ARG001 - it was asked for by its key
    """There is one or none."""
    if not isinstance(answer, dict):
        return None
    return Said(str(answer.get("state")), str(answer.get("description") or ""))


def tell(address: Address, settings: Settings, status: Status, notice: Notice) -> tuple[Request, Said]:
    """Create or change the one of our key. It has to lead somewhere: to the repository if to nothing better."""
    said = Said(_WORDS[status.state], cut(status.description, _MOST_DESCRIPTION))
    base, project, name = _place(address)
    body = {
        "key": key_of(status),
        "name": status.context,
        "state": said.state,
        "description": said.description,
        "url": status.link.url if status.link is not None else f"{base}/projects/{project}/repos/{name}",
    }
    headers = {**_authorization(settings), "X-Atlassian-Token": "no-check"}
    return post(notice, _builds(address, status), body, headers), said


def _authorization(settings: Settings) -> dict[str, str]:
    if not (signed := authorization(settings)):
        raise Misconfigured(
            "a Provider of type bitbucketserver needs a token, or a user and a password: set `token`, or `username` "
            "and `password`, in the Secret of spec.secretRef"
        )
    return signed


def _builds(address: Address, status: Status) -> str:
    base, project, name = _place(address)
    return f"{base}/rest/api/latest/projects/{project}/repos/{name}/commits/{status.commit}/builds"


def _place(address: Address) -> tuple[str, str, str]:
    """Where the server is, the project and the repository. Before /scm/ is the path under which it is served."""
    parts = address.path.strip("/").removesuffix(".git").split("/")
    if len(parts) < 2:
        raise ValueError(f"{address} is not the address of a repository, such as https://host/scm/project/name.git")
    before = parts[:-2]
    if address.scheme == "ssh":
        before = []
    elif before and before[-1] == "scm":
        before.pop()
    return "/".join([host_of(address), *before]), parts[-2], parts[-1]


send = sender(Dialect(look, found, tell))
