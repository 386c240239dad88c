"""A source in git: look cheaply, fetch what is new, and keep it as a snapshot."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Tree
from trimtab.base.clock import Clock
from trimtab.base.errors import Transient, TrimtabError
from trimtab.base.http import Transport
from trimtab.base.process import OutputTooLarge, ProcessTimeout
from trimtab.remotes.git.address import Address
from trimtab.remotes.git.credentials import ANONYMOUS, AuthenticationFailed, Credentials
from trimtab.remotes.git.git import Git, GitFailed, failure, hardened, wipe
from trimtab.remotes.git.history import STEPS, Descent, History
from trimtab.remotes.git.mirror import HostilePath, Mirror
from trimtab.remotes.git.mirrors import Mirrors
from trimtab.remotes.git.names import COMMIT, check_commit
from trimtab.remotes.git.reach import resolve
from trimtab.remotes.git.refs import RefReader, Remote
from trimtab.remotes.git.said import Said, said_in
from trimtab.sources.checkout import Checkout, Part, Wish, refused
from trimtab.sources.spec import GitSpec
from trimtab.sources.submodules import Submodules
from trimtab.sources.targets import Commit, Head, missing, neighbours, pick, prefixes

__all__ = ["ANONYMOUS", "AuthenticationFailed", "Credentials", "GitSource", "GitSpec", "Head"]

log = logging.getLogger(__name__)

_CONCURRENT_FETCHES = 4
_WAIT_S = 600.0  # for others that use the mirror, or all the slots; each of them has its own timeout


class GitSource:
    """Looks at repositories and fetches from them. One per process: it knows the servers, and owns the mirrors."""

    def __init__(
        self, cache_dir: Path, store: Store, transport: Transport, clock: Clock, *, deny_private: bool = False
    ) -> None:
        self._private = cache_dir / "private"
        self._store = store
        self._checkout = Checkout(store)
        self._clock = clock
        self._deny_private = deny_private
        self._reader = RefReader(transport, deny_private=deny_private)
        self._mirrors = Mirrors(cache_dir / "mirrors", clock)
        self._slots = asyncio.Semaphore(_CONCURRENT_FETCHES)
        wipe(self._private)

    async def look(self, spec: GitSpec, credentials: Credentials = ANONYMOUS) -> Head:
        """What `spec` means now. One small request where the server is known; none for a commit.

        Raises Transient (GitOperationFailed, AuthenticationFailed) and Terminal (URLInvalid).
        """
        credentials.check(spec.address)
        wanted = prefixes(spec.target)
        ids = await self._list(spec, credentials, wanted) if wanted else {}
        if head := pick(spec.target, ids):
            return head
        ids = await self._list(spec, credentials, neighbours(spec.target))
        raise Transient("GitOperationFailed", f"{spec.address}: {missing(spec.target, ids)}")

    async def fetch(
        self, spec: GitSpec, credentials: Credentials, head: Head, previous: Tree | None = None
    ) -> Snapshot:
        """The files of `head`, in the store. `previous` saves reading again what it has.

        The snapshot's revision is what came: if the branch moved after the look, and the server hands out only its tip,
        that is the newer commit. Raises as `look`; nothing is changed then, and there is never a partial snapshot.
        """
        wish = Wish(spec.address, spec.timeout_s, spec.ignore, spec.directories, spec.submodules, previous=previous)
        commit, part = await self._part(spec, credentials, head, wish)
        # The mirror is free again: a repository may be a submodule of itself.
        parts = await Submodules(self._part, spec, credentials, wish).gather(commit, part)
        try:
            tree = await asyncio.to_thread(self._checkout.assemble, parts)
        except OSError as problem:
            raise _unkept(spec, problem) from problem
        return Snapshot(self._store, tree, head.moved(commit).revision)

    async def _part(self, spec: GitSpec, credentials: Credentials, head: Head, wish: Wish) -> tuple[str, Part]:
        """The files of one commit, submodules aside, and which commit that is."""
        mirror = self._mirror(spec.address, credentials)
        async with self._at_work(spec, head, mirror):
            commit = await self._brought(spec, credentials, head, mirror)
            async with hardened(self._private) as git:
                try:
                    return commit, await self._checkout.part(git, mirror, commit, wish)
                except GitFailed:
                    # It came whole, and now something is missing: the mirror cannot be trusted any more.
                    await asyncio.to_thread(mirror.drop)
                    raise

    async def said(self, spec: GitSpec, credentials: Credentials, revision: str) -> Said:
        """What the commit of `revision`, which was fetched just now, says of itself; no request is made.

        Raises nothing for what cannot be read: then nothing is known.
        """
        commit = revision.rpartition(":")[2]
        mirror = self._mirror(spec.address, credentials)
        try:
            async with self._at_work(spec, Head(revision, commit, ""), mirror), hardened(self._private) as git:
                return said_in(await mirror.ask(git, "cat-file", ["commit", check_commit(commit)]))
        except (TrimtabError, ValueError) as problem:
            log.info("what commit %s of %s says of itself is not known: %s", commit, spec.address, problem)
            return Said()

    @asynccontextmanager
    async def history(
        self,
        spec: GitSpec,
        credentials: Credentials,
        head: Head,
        *,
        tag: bool = False,
        depth: int = 1,
        deeper: bool = False,
        files: bool = False,
    ) -> AsyncIterator[tuple[Head, History]]:
        """The past of `head` for as long as the block lasts; with `tag` also the tag on it, with `files` the files too.

        `depth` is how many generations come along, `deeper` asks for them though `head` is here. The head in front is
        what came; see `fetch`, which also says what is raised.
        """
        mirror = self._mirror(spec.address, credentials, commits_only=not files)
        wanted = head._replace(commit=head.tag) if tag else head
        async with self._at_work(spec, head, mirror):
            came = await self._brought(spec, credentials, wanted, mirror, exact=tag, depth=depth, deeper=deeper)
            async with hardened(self._private) as git:
                yield head if tag else head.moved(came), History(mirror, git, timeout=spec.timeout_s)

    @asynccontextmanager
    async def _at_work(self, spec: GitSpec, head: Head, mirror: Mirror) -> AsyncIterator[None]:
        """Have `mirror` for oneself, in bounded time; what goes wrong is said in words of the address."""
        try:
            async with (
                asyncio.timeout(_WAIT_S + spec.timeout_s),
                mirror.locked(),
                self._slots,
                asyncio.timeout(spec.timeout_s),
            ):
                yield
        except TimeoutError as problem:
            late = ProcessTimeout(f"the fetch was stopped after {spec.timeout_s:g} s")
            raise failure(spec.address, late) from problem
        except (GitFailed, ProcessTimeout, OutputTooLarge) as problem:
            raise failure(spec.address, problem, pinned=bool(spec.pinned)) from problem
        except OSError as problem:
            raise _unkept(spec, problem) from problem
        except HostilePath as problem:
            raise refused(spec.address, head.commit, f"{problem}; nothing of it is used") from problem

    async def _brought(
        self,
        spec: GitSpec,
        credentials: Credentials,
        head: Head,
        mirror: Mirror,
        *,
        exact: bool = False,
        depth: int = 1,
        deeper: bool = False,
    ) -> str:
        async with self._git(spec, credentials) as (git, remote):
            return await mirror.fetch(
                git,
                remote.address.url,
                head.commit,
                head.ref,
                slot=spec.pinned or (repr(spec.target) if not isinstance(spec.target, Commit) else "commit"),
                exact=exact or isinstance(spec.target, Commit),
                depth=depth,
                deeper=deeper,
                timeout=spec.timeout_s,
            )

    async def descent(self, spec: GitSpec, credentials: Credentials, old: str, revision: str) -> tuple[Descent, str]:
        """Whether `revision`, which `spec` means now, descends from the commit `old`; where that is unknown, why.

        `old` need not exist on the server any more. Raises nothing for what the remote does or says.
        """
        branch = isinstance(spec.target, Commit) and spec.target.branch
        wanted = (f"refs/heads/{branch}",) if branch else prefixes(spec.target)
        ref = wanted[0] if len(wanted) == 1 and not wanted[0].endswith("/") else ""
        head = Head(revision, revision.rpartition(":")[2], ref)
        try:
            for depth in STEPS:
                async with self.history(spec, credentials, head, depth=depth, deeper=depth != STEPS[0]) as (_, history):
                    if await history.descends(head.commit, old):
                        return Descent.DESCENDS, ""
                    if await history.whole(head.commit):
                        return Descent.DIVERGED, ""
        except (TrimtabError, ValueError) as problem:
            return Descent.UNKNOWN, str(problem)
        return Descent.UNKNOWN, "its history is too long"

    async def sweep(self, unused_s: float = 7 * 86400.0) -> int:
        """Remove mirrors that nobody used for so many seconds; returns how many."""
        return await self._mirrors.sweep(unused_s)

    async def _list(self, spec: GitSpec, credentials: Credentials, wanted: Iterable[str]) -> dict[str, str]:
        if spec.address.over_http:
            found = await self._reader.read(spec.address, credentials, wanted, timeout=spec.timeout_s)
            return dict(found.ids)
        try:
            async with self._git(spec, credentials) as (git, remote):
                patterns = [f"{name}*" for name in wanted]
                said = await git.run(
                    "ls-remote", ["--quiet", "--", remote.address.url, *patterns], timeout=spec.timeout_s
                )
        except (GitFailed, ProcessTimeout, OutputTooLarge) as problem:
            raise failure(spec.address, problem) from problem
        lines = (line.split("\t") for line in said.decode(errors="surrogateescape").splitlines())
        return {line[1]: line[0] for line in lines if len(line) == 2 and COMMIT.fullmatch(line[0])}

    @asynccontextmanager
    async def _git(self, spec: GitSpec, credentials: Credentials) -> AsyncIterator[tuple[Git, Remote]]:
        if spec.address.over_http:
            remote = await self._reader.locate(
                spec.address, credentials, timeout=spec.timeout_s, deny_private=not spec.own
            )
        else:
            credentials.check(spec.address)
            deny_private = self._deny_private or not spec.own
            remote = Remote(spec.address, await resolve(spec.address, deny_private=deny_private))
        async with hardened(self._private, remote, credentials) as git:
            yield git, remote

    def _mirror(self, address: Address, credentials: Credentials, *, commits_only: bool = False) -> Mirror:
        name = hashlib.sha256(f"{address.url}\n{credentials.digest}".encode()).hexdigest()[:32]
        name += "-history" if commits_only else ""
        return self._mirrors.of(name, commits_only=commits_only)


def _unkept(spec: GitSpec, problem: OSError) -> Transient:
    return Transient("StorageOperationFailed", f"the files of {spec.address} cannot be kept: {problem}")
