"""A source in git: look cheaply, fetch what is new, and keep it as a snapshot."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from trimtab.api.source import GitRepositorySpec
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree, without_collisions
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.base.http import Transport
from trimtab.base.process import OutputTooLarge, ProcessTimeout
from trimtab.remotes.git.address import Address, parse_address
from trimtab.remotes.git.credentials import ANONYMOUS, AuthenticationFailed, Credentials
from trimtab.remotes.git.git import Git, GitFailed, failure, hardened, wipe
from trimtab.remotes.git.history import STEPS, Descent, History
from trimtab.remotes.git.mirror import Blob, HostilePath, Listing, Mirror
from trimtab.remotes.git.names import COMMIT
from trimtab.remotes.git.reach import resolve
from trimtab.remotes.git.refs import RefReader, Remote
from trimtab.sources.ignore import IGNORE_FILE, rules
from trimtab.sources.targets import Commit, Head, Semver, Target, missing, neighbours, pick, prefixes, target_of

__all__ = ["ANONYMOUS", "AuthenticationFailed", "Credentials", "GitSource", "GitSpec", "Head"]

MAX_BYTES = 100 << 20
MAX_FILES = 50_000
_CONCURRENT_FETCHES = 4
_WAIT_S = 600.0  # for others that use the mirror, or all the slots; each of them has its own timeout


@dataclass(frozen=True, slots=True)
class GitSpec:
    """What to take from which repository. `timeout_s` bounds one look and one fetch, each."""

    address: Address
    target: Target
    timeout_s: float = 60.0
    ignore: str | None = None
    directories: tuple[str, ...] = ()

    @property
    def is_range(self) -> bool:
        """Whether the newest of many versions is taken, not one that is named."""
        return isinstance(self.target, Semver)

    @classmethod
    def from_api(cls, spec: GitRepositorySpec) -> "GitSpec":
        """Read a GitRepository's spec. Raises Terminal for what is wrong, and for what is not supported yet.

        What is not supported is refused, never passed over. Signatures are not its business: see `trust`.
        """
        unsupported = {
            "proxySecretRef": spec.proxy_secret_ref is not None,
            "recurseSubmodules": spec.recurse_submodules,
            "include": bool(spec.include),
            f"provider: {spec.provider}": spec.provider not in ("", "generic"),
        }
        if wrong := [name for name, is_set in unsupported.items() if is_set]:
            raise Terminal(
                "InvalidProviderConfiguration", f"not supported yet: spec.{', spec.'.join(wrong)}; remove it"
            )
        try:
            timeout_s = spec.timeout_s
        except ValueError as problem:
            raise Terminal("URLInvalid", f"spec.timeout: {problem}") from problem
        return cls(
            address=parse_address(spec.url),
            target=target_of(spec.ref),
            timeout_s=timeout_s,
            ignore=spec.ignore,
            directories=tuple(_directory(name) for name in spec.sparse_checkout),
        )


class GitSource:
    """Looks at repositories and fetches from them. One per process: it knows the servers, and owns the mirrors."""

    def __init__(
        self, cache_dir: Path, store: Store, transport: Transport, clock: Clock, *, deny_private: bool = False
    ) -> None:
        self._mirrors_dir = cache_dir / "mirrors"
        self._private = cache_dir / "private"
        self._store = store
        self._clock = clock
        self._deny_private = deny_private
        self._reader = RefReader(transport, deny_private=deny_private)
        self._mirrors: dict[str, Mirror] = {}
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
        mirror = self._mirror(spec.address, credentials)
        async with self._at_work(spec, head, mirror):
            commit = await self._brought(spec, credentials, head, mirror)
            async with hardened(self._private) as git:
                try:
                    tree = await self._tree(git, mirror, commit, spec, previous)
                except GitFailed:
                    # It came whole, and now something is missing: the mirror cannot be trusted any more.
                    await asyncio.to_thread(mirror.drop)
                    raise
        return Snapshot(self._store, tree, head.moved(commit).revision)

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
    ) -> AsyncIterator[tuple[Head, History]]:
        """The past of `head`, commits without files, for as long as the block lasts; with `tag` also the tag on it.

        `depth` is how many generations come along, `deeper` asks for them though `head` is here. The head in front is
        what came; see `fetch`, which also says what is raised.
        """
        mirror = self._mirror(spec.address, credentials, commits_only=True)
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
            raise failure(spec.address, problem) from problem
        except OSError as problem:
            raise Transient(
                "StorageOperationFailed", f"the files of {spec.address} cannot be kept: {problem}"
            ) from problem
        except HostilePath as problem:
            raise _refused(spec, head.commit, f"{problem}; nothing of it is used") from problem

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
                slot=repr(spec.target) if not isinstance(spec.target, Commit) else "commit",
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
        deadline = self._clock.now().timestamp() - unused_s
        removed = 0
        for lock in self._mirrors_dir.glob("*.lock"):
            if lock.stat().st_mtime < deadline:
                mirror = self._mirrors.pop(lock.stem, None) or Mirror(lock.with_suffix(".git"), self._clock)
                async with mirror.locked():
                    await asyncio.to_thread(mirror.drop)
                lock.unlink(missing_ok=True)
                removed += 1
        return removed

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
            remote = await self._reader.locate(spec.address, credentials, timeout=spec.timeout_s)
        else:
            remote = Remote(spec.address, await resolve(spec.address, deny_private=self._deny_private))
        async with hardened(self._private, remote, credentials) as git:
            yield git, remote

    async def _tree(self, git: Git, mirror: Mirror, commit: str, spec: GitSpec, previous: Tree | None) -> Tree:
        listing = await mirror.files(git, commit)
        ignore_file = b""
        if own := next((blob for blob in listing.files if blob.path == IGNORE_FILE), None):
            sizes = await mirror.sizes(git, [own.oid])
            _within_limits(spec, commit, sum(sizes.values()), 1)
            async for batch in mirror.contents(git, sizes, timeout=spec.timeout_s):
                ignore_file = bytes(batch[0][1])
        listing = await asyncio.to_thread(_selected, listing, spec, ignore_file)
        known = await asyncio.to_thread(self._known, listing.files, previous)
        sizes = await mirror.sizes(
            git, list(dict.fromkeys(blob.oid for blob in listing.files if blob.oid not in known))
        )
        every = {oid: size for oid, (_, size) in known.items()} | sizes
        _within_limits(spec, commit, sum(every[blob.oid] for blob in listing.files), len(listing.files))
        async for batch in mirror.contents(git, sizes, timeout=spec.timeout_s):
            known |= await asyncio.to_thread(self._keep, batch)
        return await asyncio.to_thread(self._save, listing, known)

    def _known(self, blobs: list[Blob], previous: Tree | None) -> dict[str, tuple[str, int]]:
        """By git id, the contents that are in the store already: SHA-256 and size."""
        if previous is None:
            return {}
        wanted = {blob.oid for blob in blobs}
        had = {entry.hint: (entry.sha256, entry.size) for entry in previous.entries if entry.hint in wanted}
        return {oid: content for oid, content in had.items() if self._store.keep(*content)}

    def _keep(self, batch: list[tuple[str, memoryview]]) -> dict[str, tuple[str, int]]:
        return {oid: (self._store.put(data), len(data)) for oid, data in batch}

    def _save(self, listing: Listing, known: dict[str, tuple[str, int]]) -> Tree:
        entries = [Entry(blob.path, *known[blob.oid], blob.executable, blob.oid) for blob in listing.files]
        kept, collided = without_collisions(entries)
        tree = Tree.of(kept, [*listing.left_out, *collided])
        self._store.save(tree)
        return tree

    def _mirror(self, address: Address, credentials: Credentials, *, commits_only: bool = False) -> Mirror:
        name = hashlib.sha256(f"{address.url}\n{credentials.digest}".encode()).hexdigest()[:32]
        name += "-history" if commits_only else ""
        if name not in self._mirrors:
            self._mirrors[name] = Mirror(self._mirrors_dir / f"{name}.git", self._clock, commits_only=commits_only)
        return self._mirrors[name]


def _selected(listing: Listing, spec: GitSpec, ignore_file: bytes) -> Listing:
    """What of a commit is wanted."""
    ignored = rules(spec.ignore, ignore_file)
    inside = tuple(f"{directory}/" for directory in spec.directories)

    def wanted(path: str) -> bool:
        return (not inside or path.startswith(inside)) and not ignored.excludes(path)

    return Listing([blob for blob in listing.files if wanted(blob.path)], [*filter(wanted, listing.left_out)])


def _within_limits(spec: GitSpec, commit: str, size: int, files: int) -> None:
    if files > MAX_FILES:
        raise _refused(spec, commit, f"{files} files; the limit is {MAX_FILES}. Leave some out by spec.ignore")
    if size > MAX_BYTES:
        raise _refused(spec, commit, f"{size} bytes of files; the limit is {MAX_BYTES}. Leave some out by spec.ignore")


def _refused(spec: GitSpec, commit: str, why: str) -> Transient:
    # The next commit may be better, so this is looked at again.
    return Transient("GitOperationFailed", f"{spec.address}: commit {commit} is refused: {why}")


def _directory(name: str) -> str:
    parts = [part for part in name.removeprefix("./").split("/") if part]
    if not parts or name.startswith("/") or any(part in (".", "..") for part in parts):
        raise Terminal("URLInvalid", f"spec.sparseCheckout: {name!a} is not a directory inside the repository")
    return "/".join(parts)
