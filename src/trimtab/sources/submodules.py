"""Submodules: the commits of other repositories that a commit names, each under the same policy as the first.

What comes is pinned: the superproject's tree names the commit, by a hash that git computes anew. So only where it comes
from is in question. No address that a commit names leads into a private network, except to the host and port that the
owner of the object wrote; credentials go to the same origin only; nothing that .gitmodules says is executed.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from trimtab.base.errors import Transient, TrimtabError
from trimtab.remotes.git.credentials import Credentials
from trimtab.remotes.git.modules import BadModules, locate, parse_modules
from trimtab.sources.checkout import Part, Wish, refused
from trimtab.sources.spec import GitSpec
from trimtab.sources.targets import Commit, Head

MAX_DEPTH = 3
MAX_COUNT = 20

Fetch = Callable[[GitSpec, Credentials, Head, Wish], Awaitable[tuple[str, Part]]]
"""Has the files of one commit; see GitSource."""


@dataclass
class Submodules:
    """Gathers what is below the commit of `spec`. `parts` grows as it comes."""

    fetch: Fetch
    spec: GitSpec
    credentials: Credentials
    wish: Wish
    parts: list[Part] = field(default_factory=list)
    count: int = 0

    async def gather(self, commit: str, part: Part) -> list[Part]:
        """`part`, and those of its submodules. Raises Transient naming the submodule that cannot be had."""
        self.parts.append(part)
        await self._below(self.spec, commit, part, "", 1)
        return self.parts

    async def _below(self, parent: GitSpec, commit: str, part: Part, prefix: str, depth: int) -> None:
        if not part.submodules:
            return
        try:
            declared = parse_modules(part.modules)
        except BadModules as problem:
            raise refused(parent.address, commit, f".gitmodules: {problem}") from problem
        for one in part.submodules:
            path = prefix + one.path
            url = declared.get(one.path)
            if url is None:
                # As with links: who reads it is told that it is not there.
                part.left_out.append(path)
                continue
            self.count += 1
            if depth > MAX_DEPTH or self.count > MAX_COUNT:
                limit = f"{MAX_COUNT} submodules" if self.count > MAX_COUNT else f"submodules {MAX_DEPTH} levels deep"
                raise refused(
                    self.spec.address, commit, f"{path!a} is beyond the limit: {limit}. Leave it out by spec.ignore"
                )
            try:
                address = locate(parent.address, url)
                inner = replace(
                    self.spec,
                    address=address,
                    target=Commit(one.commit, ""),
                    pinned=f"{self.spec.address} {path}",
                    own=(address.host, address.port) == (self.spec.address.host, self.spec.address.port),
                )
                credentials = self.credentials.within(self.spec.address, address)
                wish = replace(
                    self.wish,
                    address=address,
                    prefix=f"{path}/",
                    ignored=part.ignored,
                    before=tuple(entry for known in self.parts for entry in known.entries),
                )
                _, found = await self.fetch(inner, credentials, Head("", one.commit, ""), wish)
            except TrimtabError as problem:
                # Whatever it is: the next commit may name another, so this is looked at again.
                after = problem.retry_after if isinstance(problem, Transient) else None
                raise Transient(
                    problem.reason,
                    f"submodule {path!a} of {self.spec.address} at commit {one.commit}: {problem.message}",
                    retry_after=after,
                ) from problem
            self.parts.append(found)
            await self._below(inner, one.commit, found, f"{path}/", depth + 1)
