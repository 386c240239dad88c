"""How a repository is reached: where it is, who may read and who may write, and the git that speaks to it."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trimtab.base.errors import Transient
from trimtab.base.process import OutputTooLarge, ProcessTimeout
from trimtab.remotes.git.address import Address
from trimtab.remotes.git.credentials import ANONYMOUS, Credentials
from trimtab.remotes.git.git import Git, GitFailed, failure, hardened
from trimtab.remotes.git.names import COMMIT
from trimtab.remotes.git.reach import resolve
from trimtab.remotes.git.refs import RefReader, Remote


class Way(Protocol):
    """Leads to one repository."""

    @property
    def name(self) -> str:
        """The address, for people."""
        ...

    @property
    def digest(self) -> str:
        """Tells apart what may not share a mirror."""
        ...

    @property
    def timeout_s(self) -> float:
        """How long one conversation may last."""
        ...

    async def heads(self, names: Sequence[str]) -> Mapping[str, str]:
        """The commits of these references, of those that there are. Raises Transient and Terminal."""
        ...

    def git(self, *, writing: bool = False) -> AbstractAsyncContextManager[tuple[Git, str]]:
        """A git that may speak to the repository, and the address to give it. Raises Transient and Terminal."""
        ...

    def failed(self, problem: Exception) -> Transient:
        """What a failed conversation means for the one who wrote the address."""
        ...


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository that is written to, and how: `write` are other credentials for pushing, if there are others.

    `own` says that who wrote the address also owns the object, so that a private address may be meant.
    """

    address: Address
    credentials: Credentials = ANONYMOUS
    write: Credentials | None = None
    timeout_s: float = 60.0
    own: bool = True


@dataclass(frozen=True, slots=True)
class Remotely:
    """The way to a repository of an object: by the hardened git, with the credentials of Secrets and no others."""

    repository: Repository
    reader: RefReader
    private: Path
    deny_private: bool = False

    @property
    def name(self) -> str:
        return self.repository.address.url

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.name}\n{self.repository.credentials.digest}".encode()).hexdigest()

    @property
    def timeout_s(self) -> float:
        return self.repository.timeout_s

    async def heads(self, names: Sequence[str]) -> Mapping[str, str]:
        if self.repository.address.over_http:
            found = await self.reader.read(
                self.repository.address,
                self.repository.credentials,
                names,
                timeout=self.timeout_s,
                deny_private=not self.repository.own,
            )
            return {name: oid for name in names if (oid := found.ids.get(name))}
        async with self.git() as (git, url):
            return await listed(git, url, names, self)

    @asynccontextmanager
    async def git(self, *, writing: bool = False) -> AsyncIterator[tuple[Git, str]]:
        repository = self.repository
        credentials = repository.credentials
        if writing and repository.write is not None:
            credentials = repository.write.over(repository.credentials.proxy)
        if repository.address.over_http:
            # Where it is, is asked with what reads; what writes goes to the same origin and nowhere else.
            remote = await self.reader.locate(
                repository.address, repository.credentials, timeout=self.timeout_s, deny_private=not repository.own
            )
        else:
            credentials.check(repository.address)
            deny_private = self.deny_private or not repository.own
            remote = Remote(repository.address, await resolve(repository.address, deny_private=deny_private))
        async with hardened(self.private, remote, credentials) as git:
            yield git, remote.address.url

    def failed(self, problem: Exception) -> Transient:
        return failure(self.repository.address, problem)


async def listed(git: Git, url: str, names: Sequence[str], way: Way) -> dict[str, str]:
    """The references of `names` at `url`, by git ls-remote. Raises Transient."""
    try:
        said = await git.run("ls-remote", ["--quiet", "--", url, *names], timeout=way.timeout_s)
    except (GitFailed, ProcessTimeout, OutputTooLarge) as problem:
        raise way.failed(problem) from problem
    lines = (line.split("\t") for line in said.decode(errors="surrogateescape").splitlines())
    return {line[1]: line[0] for line in lines if len(line) == 2 and line[1] in names and COMMIT.fullmatch(line[0])}
