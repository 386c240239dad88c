"""What GitHub, GitLab and Gitea call a pull request, and how each wants to be asked. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec
from yarl import URL

from trimtab.remotes.git.address import Address

LONGEST_TITLE: Final = 255
LONGEST_BODY: Final = 60_000
_PAGE: Final = 50
_MOST_PAGES: Final = 20
T = TypeVar("T")


class Wish(NamedTuple):
    """A pull request as it should be: the branch `head`, to be merged into `base`."""

    head: str
    base: str
    title: str
    body: str


class Pull(NamedTuple):
    """A pull request; one that is not `open` was merged, or closed by somebody."""

    number: int
    url: str
    title: str
    body: str
    open: bool = True


class Asked(NamedTuple):
    """One request: a path below the address of the API, in wire form, and what is sent."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


class Dialect(Protocol):
    """How one kind of forge is spoken to."""

    name: str
    pages: int
    """So many pages are looked through for a pull request, the newest first."""

    def api(self, address: Address) -> URL:
        """Where the API of the forge is that has the repository at `address`, if nobody says otherwise."""
        ...

    def project(self, address: Address) -> str:
        """What the repository is called there, in wire form. Raises ValueError."""
        ...

    def headers(self, token: str) -> Mapping[str, str]:
        """Who we are, and what we take."""
        ...

    def search(self, project: str, wish: Wish, page: int) -> Asked:
        """For what is, or was, asked for from `head` to `base`."""
        ...

    def found(self, answer: bytes, wish: Wish) -> tuple[Pull | None, bool]:
        """The one for `wish` in an answer to that, an open one first, and whether there may be more.

        Raises msgspec's errors.
        """
        ...

    def create(self, project: str, wish: Wish) -> Asked: ...

    def update(self, project: str, pull: Pull, wish: Wish) -> Asked: ...

    def opened(self, answer: bytes) -> Pull:
        """What came of creating or updating one. Raises msgspec's errors."""
        ...


class _Repository(msgspec.Struct, frozen=True):
    full_name: str


class _Branch(msgspec.Struct, frozen=True):
    """A branch, and where it is: nowhere any more if a copy of the repository was deleted."""

    ref: str = ""
    repo: _Repository | None = None


class _Pull(msgspec.Struct, frozen=True):
    """As GitHub, and Gitea after it, have it."""

    number: int
    html_url: str = ""
    title: str = ""
    body: str | None = None
    state: str = "open"
    head: _Branch = _Branch()
    base: _Branch = _Branch()

    @property
    def pull(self) -> Pull:
        return Pull(self.number, self.html_url, self.title, self.body or "", self.state == "open")

    def is_for(self, wish: Wish) -> bool:
        """Whether it leads from the one branch of `wish` to the other. Anybody may call one like ours in a copy."""
        here = self.head.repo is not None and self.head.repo == self.base.repo
        return here and (self.head.ref, self.base.ref) == (wish.head, wish.base)


class _MergeRequest(msgspec.Struct, frozen=True):
    """As GitLab has it; `iid` counts within the project."""

    iid: int
    web_url: str = ""
    title: str = ""
    description: str | None = None
    state: str = "opened"
    source_branch: str = ""
    target_branch: str = ""
    source_project_id: int | None = None
    target_project_id: int | None = None

    @property
    def pull(self) -> Pull:
        return Pull(self.iid, self.web_url, self.title, self.description or "", self.state == "opened")

    def is_for(self, wish: Wish) -> bool:
        """As that of the others."""
        here = self.source_project_id is not None and self.source_project_id == self.target_project_id
        return here and (self.source_branch, self.target_branch) == (wish.head, wish.base)


class _GitHub:
    name = "github"
    pages = 1

    def api(self, address: Address) -> URL:
        if address.host in ("github.com", "ssh.github.com"):
            return URL("https://api.github.com")
        return _base(address, "/api/v3")

    def project(self, address: Address) -> str:
        return "/".join(_two(address))

    def headers(self, token: str) -> Mapping[str, str]:
        return {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "X-GitHub-Api-Version": "2022-11-28",
        }

    def search(self, project: str, wish: Wish, page: int) -> Asked:
        owner = project.partition("/")[0]
        query = _query(state="all", head=f"{owner}:{wish.head}", base=wish.base, per_page=_PAGE, page=page)
        return Asked("GET", f"/repos/{project}/pulls?{query}")

    def found(self, answer: bytes, wish: Wish) -> tuple[Pull | None, bool]:
        return _named(answer, wish)

    def create(self, project: str, wish: Wish) -> Asked:
        body = {"title": wish.title, "head": wish.head, "base": wish.base, "body": wish.body}
        return Asked("POST", f"/repos/{project}/pulls", body)

    def update(self, project: str, pull: Pull, wish: Wish) -> Asked:
        return Asked("PATCH", f"/repos/{project}/pulls/{pull.number}", {"title": wish.title, "body": wish.body})

    def opened(self, answer: bytes) -> Pull:
        return msgspec.json.decode(answer, type=_Pull).pull


class _Gitea(_GitHub):
    """Gitea and Forgejo: the words of GitHub, another address, and no search by branch."""

    name = "gitea"
    pages = _MOST_PAGES

    def api(self, address: Address) -> URL:
        return _base(address, "/api/v1")

    def headers(self, token: str) -> Mapping[str, str]:
        return {"Accept": "application/json", "Authorization": f"token {token}"}

    def search(self, project: str, wish: Wish, page: int) -> Asked:  # noqa: ARG002 - there is no search by branch
        query = _query(state="all", sort="recentupdate", limit=_PAGE, page=page)
        return Asked("GET", f"/repos/{project}/pulls?{query}")


class _GitLab:
    name = "gitlab"
    pages = _MOST_PAGES  # a search by branch finds those of copies too, and there may be many

    def api(self, address: Address) -> URL:
        return _base(address, "/api/v4")

    def project(self, address: Address) -> str:
        path = _path(address)
        if "/" not in path:
            raise ValueError(f"{address} is not the address of a project, such as https://gitlab.com/group/project")
        return path.replace("/", "%2F")

    def headers(self, token: str) -> Mapping[str, str]:
        return {"Accept": "application/json", "PRIVATE-TOKEN": token}

    def search(self, project: str, wish: Wish, page: int) -> Asked:
        query = _query(state="all", source_branch=wish.head, target_branch=wish.base, per_page=_PAGE, page=page)
        return Asked("GET", f"/projects/{project}/merge_requests?{query}")

    def found(self, answer: bytes, wish: Wish) -> tuple[Pull | None, bool]:
        items = msgspec.json.decode(answer, type=list[_MergeRequest])
        ours = [one.pull for one in items if one.is_for(wish)]
        return _foremost(ours), len(items) >= _PAGE

    def create(self, project: str, wish: Wish) -> Asked:
        body = {
            "source_branch": wish.head,
            "target_branch": wish.base,
            "title": wish.title,
            "description": wish.body,
        }
        return Asked("POST", f"/projects/{project}/merge_requests", body)

    def update(self, project: str, pull: Pull, wish: Wish) -> Asked:
        body = {"title": wish.title, "description": wish.body}
        return Asked("PUT", f"/projects/{project}/merge_requests/{pull.number}", body)

    def opened(self, answer: bytes) -> Pull:
        return msgspec.json.decode(answer, type=_MergeRequest).pull


_GITEA: Final[Dialect] = _Gitea()
DIALECTS: Final[Mapping[str, Dialect]] = {
    "github": _GitHub(),
    "gitlab": _GitLab(),
    "gitea": _GITEA,
    "forgejo": _GITEA,
}


def _named(answer: bytes, wish: Wish) -> tuple[Pull | None, bool]:
    items = msgspec.json.decode(answer, type=list[_Pull])
    ours = [one.pull for one in items if one.is_for(wish)]
    return _foremost(ours), len(items) >= _PAGE


def _foremost(pulls: list[Pull]) -> Pull | None:
    """The one that is open, else the newest."""
    return next((one for one in pulls if one.open), max(pulls, default=None))


def _query(**values: str | int) -> str:
    return URL.build(query={key: str(value) for key, value in values.items()}).raw_query_string


def _path(address: Address) -> str:
    return address.path.strip("/").removesuffix(".git")


def _two(address: Address) -> tuple[str, str]:
    parts = _path(address).split("/")
    if len(parts) < 2:
        raise ValueError(f"{address} is not the address of a repository, such as https://host/owner/name")
    return parts[-2], parts[-1]


def _base(address: Address, suffix: str) -> URL:
    # That of git says nothing of where the API is over ssh: https, at the usual port.
    authority = address.authority if address.scheme == "https" else address.host
    return URL(f"https://{authority}{suffix}", encoded=True)
