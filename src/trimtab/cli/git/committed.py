"""Commits of the repository a command is called in, as files: read from its objects, without a checkout or any hook."""

import contextlib
import os
import re
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree, without_collisions
from trimtab.base.clock import SystemClock
from trimtab.base.process import OutputTooLarge, ProcessTimeout
from trimtab.cli.connect import Code, Failure
from trimtab.remotes.git.git import Git, GitFailed, hardened
from trimtab.remotes.git.mirror import HostilePath, Listing, Mirror
from trimtab.remotes.git.names import COMMIT
from trimtab.sources.ignore import IGNORE_FILE, rules

_LONGEST_NAME: Final = 250
_MAX_BYTES: Final = 256 << 20
_MAX_FILES: Final = 200_000
_CONTENTS_S: Final = 120.0
_POINTER_BYTES: Final = 4_096
_NAMED: Final = re.compile(r"[^~^@{}:\\?*\[]+")
"""A name as such, without anything that git reckons with."""
_SHOWN: Final = 12
_AMID: Final = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")
_TROUBLE: Final = (GitFailed, ProcessTimeout, OutputTooLarge, HostilePath)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of git's on this machine: its work tree, and where its objects and references are."""

    root: Path
    git_dir: Path

    @classmethod
    def of(cls, path: Path) -> "Repository | None":
        """The repository that `path` is in; None if it is in none. Raises Failure for a damaged one."""
        path = path.resolve()
        for above in (path, *path.parents):
            place = above / ".git"
            if place.is_dir():
                return cls(above, place)
            if place.is_file():
                return cls(above, _pointed(place))
        return None

    @property
    def amid(self) -> bool:
        """Whether a merge or the like is in progress."""
        return any((self.git_dir / mark).exists() for mark in _AMID)


@contextlib.asynccontextmanager
async def commits(repository: Repository, work_dir: Path) -> AsyncIterator["Commits"]:
    """Reads commits of `repository`; what is read is kept below `work_dir`, which is private."""
    async with hardened(work_dir / "git") as git:
        yield Commits(repository, git, Store(work_dir / "commits"))


@dataclass(frozen=True, slots=True)
class Commits:
    """The commits of one repository."""

    repository: Repository
    git: Git
    store: Store

    async def find(self, name: str, option: str) -> str:
        """The id of the commit that `name`, given as `option`, means. Raises Failure."""
        check_name(name, option)
        if _NAMED.fullmatch(name) and not COMMIT.fullmatch(name):
            await self._refuse_ambiguous(name, option)
        try:
            said = await self._ask("rev-parse", ["--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"])
        except GitFailed:
            way_out = "git fetch brings what is only in the remote, and a shallow clone has no past"
            words = f"{option} {name!a}: there is no such commit in {self.repository.root}; {way_out}"
            raise Failure(Code.WRONG, words) from None
        except _TROUBLE as problem:
            raise self._failed(problem) from problem
        return said.decode().strip()

    async def files(self, commit: str, *, below: str = "") -> Snapshot:
        """What is in `commit` below a directory, but for what a source leaves out of its artifact. Raises Failure."""
        prefix = f"{below}/" if below else ""
        mirror = Mirror(self.repository.git_dir, SystemClock())
        try:
            listing = _within(await mirror.files(self.git, commit), prefix)
            own = next((blob for blob in listing.files if blob.path == IGNORE_FILE), None)
            rule = b""
            if own is not None and own.size <= _MAX_BYTES:
                async for batch in mirror.contents(self.git, {own.oid: own.size}, timeout=_CONTENTS_S):
                    rule = bytes(batch[0][1])
            ignored = rules(None, rule).excludes
            blobs = [blob for blob in listing.files if not ignored(blob.path)]
            if len(blobs) > _MAX_FILES or sum(blob.size for blob in blobs) > _MAX_BYTES:
                words = f"more than {_MAX_FILES} files or {_MAX_BYTES >> 20} MiB: {IGNORE_FILE} leaves some out"
                raise Failure(Code.WRONG, f"commit {commit[:_SHOWN]} of {self.repository.root} has {words}")
            kept: dict[str, str] = {}
            async for batch in mirror.contents(self.git, {blob.oid: blob.size for blob in blobs}, timeout=_CONTENTS_S):
                oids = [oid for oid, _ in batch]
                kept |= dict(zip(oids, self.store.put_all([data for _, data in batch]), strict=True))
        except _TROUBLE as problem:
            raise self._failed(problem) from problem
        entries, collided = without_collisions(
            Entry(blob.path, kept[blob.oid], blob.size, blob.executable) for blob in blobs
        )
        left_out = [*listing.left_out, *(one.path for one in listing.submodules), *collided]
        return Snapshot(self.store, Tree.of(entries, left_out), commit)

    async def refuse_conflicts(self) -> None:
        """Raise Failure where a merge has left files with conflicts in the work tree: they are nobody's wish yet."""
        try:
            said = await self._ask("ls-files", ["--unmerged", "-z", "--full-name"])
        except _TROUBLE as problem:
            raise self._failed(problem) from problem
        paths = sorted({line.partition(b"\t")[2].decode(errors="replace") for line in said.split(b"\0") if line})
        if paths:
            words = "a merge is in progress, and these files have conflicts"
            raise Failure(
                Code.WRONG,
                f"{self.repository.root}: {words}: {', '.join(map(ascii, paths[:_SHOWN]))}: resolve them, or name a "
                "commit with --head",
            )

    async def _refuse_ambiguous(self, name: str, option: str) -> None:
        """A name that is a branch and a tag is refused: git would choose the tag, and say so where nobody looks."""
        places = [f"refs/{kind}/{name}" for kind in ("heads", "tags", "remotes")]
        try:
            said = await self._ask("for-each-ref", ["--format=%(refname) %(objectname)", "--", *places])
        except _TROUBLE as problem:
            raise self._failed(problem) from problem
        pairs = (line.rsplit(" ", 1) for line in said.decode(errors="replace").splitlines())
        # a name also stands for everything below it, as a directory does
        found = {ref: oid for ref, oid in pairs if ref in places}
        if len(set(found.values())) > 1:
            words = " and ".join(sorted(found))
            raise Failure(Code.WRONG, f"{option} {name!a} is ambiguous, it names {words}: write one of them")

    async def _ask(self, verb: str, arguments: list[str]) -> bytes:
        return await self.git.run(verb, arguments, repository=self.repository.git_dir)

    def _failed(self, problem: Exception) -> Failure:
        return Failure(Code.WRONG, f"{self.repository.root}: {problem}")


def _within(listing: Listing, prefix: str) -> Listing:
    """What is below the directory `prefix`, as seen from there."""
    if not prefix:
        return listing
    cut = len(prefix)
    return Listing(
        [blob._replace(path=blob.path[cut:]) for blob in listing.files if blob.path.startswith(prefix)],
        [path[cut:] for path in listing.left_out if path.startswith(prefix)],
        [one._replace(path=one.path[cut:]) for one in listing.submodules if one.path.startswith(prefix)],
    )


def check_name(name: str, option: str) -> None:
    """Refuse what git could take for something else than the name of a commit. Raises Failure."""
    if not name or len(name.encode(errors="surrogatepass")) > _LONGEST_NAME:
        raise Failure(Code.WRONG, f"{option}: a commit's name has 1 to {_LONGEST_NAME} bytes")
    if name.startswith("-"):
        raise Failure(Code.WRONG, f"{option} {name!a} looks like an option: name a commit, a branch or a tag")
    if ":" in name or ".." in name or any(unicodedata.category(letter)[0] in "CZ" for letter in name):
        raise Failure(Code.WRONG, f"{option} {name!a} is not the name of one commit")


def _pointed(file: Path) -> Path:
    """Where the repository of a linked work tree or a submodule is."""
    with file.open("rb") as stream:
        words = os.fsdecode(stream.read(_POINTER_BYTES)).strip()
    prefix, _, place = words.partition(": ")
    target = (file.parent / place).resolve()
    if prefix != "gitdir" or not target.is_dir():
        raise Failure(Code.WRONG, f"{file} does not lead to a repository")
    return target
