"""Bases in other repositories: fetched by our own git, where the operator allows it, and laid beside the artifact."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec

from trimtab.api import names
from trimtab.api.kustomize import Kustomization
from trimtab.api.kustomizestatus import FetchedBase
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.tree import Tree
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.manifests.refs import Key
from trimtab.remotes.git.address import parse_address
from trimtab.remotes.git.names import COMMIT
from trimtab.render.closure import Closure
from trimtab.render.options import Options
from trimtab.render.remote import DIRECTORY, RemoteBase, Unfetched, allowed
from trimtab.sources.checkout import MAX_BYTES, MAX_FILES
from trimtab.sources.git import ANONYMOUS, GitSource, GitSpec, Head
from trimtab.sources.targets import Branch, Commit, Name, Tag, Target

MOST_BASES = 32
"""Of one app. More are more likely a cycle of repositories than anybody's intention."""
_TIMEOUT_S = 60.0
_TIDY_EVERY_S = 3600.0

Read = Callable[[Snapshot, Options], Closure]


class Gathered(NamedTuple):
    """What an app is built of: its artifact with the fetched repositories in it, and what they are."""

    snapshot: Snapshot
    options: Options
    closure: Closure
    bases: tuple[FetchedBase, ...]


@dataclass(frozen=True, slots=True)
class _Repository:
    """A repository as it was at `looked_at` (monotonic seconds)."""

    snapshot: Snapshot
    commit: str
    looked_at: float


@dataclass(slots=True)
class _Known:
    """Of one app: what it needed last, at which request it looked, and what was laid together for it."""

    wanted: dict[str, RemoteBase] = field(default_factory=dict)
    requested_at: str = ""
    laid: tuple[tuple[str, ...], Snapshot] | None = None


class Bases:
    """Fetches what kustomizations name in other repositories. One per process.

    `patterns` are addresses of repositories that may be fetched, `https://host/owner/*` for many. They are fetched as
    anybody can: no credentials are used.
    """

    def __init__(self, source: GitSource, patterns: tuple[str, ...], clock: Clock) -> None:
        self._source = source
        self._patterns = patterns
        self._clock = clock
        self._repositories: dict[tuple[str, str], _Repository] = {}
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._apps: dict[Key, _Known] = {}

    def trees(self) -> Iterator[str]:
        """The digests of the trees that are in use."""
        return (one.snapshot.tree.digest for one in self._repositories.values())

    def forget(self, key: Key) -> None:
        """An app is gone; so is what only it needed."""
        self._apps.pop(key, None)
        self._drop_unused()

    def uses(self, key: Key) -> bool:
        """Whether the app was built of anything from elsewhere: that may change, and tells nobody."""
        return key in self._apps

    def _drop_unused(self) -> None:
        used = {(base.url, base.ref) for app in self._apps.values() for base in app.wanted.values()}
        for name in self._repositories.keys() - used:
            del self._repositories[name]

    async def tidy(self) -> None:
        """Remove, until cancelled, the mirrors of repositories that nobody has used for long."""
        while True:
            await self._source.sweep()
            await self._clock.sleep(_TIDY_EVERY_S)

    async def gather(self, ks: Kustomization, snapshot: Snapshot, options: Options, read: Read) -> Gathered:
        """Find what `ks` needs by `read`ing it, and fetch that. Looks for new commits once in the app's interval.

        Raises Unfetched for what is not allowed, and what `read`, GitSource.look and GitSource.fetch raise.
        """
        app = self._apps.get(ks.key) or _Known()
        after = self._clock.monotonic() - ks.spec.interval_s
        if app.requested_at != ks.metadata.requested_at:
            after = self._clock.monotonic()
        # What was needed last is needed still, most likely; but nothing is fetched for that alone.
        wanted = app.wanted if all(self._is_fresh(base, after) for base in app.wanted.values()) else {}
        while True:
            found = {reference: await self._fetched(base, after) for reference, base in wanted.items()}
            files = self._laid(app, snapshot, wanted, found)
            homes = tuple(sorted((reference, _place(base)) for reference, base in wanted.items()))
            worked_in = msgspec.structs.replace(options, remotes=homes)
            try:
                closure = read(files, worked_in)
            except Unfetched as missing:
                if not allowed(missing.base, self._patterns):
                    raise
                if len(wanted) >= MOST_BASES:
                    raise Terminal(
                        names.Reason.BUILD_FAILED,
                        f"{missing.where}: more than {MOST_BASES} bases in other repositories",
                    ) from missing
                wanted = {**wanted, missing.reference: missing.base}
                continue
            except Terminal as failure:
                if not wanted:
                    raise
                # Somebody elsewhere may mend it, and nobody will tell.
                raise Transient(failure.reason, failure.message, hopeless=True) from failure
            used = {
                reference: base
                for reference, base in wanted.items()
                if any(path.startswith(f"{base.home}/") for path in closure.files)
            }
            if used == wanted:
                break
            wanted = used
        app.wanted, app.requested_at = wanted, ks.metadata.requested_at
        if wanted:
            self._apps[ks.key] = app
            self._drop_unused()
        elif ks.key in self._apps:
            self.forget(ks.key)
        told = {FetchedBase(url=base.url, ref=base.ref, commit=found[ref].commit) for ref, base in wanted.items()}
        return Gathered(files, worked_in, closure, tuple(sorted(told, key=lambda one: (one.url, one.ref))))

    def _is_fresh(self, base: RemoteBase, after: float) -> bool:
        known = self._repositories.get((base.url, base.ref))
        return known is not None and known.looked_at >= after

    async def _fetched(self, base: RemoteBase, after: float) -> _Repository:
        name = (base.url, base.ref)
        lock = self._locks.setdefault(name, asyncio.Lock())
        async with lock:  # one look for all who wait, and no older answer after a newer one
            return await self._looked(base, name, after)

    async def _looked(self, base: RemoteBase, name: tuple[str, str], after: float) -> _Repository:
        known = self._repositories.get(name)
        if known is not None and known.looked_at >= after:
            return known
        if known is not None and not await asyncio.to_thread(known.snapshot.is_whole):
            known = None
        began = self._clock.monotonic()
        spec, head = await self._look(base)
        if known is not None and known.commit == head.commit:
            repository = replace(known, looked_at=began)
        else:
            snapshot = await self._source.fetch(spec, ANONYMOUS, head, known.snapshot.tree if known else None)
            repository = _Repository(snapshot, snapshot.revision.rpartition(":")[2], began)
        self._repositories[name] = repository
        return repository

    async def _look(self, base: RemoteBase) -> tuple[GitSpec, Head]:
        """The repository at its reference; which may be a tag or a branch, and nobody says which."""
        *others, last = _targets(base.ref)
        address = parse_address(base.url)
        for target in others:
            spec = GitSpec(address, target, timeout_s=_TIMEOUT_S)
            try:
                return spec, await self._source.look(spec)
            except Transient:
                continue
        spec = GitSpec(address, last, timeout_s=_TIMEOUT_S)
        return spec, await self._source.look(spec)

    def _laid(
        self, app: _Known, own: Snapshot, wanted: Mapping[str, RemoteBase], found: Mapping[str, _Repository]
    ) -> Snapshot:
        """`own` with the repositories in it, each in its home."""
        if not wanted:
            app.laid = None
            return own
        homes = {base.home: found[reference] for reference, base in wanted.items()}
        made_of = (own.tree.digest, *(f"{home} {one.snapshot.tree.digest}" for home, one in sorted(homes.items())))
        if app.laid is None or app.laid[0] != made_of:
            app.laid = (made_of, _laid(own, {home: one.snapshot.tree for home, one in homes.items()}))
        return replace(app.laid[1], revision=own.revision)


def _targets(ref: str) -> tuple[Target, ...]:
    if not ref:
        return (Name("HEAD"),)
    return (Commit(ref, ""),) if COMMIT.fullmatch(ref) else (Tag(ref), Branch(ref))


def _place(base: RemoteBase) -> str:
    return f"{base.home}/{base.path}".rstrip("/")


def _laid(own: Snapshot, homes: Mapping[str, Tree]) -> Snapshot:
    if own.tree.has_directory(DIRECTORY):
        raise Terminal(
            names.Reason.BUILD_FAILED, f"the artifact has a directory {DIRECTORY}, where remote bases go: rename it"
        )
    entries, left_out = [*own.tree.entries], [*own.tree.left_out]
    for home, tree in homes.items():
        entries += [entry._replace(path=f"{home}/{entry.path}") for entry in tree.entries]
        left_out += [f"{home}/{path}" for path in tree.left_out]
    size = sum(entry.size for entry in entries)
    if len(entries) > MAX_FILES or size > MAX_BYTES:
        raise Terminal(
            names.Reason.BUILD_FAILED,
            f"with the bases of other repositories there are {len(entries)} files of {size} bytes; the limits are "
            f"{MAX_FILES} and {MAX_BYTES}",
        )
    return Snapshot(own.store, Tree.of(entries, left_out), own.revision)
