"""A source in a bucket: list it, take what is new, and keep it as a snapshot."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from trimtab.api.bucket import BucketSpec
from trimtab.api.source import LONGEST_TIMEOUT_S
from trimtab.artifacts.archive import DEFAULT_LIMITS
from trimtab.artifacts.paths import Paths
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree, without_collisions
from trimtab.base.abreast import abreast
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.remotes.outbound import AuthenticationFailed, Outbound, Way
from trimtab.remotes.s3.listing import Object
from trimtab.remotes.s3.place import Place, parse_place
from trimtab.remotes.s3.sigv4 import Keys
from trimtab.remotes.s3.storage import Access, BucketFailed, Changed, Storage
from trimtab.remotes.s3.sts import KeyMaker, Ldap, parse_endpoint
from trimtab.sources.ignore import IGNORE_FILE, MAX_BYTES, rules

__all__ = [
    "Access",
    "AuthenticationFailed",
    "BucketFailed",
    "BucketSource",
    "Keys",
    "Ldap",
    "Wanted",
    "Way",
    "parse_endpoint",
]

_CONCURRENT_FETCHES = 2
_AT_ONCE = 8
_WAIT_S = 600.0  # for others that hold the slots; each of them has its own timeout
_TRIES = 3
_IGNORES_REMEMBERED = 64  # of 256 KiB each


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to take from which bucket. `timeout_s` bounds one list and one fetch, each."""

    place: Place
    prefix: str = ""
    ignore: str | None = None
    timeout_s: float = 60.0

    @classmethod
    def from_api(cls, spec: BucketSpec) -> "Wanted":
        """Read a Bucket's spec. Raises Terminal (URLInvalid) for what is wrong."""
        try:
            timeout_s = spec.timeout_s
        except ValueError as problem:
            raise Terminal("URLInvalid", f"spec.timeout: {problem}") from problem
        place = parse_place(spec.endpoint, spec.bucket_name, region=spec.region, insecure=spec.insecure)
        return cls(place, spec.prefix, spec.ignore, timeout_s)

    @property
    def bound_s(self) -> float:
        """`timeout_s`, as far as it is served."""
        return min(self.timeout_s, LONGEST_TIMEOUT_S)


class _Chosen(NamedTuple):
    """What of a list goes into the artifact, and the revision that follows from it."""

    objects: Sequence[Object]
    left_out: Sequence[str]
    revision: str


class BucketSource:
    """Looks at buckets and takes from them. One per process: it knows the servers."""

    def __init__(self, store: Store, out: Outbound, clock: Clock) -> None:
        self._store = store
        self._storage = Storage(out, clock)
        self._makers = KeyMaker(out, clock)
        self._slots = asyncio.Semaphore(_CONCURRENT_FETCHES)
        self._ignores: dict[str, bytes] = {}

    async def keys(self, who: Ldap, way: Way) -> Keys:
        """Keys for a while. Raises Transient (AuthenticationFailed) and Terminal (URLInvalid)."""
        return await self._makers.keys(who, way)

    async def take(self, wanted: Wanted, access: Access, held: Snapshot | None) -> Snapshot:
        """What the bucket holds now; `held` itself, for the price of the list, if that is still the same.

        Only what `held` does not have is fetched. Raises Transient (BucketOperationFailed, AuthenticationFailed) and
        Terminal (URLInvalid); there is never a partial snapshot.
        """
        tries = _TRIES
        while True:
            try:
                async with _bounded(wanted, wanted.bound_s):
                    chosen = await self._look(wanted, access, held)
                if held is not None and held.revision == chosen.revision:
                    return held
                wait_s = _WAIT_S + wanted.bound_s
                async with _bounded(wanted, wait_s), self._slots, _bounded(wanted, wanted.bound_s):
                    return await self._fetch(wanted, access, chosen, held)
            except Changed:
                # Somebody writes to it just now: what was listed is worth nothing any more.
                tries -= 1
                if not tries:
                    raise

    async def _look(self, wanted: Wanted, access: Access, held: Snapshot | None) -> _Chosen:
        objects = await self._storage.objects(wanted.place, access, wanted.prefix)
        ignore = next((one for one in objects if one.key == IGNORE_FILE), None)
        if ignore is None and not IGNORE_FILE.startswith(wanted.prefix):
            # Of the whole bucket, as in Flux, and so it is not in this list.
            apart = await self._storage.objects(wanted.place, access, IGNORE_FILE)
            ignore = next((one for one in apart if one.key == IGNORE_FILE), None)
        ignore_file = await self._ignore_file(wanted, access, held, ignore) if ignore else b""
        return await asyncio.to_thread(_choose, wanted, objects, ignore, ignore_file)

    async def _ignore_file(self, wanted: Wanted, access: Access, held: Snapshot | None, ignore: Object) -> bytes:
        if ignore.size > MAX_BYTES:
            raise BucketFailed(f"{wanted.place}: {IGNORE_FILE} has {ignore.size} bytes; the limit is {MAX_BYTES}")
        entry = held.tree.get(IGNORE_FILE) if held else None
        if entry is not None and entry.hint != _hint(wanted, ignore):
            entry = None
        if entry is not None and await asyncio.to_thread(self._store.keep, entry.sha256, entry.size):
            return await asyncio.to_thread(self._store.read, entry.sha256)
        known = f"{access.identity} {_hint(wanted, ignore)}"
        if known not in self._ignores:
            content = await self._storage.get(wanted.place, access, ignore)
            if len(self._ignores) >= _IGNORES_REMEMBERED:
                self._ignores.clear()
            self._ignores[known] = content
        return self._ignores[known]

    async def _fetch(self, wanted: Wanted, access: Access, chosen: _Chosen, held: Snapshot | None) -> Snapshot:
        async def fetched(one: Object) -> Entry:
            content = await self._storage.get(wanted.place, access, one)
            sha256 = await asyncio.to_thread(self._store.put, content)
            return Entry(one.key, sha256, len(content), hint=_hint(wanted, one))

        try:
            kept = await asyncio.to_thread(self._still_good, wanted, chosen, held) if held else {}
            missing = [one for one in chosen.objects if one.key not in kept]
            entries = await abreast(fetched, missing, _AT_ONCE)
            tree = Tree.of([*kept.values(), *entries], chosen.left_out)
            await asyncio.to_thread(self._store.save, tree)
        except OSError as problem:
            raise Transient(
                "StorageOperationFailed", f"the files of {wanted.place} cannot be kept: {problem}"
            ) from problem
        return Snapshot(self._store, tree, chosen.revision)

    def _still_good(self, wanted: Wanted, chosen: _Chosen, held: Snapshot) -> dict[str, Entry]:
        """What of `held` is in the bucket as it was, and in the store."""
        now = {one.key: _hint(wanted, one) for one in chosen.objects}
        same = [entry for entry in held.tree.entries if entry.hint == now.get(entry.path)]
        here = self._store.keep_all((entry.sha256, entry.size) for entry in same)
        return {entry.path: entry for entry in same if entry.sha256 in here}


def _choose(wanted: Wanted, objects: Sequence[Object], ignore: Object | None, ignore_file: bytes) -> _Chosen:
    ignored = rules(wanted.ignore, ignore_file)
    limits = DEFAULT_LIMITS
    paths = Paths(most=limits.members, depth=limits.depth, longest=limits.path_bytes, refuse=ValueError)
    kept: dict[str, Object] = {}
    # A key that ends in a slash is how programs with windows make an empty directory.
    for one in sorted(one for one in objects if not one.key.endswith("/")):
        try:
            if paths.file(one.key) != one.key or "\\" in one.key:
                raise ValueError(f"{one.key!a} is not a plain path")
        except ValueError as problem:
            raise BucketFailed(f"{wanted.place}: the key {problem}; nothing of the bucket is used") from problem
        if not ignored.excludes(one.key):
            kept[one.key] = one
    entries, left_out = without_collisions(Entry(one.key, "", one.size) for one in kept.values())
    taken = [kept[entry.path] for entry in entries]
    size = sum(one.size for one in taken)
    if size > limits.bytes:
        raise BucketFailed(
            f"{wanted.place}: {size} bytes of objects; the limit is {limits.bytes}; choose a part by spec.prefix, "
            "spec.ignore or .sourceignore"
        )
    # What is left out is part of it: a render that reads it fails, and would not if it were not there.
    counted = [f"{one.key}\0{one.etag}\n" for one in taken] + [f"\0{path}\n" for path in sorted(left_out)]
    counted.append(f"{IGNORE_FILE}\0{ignore.etag}\n" if ignore else "")
    whole = hashlib.sha256(f"{wanted.place.identity}\n{''.join(counted)}".encode())
    return _Chosen(taken, left_out, f"sha256:{whole.hexdigest()}")


def _hint(wanted: Wanted, one: Object) -> str:
    return f"{one.etag}@{wanted.place.identity}"


@asynccontextmanager
async def _bounded(wanted: Wanted, seconds: float) -> AsyncIterator[None]:
    """Give up on the server after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as problem:
        raise BucketFailed(f"{wanted.place}: not done after {seconds:g} s (spec.timeout bounds it)") from problem
