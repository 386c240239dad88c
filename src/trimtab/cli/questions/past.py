"""What commands ask git themselves: whether one commit comes after another, and which one wrote some lines.

With the rights of whoever runs the command: the address is the one of the GitRepository, the credentials are those of
its Secret, if that may be read. What cannot be asked is not known, with the reason.
"""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgspec

from trimtab.api.gvk import GIT_REPOSITORY
from trimtab.api.source import GitRepository
from trimtab.artifacts.store import Store
from trimtab.base.errors import TrimtabError
from trimtab.base.http import AiohttpTransport
from trimtab.cli.questions.chronicle import Commit
from trimtab.controllers.gitaccess import GitAccess
from trimtab.health.revisions import commit_in, digest_of
from trimtab.health.shape import section
from trimtab.kube.errors import ApiError, StaleGroup, UnknownKind, Unreachable
from trimtab.manifests.refs import Body
from trimtab.remotes.git.github import Apps
from trimtab.remotes.git.history import STEPS, History, TooLong
from trimtab.remotes.git.names import COMMIT
from trimtab.remotes.git.said import Said, said_in
from trimtab.sources.git import Credentials, GitSource, GitSpec, Head
from trimtab.sources.targets import prefixes

if TYPE_CHECKING:
    from trimtab.kube.client import Client

_STEPS: Final = (20, 300)
"""So many generations are fetched with their files, one number after the other, to find who wrote some lines."""
_PROBLEMS: Final = (TrimtabError, ValueError, ApiError, UnknownKind, StaleGroup, Unreachable)


Find: TypeAlias = Callable[[History, str], Awaitable[str]]


class Unknown(NamedTuple):
    """It cannot be told, and why."""

    why: str


class Change(NamedTuple):
    """The commit that wrote some lines. `or_before`: its own past was not fetched, it may have been an earlier one."""

    commit: str
    said: Said
    or_before: bool = False


@dataclass(slots=True)
class Past:
    """Asks the repositories of GitRepositories; each answer is remembered."""

    access: GitAccess
    source: GitSource
    _contains: dict[tuple[str, str], "bool | Unknown"] = field(default_factory=dict)

    async def contains(self, repository: Body, revision: str, asked: str) -> "bool | Unknown":
        """Whether the commit that `asked` means is in the past of `revision`. Raises nothing."""
        known = (revision, asked)
        if known not in self._contains:
            try:
                self._contains[known] = await self._look(repository, revision, asked)
            except _PROBLEMS as problem:
                self._contains[known] = Unknown(str(problem))
        return self._contains[known]

    async def _look(self, repository: Body, revision: str, asked: str) -> "bool | Unknown":
        digits = commit_in(asked)
        if not digits:
            return Unknown(f"{asked} is a name, and says nothing about what came before it")
        spec, credentials, head = await self._reach(repository, revision)
        for depth in STEPS:
            deeper = depth != STEPS[0]
            async with self.source.history(spec, credentials, head, depth=depth, deeper=deeper) as (came, history):
                if came.commit != head.commit:
                    return Unknown(f"{spec.address} hands out commit {head.commit} no more")
                if await history.begins(head.commit, digits):
                    return True
                if await history.whole(head.commit):
                    return False
        return Unknown("its history is too long")

    async def log(self, repository: Body, revisions: Sequence[str]) -> "list[Commit] | Unknown":
        """The commits of the branch from what it has now back to the oldest of `revisions` that is in its past.

        The line of first parents: what was merged came with its merge. Raises nothing.
        """
        wanted = {digest_of(revision) for revision in revisions}
        revision = str(section(repository, "status", "artifact").get("revision") or "")
        try:
            spec, credentials, head = await self._reach(repository, revision)
            oids: list[str] = []
            for depth in STEPS[:-1]:
                deeper = depth != STEPS[0]
                async with self.source.history(spec, credentials, head, depth=depth, deeper=deeper) as (_, history):
                    oids = await history.first_parents(head.commit)
                    whole = history.cut.isdisjoint(oids)
                    if whole or wanted <= {*oids}:
                        break
            last = max((place for place, oid in enumerate(oids) if oid in wanted), default=0)
            kept = oids[: last + 1]
            async with self.source.history(spec, credentials, head) as (_, history):
                raws = await history.contents(kept)
        except (*_PROBLEMS, TooLong) as problem:
            return Unknown(str(problem))
        return [Commit(oid, *said_in(raw)) for oid, raw in zip(kept, raws, strict=True)]

    async def last_change(
        self, repository: Body, revision: str, path: str, first: int, last: int
    ) -> "Change | Unknown":
        """The newest commit that wrote lines `first` to `last` of the file at `path` in `revision`. Raises nothing."""
        return await self._newest(
            repository, revision, lambda history, head: history.last_change(head, path, first, last)
        )

    async def last_touch(self, repository: Body, revision: str, directory: str) -> "Change | Unknown":
        """The newest commit that changed something in `directory` of `revision`. Raises nothing."""
        return await self._newest(repository, revision, lambda history, head: history.last_touch(head, directory))

    async def _newest(self, repository: Body, revision: str, find: Find) -> "Change | Unknown":
        """What `find` finds, in as much of the past as it takes, and is fetched."""
        try:
            spec, credentials, head = await self._reach(repository, revision)
            change = None
            for depth in _STEPS:
                deeper = depth != _STEPS[0]
                async with self.source.history(spec, credentials, head, depth=depth, deeper=deeper, files=True) as (
                    came,
                    history,
                ):
                    if came.commit != head.commit:
                        return Unknown(f"{spec.address} hands out commit {head.commit} no more")
                    change = await _change(history, await find(history, head.commit))
                if not change.or_before:
                    break
        except _PROBLEMS as problem:
            return Unknown(str(problem))
        return change or Unknown("nothing was looked at")

    async def _reach(self, repository: Body, revision: str) -> tuple[GitSpec, Credentials, Head]:
        """How the repository is reached, and the commit that is meant. Raises ValueError for what is none of git's."""
        if repository.get("kind") != GIT_REPOSITORY.kind:
            raise ValueError(f"commits are known to GitRepositories, and it comes from a {repository.get('kind')}")
        item = msgspec.convert(repository, GitRepository)
        if item.spec.include:
            # the files of others lie among its own, under the same revision
            raise ValueError("it includes other repositories, and which one a file came from is not recorded")
        commit = digest_of(revision)
        if not COMMIT.fullmatch(commit):
            raise ValueError(f"{revision} names no commit")
        spec = GitSpec.from_api(item.spec)
        # for servers that hand out nothing by id
        wanted = prefixes(spec.target)
        ref = wanted[0] if len(wanted) == 1 and not wanted[0].endswith("/") else ""
        return spec, await self.access.credentials(item, spec), Head(revision, commit, ref)


async def _change(history: History, found: str) -> Change:
    [raw] = await history.contents([found])
    return Change(found, said_in(raw), or_before=found in history.cut)


@contextlib.asynccontextmanager
async def past(client: "Client") -> AsyncIterator[Past]:
    """What asks git; what it fetches is removed at the end."""
    transport = AiohttpTransport()
    try:
        with tempfile.TemporaryDirectory(prefix="trimtab-git-") as directory:
            place = Path(directory)
            source = GitSource(place / "git", Store(place / "store"), transport, client.clock)
            yield Past(GitAccess(client, Apps(transport, client.clock)), source)
    finally:
        await transport.close()
