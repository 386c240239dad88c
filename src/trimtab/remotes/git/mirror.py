"""A bare repository on disk that holds the tips we need, so that a new commit costs only what is new in it.

Trees are read from objects (ls-tree, cat-file), never from a checkout and never from `git archive`: what is deployed is
what is in the commit, byte for byte, whatever its attributes say.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import IO, NamedTuple

from trimtab.base.clock import Clock
from trimtab.base.process import Completed
from trimtab.remotes.git.git import Git, GitFailed
from trimtab.remotes.git.names import check_commit, check_ref

log = logging.getLogger(__name__)

MAX_PATH_BYTES = 4096
MAX_DEPTH = 64
_MAX_PACKS = 32
_MAX_LOOSE = 2000
_BATCH_BYTES = 8 << 20
_ALL_OF_HISTORY = 2147483647
_NOT_BY_ID = re.compile(
    r"not our ref|unadvertised object|no such remote ref|couldn't find remote ref|not a tree|bad object"
)
_FAR_SIDE = re.compile(
    r"unable to access|Could not read from remote|not our ref|unadvertised object|remote ref"
    # cut off on the way, or refused for what it is
    r"|RPC failed|early EOF|hung up unexpectedly|unexpected disconnect|fsck error"
)
_LINK, _SUBMODULE, _FILE, _PROGRAM = "120000", "160000", "100644", "100755"


class HostilePath(Exception):
    """A tree with a name that must never reach a file system."""


class Blob(NamedTuple):
    """A regular file in a commit, of so many bytes."""

    path: str
    oid: str
    size: int
    executable: bool


class Submodule(NamedTuple):
    """A place in a commit where a commit of another repository belongs."""

    path: str
    commit: str


class Listing(NamedTuple):
    """All regular files of a commit, the links beside them, and the submodules."""

    files: list[Blob]
    left_out: list[str]
    submodules: list[Submodule]


class Mirror:
    """One bare repository, for one address and one set of credentials. Use it under `locked`.

    With `commits_only` it has the history and no files: enough to tell who descends from whom, and who signed what.
    (A server that cannot leave files out sends them all; they are of no use.)
    """

    def __init__(self, path: Path, clock: Clock, *, commits_only: bool = False) -> None:
        self.path = path
        self._clock = clock
        self._filter = ["--filter=tree:0"] if commits_only else []
        self._lock = asyncio.Lock()
        self._held: tuple[int, ...] = ()

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the mirror for oneself, against other tasks and other processes, and clear what the dead left."""
        async with self._lock:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            while (file := _lock(self.path.with_suffix(".lock"))) is None:
                await self._clock.sleep(0.05)
            with file:
                self._clear()
                os.utime(file.fileno())
                # Our children hold the lock too: where this process is killed, the next one waits for what is left of
                # its git, and does not remove locks from under it.
                self._held = (file.fileno(),)
                try:
                    yield
                finally:
                    self._held = ()

    async def fetch(
        self,
        git: Git,
        url: str,
        commit: str,
        ref: str,
        *,
        slot: str,
        exact: bool = False,
        depth: int = 1,
        deeper: bool = False,
        timeout: float,
    ) -> str:
        """Have the objects of `commit`, and return it; or, if the server has moved on, the commit `ref` is at now.

        `slot` names what is followed: the commit fetched last for each slot is kept, and new commits are fetched as
        what differs from those. With `exact` nothing but `commit` will do, wherever it is in the history of `ref`.
        `depth` is how many generations come along, `deeper` fetches again though the commit itself is here.
        Raises GitFailed and what Git.run raises; what was there before stays usable.
        """
        check_commit(commit)
        kept = f"refs/kept/{hashlib.sha256(slot.encode()).hexdigest()[:16]}"
        if not self.path.exists():
            return await self._first(git, url, commit, ref, kept=kept, exact=exact, depth=depth, timeout=timeout)
        try:
            if not deeper and commit in (here := await self._kept(git)).values():
                if here.get(kept) != commit:
                    await git.run("update-ref", [kept, commit], repository=self.path, pass_fds=self._held)
                return commit
            await self._tidy(git)
        except GitFailed as damage:
            log.warning("mirror %s is damaged and made anew: %s", self.path, damage)
            self.drop()
            return await self._first(git, url, commit, ref, kept=kept, exact=exact, depth=depth, timeout=timeout)
        try:
            return await self._pull(
                git, self.path, url, commit, ref, kept=kept, exact=exact, depth=depth, timeout=timeout
            )
        except GitFailed as problem:
            if not _FAR_SIDE.search(problem.said):
                # It may be the commit, or what we have: the next try starts from nothing and will tell.
                self.drop()
            raise

    async def ask(
        self, git: Git, verb: str, arguments: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0
    ) -> bytes:
        """What git says about the objects that are here. Raises what Git.run raises."""
        return await git.run(verb, arguments, repository=self.path, stdin=stdin, timeout=timeout, pass_fds=self._held)

    async def call(
        self, git: Git, verb: str, arguments: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0
    ) -> Completed:
        """How git ended that worked on what is here. Raises what Git.call raises."""
        return await git.call(verb, arguments, repository=self.path, stdin=stdin, timeout=timeout, pass_fds=self._held)

    async def files(self, git: Git, commit: str) -> Listing:
        """What is in `commit`. Raises GitFailed if it is not complete, HostilePath."""
        listed = await git.run(
            "ls-tree",
            ["-r", "-l", "-z", "--full-tree", f"{check_commit(commit)}^{{commit}}"],
            repository=self.path,
            pass_fds=self._held,
        )
        return await asyncio.to_thread(_parse, listed)

    async def contents(
        self, git: Git, sizes: dict[str, int], *, timeout: float
    ) -> AsyncIterator[list[tuple[str, memoryview]]]:
        """The blobs of `sizes` (bytes by id), a few MiB at a time: never all in memory together. Raises GitFailed."""
        for oids in _batches(sizes):
            expected = sum(sizes[oid] for oid in oids)
            said = await git.run(
                "cat-file",
                ["--batch"],
                repository=self.path,
                pass_fds=self._held,
                stdin="\n".join(oids).encode(),
                timeout=timeout,
                max_output=expected + 100 * len(oids),
            )
            yield _split(said, oids, sizes)

    def drop(self) -> None:
        """Remove the repository; the next fetch makes it anew."""
        doomed = self.path.with_name(f".old-{token_hex(8)}")
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    async def _first(
        self, git: Git, url: str, commit: str, ref: str, *, kept: str, exact: bool, depth: int, timeout: float
    ) -> str:
        # Beside its place and renamed: a repository that is there is one that was complete once.
        fresh = self.path.with_name(f".new-{token_hex(8)}")
        try:
            await git.run("init", ["--quiet", "--bare", "--template=", "--", str(fresh)], pass_fds=self._held)
            got = await self._pull(git, fresh, url, commit, ref, kept=kept, exact=exact, depth=depth, timeout=timeout)
            fresh.rename(self.path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return got

    async def _pull(
        self,
        git: Git,
        repository: Path,
        url: str,
        commit: str,
        ref: str,
        *,
        kept: str,
        exact: bool,
        depth: int,
        timeout: float,
    ) -> str:
        options = [
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-gc",
            "--refmap=",
        ]

        async def pull(wanted: str, depth: int) -> None:
            specification = f"+{wanted}:{kept}"
            await git.run(
                "fetch",
                [*options, *self._filter, f"--depth={depth}", "--", url, specification],
                repository=repository,
                pass_fds=self._held,
                timeout=timeout,
            )

        try:
            await pull(commit, depth)
            return commit
        except GitFailed as refusal:
            if not _NOT_BY_ID.search(refusal.said) or not ref:
                raise
        # The reference moved since it was looked at, or the server hands out nothing by id.
        if exact:
            await pull(check_ref(ref), _ALL_OF_HISTORY)
            await git.run("update-ref", [kept, f"{commit}^{{commit}}"], repository=repository, pass_fds=self._held)
            return commit
        await pull(check_ref(ref), depth)
        return await self._commit_of(git, repository, kept)

    async def _commit_of(self, git: Git, repository: Path, ref: str) -> str:
        said = await git.run(
            "rev-parse",
            ["--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"],
            repository=repository,
            pass_fds=self._held,
        )
        return check_commit(said.decode().strip())

    async def _kept(self, git: Git) -> dict[str, str]:
        """What is known to be complete: what a kept reference points to, by the name of that."""
        said = await git.run(
            "for-each-ref",
            ["--format=%(refname) %(objectname)", "refs/kept/"],
            repository=self.path,
            pass_fds=self._held,
        )
        return dict(line.split(" ", 1) for line in said.decode().splitlines())

    async def _tidy(self, git: Git) -> None:
        loose = sum(1 for _ in self.path.glob("objects/??/*"))
        if loose > _MAX_LOOSE or sum(1 for _ in self.path.glob("objects/pack/*.pack")) > _MAX_PACKS:
            await git.run("repack", ["-a", "-d", "-q"], repository=self.path, pass_fds=self._held)
        if loose > _MAX_LOOSE:
            # Of commits that were made here and never pushed, since others were faster.
            await git.run("prune", ["--expire=now"], repository=self.path, pass_fds=self._held)

    def _clear(self) -> None:
        """Remove what a killed git left: its locks stop every later fetch, its temporary files only take room."""
        for left in (*self.path.parent.glob(".new-*"), *self.path.parent.glob(".old-*")):
            if left.stat().st_mtime < self._clock.now().timestamp() - 3600:
                shutil.rmtree(left, ignore_errors=True)
        if not self.path.exists():
            return
        stale = [*self.path.glob("*.lock"), *self.path.glob("refs/**/*.lock"), *self.path.glob("objects/pack/tmp_*")]
        for file in (*stale, *self.path.glob("shallow_*"), *self.path.glob("objects/pack/.tmp-*")):
            file.unlink(missing_ok=True)
        for quarantine in (*self.path.glob("objects/tmp_objdir-*"), *self.path.glob("objects/incoming-*")):
            shutil.rmtree(quarantine, ignore_errors=True)


def _lock(path: Path) -> IO[str] | None:
    """The lock file `path`, locked; None while somebody else has it. Whoever removes a mirror removes it as well."""
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(path.open("a"))
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                opened.pop_all()
                return file
    return None


def _parse(listed: bytes) -> Listing:
    files: list[Blob] = []
    left_out: list[str] = []
    submodules: list[Submodule] = []
    for line in listed.split(b"\0")[:-1]:
        head, _, name = line.partition(b"\t")
        mode, _, oid, size = head.decode().split()
        path = check_path(name)
        if path is not None and mode == _SUBMODULE:
            submodules.append(Submodule(path, oid))
        elif path is None or mode in (_LINK, _SUBMODULE):
            left_out.append(path or ascii(name.decode(errors="backslashreplace"))[1:-1])
        elif mode in (_FILE, _PROGRAM, "100664"):
            if not size.isdecimal():
                raise GitFailed("ls-tree", f"object {oid} of {path!a} is missing or damaged")
            files.append(Blob(path, oid, int(size), mode == _PROGRAM))
        else:
            raise HostilePath(f"{path!a} has the mode {mode}")
    return Listing(files, left_out, submodules)


def check_path(name: bytes) -> str | None:
    """The path as text; None if it is not text, which nobody can refer to. Raises HostilePath."""
    parts = name.split(b"/")
    if len(name) > MAX_PATH_BYTES or len(parts) > MAX_DEPTH:
        raise HostilePath(
            f"{name[:80]!a}… is longer than {MAX_PATH_BYTES} bytes or deeper than {MAX_DEPTH} directories"
        )
    if (
        b"//" in name
        or name[:1] == b"/"
        or any(part in (b"", b".", b"..") or part.lower() == b".git" for part in parts)
    ):
        raise HostilePath(f"{name[:200]!a} is not a plain path")
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


def _batches(sizes: dict[str, int]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for oid, more in sizes.items():
        if batch and size + more > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(oid)
        size += more
    if batch:
        yield batch


def _split(said: bytes, oids: Sequence[str], sizes: dict[str, int]) -> list[tuple[str, memoryview]]:
    found: list[tuple[str, memoryview]] = []
    view = memoryview(said)
    at = 0
    for oid in oids:
        head = b"%b blob %d\n" % (oid.encode(), sizes[oid])
        start, end = at + len(head), at + len(head) + sizes[oid]
        if said[at:start] != head or said[end : end + 1] != b"\n":
            raise GitFailed("cat-file", f"object {oid} is not what it was")
        found.append((oid, view[start:end]))
        at = end + 1
    return found
