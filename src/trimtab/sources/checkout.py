"""From a commit in a mirror to files in the store: what is wanted, within limits, and nothing read twice."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree, without_collisions
from trimtab.base.errors import Transient
from trimtab.remotes.git import modules
from trimtab.remotes.git.address import Address
from trimtab.remotes.git.git import Git
from trimtab.remotes.git.mirror import MAX_DEPTH, MAX_PATH_BYTES, Blob, HostilePath, Listing, Mirror, Submodule
from trimtab.sources.ignore import IGNORE_FILE, Rules, rules

MAX_BYTES = 100 << 20
MAX_FILES = 50_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What of a commit is wanted, and where it goes.

    `prefix` is the directory it goes to, with a slash at its end; `ignored` the rules of the whole where this is only a
    part of it; `before` are the files that are there already; `previous` saves reading again what it has.
    """

    address: Address
    timeout_s: float
    ignore: str | None = None
    directories: tuple[str, ...] = ()
    submodules: bool = False
    prefix: str = ""
    ignored: Rules | None = None
    before: tuple[Entry, ...] = ()
    previous: Tree | None = None


class Part(NamedTuple):
    """What came of one commit. The paths of `submodules` are those within their own repository."""

    entries: list[Entry]
    left_out: list[str]
    submodules: list[Submodule]
    modules: bytes
    ignored: Rules


class Checkout:
    """Commits as files in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def part(self, git: Git, mirror: Mirror, commit: str, wish: Wish) -> Part:
        """The wanted files of `commit`, which are in the store then.

        Raises GitFailed if something is missing, HostilePath, and Transient for what is beyond the limits.
        """
        listing = await mirror.files(git, commit)
        ignored = wish.ignored
        if ignored is None:
            own = await self._special(git, mirror, listing, IGNORE_FILE, wish, commit)
            ignored = await asyncio.to_thread(rules, wish.ignore, own)
        declared = b""
        if wish.submodules and listing.submodules:
            declared = await self._special(git, mirror, listing, modules.FILE, wish, commit)
        listing = await asyncio.to_thread(_selected, listing, wish, ignored)
        known = await asyncio.to_thread(self._known, listing.files, wish.previous)
        size = sum(blob.size for blob in listing.files) + sum(entry.size for entry in wish.before)
        within_limits(wish.address, commit, size, len(listing.files) + len(wish.before))
        sizes = {blob.oid: blob.size for blob in listing.files if blob.oid not in known}
        async for batch in mirror.contents(git, sizes, timeout=wish.timeout_s):
            known |= await asyncio.to_thread(self._keep, batch)
        entries = [
            Entry(wish.prefix + blob.path, *known[blob.oid], blob.executable, blob.oid) for blob in listing.files
        ]
        return Part(entries, [wish.prefix + path for path in listing.left_out], listing.submodules, declared, ignored)

    def assemble(self, parts: Iterable[Part]) -> Tree:
        """All parts as one tree, saved. Blocks shortly."""
        parts = list(parts)
        kept, collided = without_collisions(entry for part in parts for entry in part.entries)
        tree = Tree.of(kept, [*(path for part in parts for path in part.left_out), *collided])
        self._store.save(tree)
        return tree

    async def _special(self, git: Git, mirror: Mirror, listing: Listing, name: str, wish: Wish, commit: str) -> bytes:
        """The file `name` in the root; empty where there is none."""
        own = next((blob for blob in listing.files if blob.path == name), None)
        content = b""
        if own is not None:
            within_limits(wish.address, commit, own.size, 1)
            async for batch in mirror.contents(git, {own.oid: own.size}, timeout=wish.timeout_s):
                content = bytes(batch[0][1])
        return content

    def _known(self, blobs: list[Blob], previous: Tree | None) -> dict[str, tuple[str, int]]:
        """By git id, the contents that are in the store already: SHA-256 and size."""
        if previous is None:
            return {}
        wanted = {blob.oid for blob in blobs}
        had = {entry.hint: (entry.sha256, entry.size) for entry in previous.entries if entry.hint in wanted}
        here = self._store.keep_all(had.values())
        return {oid: content for oid, content in had.items() if content[0] in here}

    def _keep(self, batch: list[tuple[str, memoryview]]) -> dict[str, tuple[str, int]]:
        kept = self._store.put_all([data for _, data in batch])
        return {oid: (sha256, len(data)) for sha256, (oid, data) in zip(kept, batch, strict=True)}


def within_limits(address: Address, commit: str, size: int, files: int) -> None:
    """Raise Transient for more than an artifact may have."""
    if files > MAX_FILES:
        raise refused(address, commit, f"{files} files; the limit is {MAX_FILES}. Leave some out by spec.ignore")
    if size > MAX_BYTES:
        raise refused(
            address, commit, f"{size} bytes of files; the limit is {MAX_BYTES}. Leave some out by spec.ignore"
        )


def refused(address: Address, commit: str, why: str) -> Transient:
    """A commit that is not used for what it is. The next one may be better, so this is looked at again."""
    return Transient("GitOperationFailed", f"{address}: commit {commit} is refused: {why}")


def _selected(listing: Listing, wish: Wish, ignored: Rules) -> Listing:
    """What of a commit is wanted."""
    inside = tuple(f"{directory}/" for directory in wish.directories)

    def wanted(path: str) -> bool:
        path = wish.prefix + path
        return (not inside or path.startswith(inside)) and not ignored.excludes(path)

    def entered(path: str) -> bool:
        """Whether something in the directory `path` may be wanted."""
        path = f"{wish.prefix}{path}/"
        apart = inside and not any(path.startswith(one) or one.startswith(path) for one in inside)
        return not apart and (ignored.negates or not ignored.excludes(f"{path}x"))

    submodules = [one for one in listing.submodules if entered(one.path)]
    if wish.prefix:
        _within_depth(wish.prefix, [*(blob.path for blob in listing.files), *(one.path for one in submodules)])
    left_out = [*filter(wanted, listing.left_out)]
    if not wish.submodules:
        left_out += [one.path for one in listing.submodules if wanted(one.path)]
        submodules = []
    return Listing([blob for blob in listing.files if wanted(blob.path)], left_out, submodules)


def _within_depth(prefix: str, paths: Iterable[str]) -> None:
    depth, size = prefix.count("/"), len(prefix.encode())
    for path in paths:
        if path.count("/") + depth >= MAX_DEPTH or len(path.encode()) + size > MAX_PATH_BYTES:
            raise HostilePath(
                f"{(prefix + path)[:80]!a}… is longer than {MAX_PATH_BYTES} bytes or deeper than {MAX_DEPTH} "
                "directories"
            )
