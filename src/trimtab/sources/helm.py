"""A repository of charts on a web server: look at its index cheaply, keep it with its catalogue, pull charts of it."""

import asyncio
import hashlib
import io
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from yarl import URL

from trimtab.api.helm import HelmRepositorySpec
from trimtab.api.source import LONGEST_TIMEOUT_S
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree
from trimtab.base.errors import Terminal, Transient
from trimtab.remotes.helm import catalogue as catalogues
from trimtab.remotes.helm import reading
from trimtab.remotes.helm.address import parse_address
from trimtab.remotes.helm.catalogue import Catalogue
from trimtab.remotes.helm.index import BadIndex
from trimtab.remotes.helm.repository import Access, ChartPullFailed, ChartRepository, IndexationFailed, Validators
from trimtab.remotes.outbound import Outbound
from trimtab.sources.charts.chart import MAX_BYTES, unpack
from trimtab.sources.charts.metadata import BadChart

__all__ = ["INDEX_FILE", "Access", "HelmSource", "HelmSpec", "Looked", "Pulled", "Validators"]

INDEX_FILE: Final = "index.yaml"
_CATALOGUE_FILE = "catalogue.json"
_CONCURRENT_LOOKS = 4
_CONCURRENT_READS = 2  # each may need a processor and some hundred MiB
_CONCURRENT_PULLS = 8
_WAIT_S = 600.0  # for others that hold the slots; each of them has its own timeout
_CATALOGUE_BYTES = 64 << 20  # of all that are kept in memory
_MOST_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class HelmSpec:
    """Where a repository is. `timeout_s` bounds one look and one pull, each."""

    url: URL
    timeout_s: float = 60.0

    @classmethod
    def from_api(cls, spec: HelmRepositorySpec) -> "HelmSpec":
        """Read a HelmRepository's spec. Raises Terminal (URLInvalid) for what is wrong."""
        try:
            timeout_s = spec.timeout_s
        except ValueError as problem:
            raise Terminal("URLInvalid", f"spec.timeout: {problem}") from problem
        return cls(parse_address(spec.url), timeout_s)

    @property
    def bound_s(self) -> float:
        """`timeout_s`, as far as it is served."""
        return min(self.timeout_s, LONGEST_TIMEOUT_S)


class Looked(NamedTuple):
    """The index as it is now. `archive` is its content (SHA-256), `left_out` says what in it is of no use."""

    snapshot: Snapshot
    archive: str
    validators: Validators
    left_out: str = ""


class Pulled(NamedTuple):
    """A chart as it came: its files below one directory, and the archive itself, as a content of the store."""

    tree: Tree
    archive: str


class HelmSource:
    """Looks at repositories and pulls charts from them. One per process: it keeps catalogues that are in use."""

    def __init__(self, store: Store, out: Outbound) -> None:
        self._store = store
        self._repositories = ChartRepository(out)
        self._looks = asyncio.Semaphore(_CONCURRENT_LOOKS)
        self._reads = asyncio.Semaphore(_CONCURRENT_READS)
        self._pulls = asyncio.Semaphore(_CONCURRENT_PULLS)
        self._catalogues: OrderedDict[str, tuple[Catalogue, int]] = OrderedDict()
        self._trees: OrderedDict[str, Tree] = OrderedDict()

    async def look(self, spec: HelmSpec, access: Access, held: Snapshot | None, known: Validators | None) -> Looked:
        """The index of the repository; one small request if it is the one in `held`, called `known` by the server.

        Raises Transient (IndexationFailed, AuthenticationFailed) and Terminal (URLInvalid).
        """
        entry = held.tree.get(INDEX_FILE) if held is not None and await self._is_whole(held.tree) else None
        async with _in_time(spec, self._looks, IndexationFailed):
            fetched = await self._repositories.index(spec.url, access, known if entry is not None else None)
        if fetched is None:
            assert held is not None  # noqa: S101 - else nothing was known that could have stayed
            assert entry is not None  # noqa: S101
            return Looked(held, entry.sha256, known or Validators(), "")
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(fetched.data).hexdigest())
        if held is not None and entry is not None and entry.sha256 == sha256:
            return Looked(held, sha256, fetched.validators, "")
        async with self._reads:
            snapshot = await self._read(spec, sha256, fetched.data)
        return await self._looked(snapshot, fetched.validators)

    async def _read(self, spec: HelmSpec, sha256: str, data: bytes) -> Snapshot:
        # Many namespaces have an object for the same public repository: its index is read once.
        if (tree := self._trees.get(sha256)) is not None and await self._is_whole(tree):
            return Snapshot(self._store, tree, f"sha256:{sha256}")
        try:
            read = await reading.read(data)
            snapshot = await asyncio.to_thread(self._keep, data, read)
        except BadIndex as problem:
            raise IndexationFailed(f"{spec.url.with_query(None)}: the index is refused: {problem}") from problem
        except OSError as problem:
            raise Transient(
                "StorageOperationFailed", f"the index of {spec.url.with_query(None)} cannot be kept: {problem}"
            ) from problem
        self._trees[sha256] = snapshot.tree
        while len(self._trees) > _MOST_REMEMBERED:
            self._trees.popitem(last=False)
        return snapshot

    async def _looked(self, snapshot: Snapshot, validators: Validators) -> Looked:
        found = await self.catalogue(snapshot)
        left_out = f"{found.left_out} entries of the index, such as {found.example}" if found.left_out else ""
        return Looked(snapshot, snapshot.revision.removeprefix("sha256:"), validators, left_out)

    async def catalogue(self, index: Snapshot) -> Catalogue:
        """The charts in an index that was looked at. Raises Corrupt."""
        digest = index.tree.digest
        if (known := self._catalogues.get(digest)) is not None:
            self._catalogues.move_to_end(digest)
            return known[0]
        data = await asyncio.to_thread(index.read, _CATALOGUE_FILE)
        found = catalogues.decode(data)
        self._catalogues[digest] = (found, len(data))
        while len(self._catalogues) > 1 and sum(size for _, size in self._catalogues.values()) > _CATALOGUE_BYTES:
            self._catalogues.popitem(last=False)
        return found

    async def pull(self, spec: HelmSpec, access: Access, entry: catalogues.Entry, where: str) -> Pulled:
        """The chart of `entry` of the index, checked against the digest in it if there is one.

        Raises Transient (ChartPullError, AuthenticationFailed) and Terminal (URLInvalid).
        """
        file = io.BytesIO()
        async with _in_time(spec, self._pulls, ChartPullFailed):
            sha256 = await self._repositories.chart(spec.url, access, entry.url, file, MAX_BYTES, what=where)
        if entry.digest and entry.digest != sha256:
            raise ChartPullFailed(
                f"{where}: what came has the digest {sha256}, and the index promises {ascii(entry.digest)[1:-1]}; "
                "nothing of it is used"
            )
        try:
            tree = await asyncio.to_thread(unpack, self._store, file.getvalue(), where)
            archive = await asyncio.to_thread(self._store.put, file.getbuffer())
        except BadChart as problem:
            raise ChartPullFailed(f"{problem}; nothing of it is used") from problem
        except OSError as problem:
            raise Transient("StorageOperationFailed", f"{where} cannot be kept: {problem}") from problem
        return Pulled(tree, archive)

    def _keep(self, data: bytes, read: bytes) -> Snapshot:
        entries = [Entry(name, self._store.put(part), len(part)) for name, part in _named(data, read)]
        tree = Tree.of(entries)
        self._store.save(tree)
        [index] = (entry for entry in entries if entry.path == INDEX_FILE)
        return Snapshot(self._store, tree, f"sha256:{index.sha256}")

    async def _is_whole(self, index: Tree) -> bool:
        """Whether the contents are here still: asked for, so that one that was lost is fetched again."""
        wanted = {entry.sha256: entry.size for entry in index.entries}
        return len(index.entries) == 2 and await asyncio.to_thread(self._store.keep_all, wanted.items()) == set(wanted)


def _named(data: bytes, read: bytes) -> tuple[tuple[str, bytes], ...]:
    return ((INDEX_FILE, data), (_CATALOGUE_FILE, read))


@asynccontextmanager
async def _in_time(
    spec: HelmSpec, slots: asyncio.Semaphore, failed: type[IndexationFailed] | type[ChartPullFailed]
) -> AsyncIterator[None]:
    """Wait for a slot, and give up on the repository after the time that the object allows."""
    seconds = _WAIT_S + spec.bound_s
    try:
        async with asyncio.timeout(seconds), slots:
            seconds = spec.bound_s
            async with asyncio.timeout(seconds):
                yield
    except TimeoutError as problem:
        raise failed(
            f"{spec.url.with_query(None)}: not done after {seconds:g} s (spec.timeout of the HelmRepository bounds it)"
        ) from problem
