"""A source in a registry: look cheaply, pull what is new, check it, and keep it as a snapshot."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, NamedTuple

from trimtab.api.oci import LayerOperation, OciRef, OCIRepositorySpec
from trimtab.api.source import LONGEST_TIMEOUT_S
from trimtab.artifacts.archive import BadArchive, Link, Member, read_archive
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree, without_collisions
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.manifests import semver
from trimtab.manifests.patterns import Pattern
from trimtab.remotes.oci.credentials import Logins, from_secret
from trimtab.remotes.oci.manifest import BadManifest, Descriptor, Index, Manifest, for_platform
from trimtab.remotes.oci.reference import Repository, check_digest, check_tag, parse_repository
from trimtab.remotes.oci.registry import Registry
from trimtab.remotes.oci.wire import Access, PullFailed, Wire
from trimtab.remotes.outbound import AuthenticationFailed, Outbound
from trimtab.sources.ignore import IGNORE_FILE, rules
from trimtab.sources.signatures import Demand, Unproven, verify

__all__ = ["Access", "AuthenticationFailed", "Head", "Logins", "OciSource", "OciSpec", "Pulled", "from_secret"]

MAX_BYTES = 100 << 20
"""Bytes of a layer as it is transferred; unpacked, the limits of archives hold."""
_SPOOL = 4 << 20
_CONCURRENT_PULLS = 4
_WAIT_S = 600.0  # for others that hold the slots; each of them has its own timeout
_ANNOTATIONS_CHARS = 16 << 10
_OURS = "trimtab.dev/"
_WELL_KNOWN = "org.opencontainers.image."


@dataclass(frozen=True, slots=True)
class OciSpec:
    """What to take from which repository. `timeout_s` bounds one look and one fetch, each."""

    repository: Repository
    ref: OciRef
    pattern: Pattern | None = None
    constraint: semver.Constraint | None = None
    media_type: str = ""
    copy: bool = False
    ignore: str | None = None
    timeout_s: float = 60.0
    max_bytes: int = MAX_BYTES

    @classmethod
    def from_api(cls, spec: OCIRepositorySpec) -> "OciSpec":
        """Read an OCIRepository's spec. Raises Terminal (URLInvalid) for what is wrong."""
        ref = spec.ref or OciRef()
        try:
            timeout_s = spec.timeout_s
        except ValueError as problem:
            raise Terminal("URLInvalid", f"spec.timeout: {problem}") from problem
        pattern, constraint = None, None
        if ref.digest:
            check_digest(ref.digest)
        elif ref.semver:
            try:
                constraint = semver.Constraint.parse(ref.semver)
            except ValueError as problem:
                raise Terminal("URLInvalid", f"spec.ref.semver: {problem}") from problem
            try:
                pattern = Pattern(ref.semver_filter) if ref.semver_filter else None
            except ValueError as problem:
                raise Terminal("URLInvalid", f"spec.ref.semverFilter: {problem}") from problem
        elif ref.tag:
            check_tag(ref.tag)
        return cls(
            repository=parse_repository(spec.url, insecure=spec.insecure),
            ref=ref,
            pattern=pattern,
            constraint=constraint,
            media_type=spec.layer_selector.media_type if spec.layer_selector else "",
            copy=spec.operation == LayerOperation.COPY,
            ignore=spec.ignore,
            timeout_s=timeout_s,
        )

    @property
    def bound_s(self) -> float:
        """`timeout_s`, as far as it is served."""
        return min(self.timeout_s, LONGEST_TIMEOUT_S)


class Head(NamedTuple):
    """What a spec means now. `tag` is empty where a digest is named."""

    tag: str
    digest: str

    @property
    def revision(self) -> str:
        """`latest@sha256:…`, or the digest alone."""
        return f"{self.tag}@{self.digest}" if self.tag else self.digest


class Pulled(NamedTuple):
    """What came. `metadata` are the annotations; `layer` is the content (SHA-256) to be published as it is, if any."""

    snapshot: Snapshot
    metadata: Mapping[str, str]
    layer: str = ""


class OciSource:
    """Looks at repositories and pulls from them. One per process: it knows the registries."""

    def __init__(self, store: Store, out: Outbound, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._registry = Registry(Wire(out, clock))
        self._slots = asyncio.Semaphore(_CONCURRENT_PULLS)

    async def look(self, spec: OciSpec, access: Access) -> Head:
        """What `spec` means now: one small request for a tag, two or more for a range, none for a digest.

        Raises Transient (OCIArtifactPullFailed, AuthenticationFailed) and Terminal (URLInvalid).
        """
        if spec.ref.digest:
            return Head("", spec.ref.digest)
        async with _bounded(spec, spec.bound_s):
            tag = spec.ref.tag or "latest"
            if spec.constraint is not None:
                tag = await self._highest(spec, spec.constraint, access)
            return Head(tag, await self._registry.digest(spec.repository, access, tag))

    async def tags(self, spec: OciSpec, access: Access) -> list[str]:
        """All tags of the repository of `spec`. Raises as `look`."""
        async with _bounded(spec, spec.bound_s):
            return await self._registry.tags(spec.repository, access)

    async def fetch(self, spec: OciSpec, access: Access, head: Head) -> Pulled:
        """The files of `head`, in the store. Raises as `look`; there is never a partial snapshot.

        What is wrong with the content is Transient: the tag may be pushed again.
        """
        async with _bounded(spec, _WAIT_S + spec.bound_s), self._slots, _bounded(spec, spec.bound_s):
            manifest = await self._manifest(spec, access, head.digest)
            layer = _layer(spec, manifest)
            try:
                with tempfile.SpooledTemporaryFile(max_size=_SPOOL, dir=str(self._store.root)) as file:
                    await self._registry.blob(spec.repository, access, layer, file, spec.max_bytes)
                    file.seek(0)
                    tree = await asyncio.to_thread(self._unpack, file, spec)
                    kept = await asyncio.to_thread(self._keep, file) if spec.copy else ""
            except BadArchive as problem:
                raise Transient(
                    "OCIArtifactLayerOperationFailed",
                    f"{spec.repository}: layer {layer.digest} of {head.revision}: {problem}; nothing of it is used",
                ) from problem
            except OSError as problem:
                raise Transient(
                    "StorageOperationFailed", f"the files of {spec.repository} cannot be kept: {problem}"
                ) from problem
        return Pulled(Snapshot(self._store, tree, head.revision), _metadata(manifest.annotations), kept)

    async def verify(self, spec: OciSpec, access: Access, head: Head, demand: Demand) -> str:
        """Who signed `head`, in words, of those whom `demand` trusts.

        Raises Transient (VerificationError) if nobody did, and what `look` raises if the signatures cannot be had.
        """
        async with _bounded(spec, spec.bound_s):
            try:
                return await verify(self._registry, spec.repository, access, head.digest, demand, self._clock.now())
            except Unproven as problem:
                raise Transient(
                    "VerificationError", f"{spec.repository}: {head.revision} is not used: {problem}"
                ) from problem

    async def _highest(self, spec: OciSpec, constraint: semver.Constraint, access: Access) -> str:
        tags = await self._registry.tags(spec.repository, access)
        best = await asyncio.to_thread(_choose, tags, spec.pattern, constraint)
        if best is None:
            where = f" in which {spec.ref.semver_filter!a} is found" if spec.pattern else ""
            raise PullFailed(
                f"{spec.repository}: none of {len(tags)} tags{where} is a version that {spec.ref.semver!a} admits"
            )
        return best

    async def _manifest(self, spec: OciSpec, access: Access, digest: str) -> Manifest:
        found = await self._registry.manifest(spec.repository, access, digest)
        if isinstance(found, Manifest):
            return found
        try:
            chosen = for_platform(found)
        except BadManifest as problem:
            raise PullFailed(f"{spec.repository}@{digest}: {problem}") from problem
        inner = await self._registry.manifest(spec.repository, access, chosen.digest)
        if isinstance(inner, Index):
            raise PullFailed(f"{spec.repository}@{digest}: an index inside an index is not followed")
        return inner

    def _unpack(self, file: IO[bytes], spec: OciSpec) -> Tree:
        entries: list[Entry] = []
        left_out: list[str] = []
        ignore_file = b""
        for found in read_archive(file):
            match found:
                case Link(path):
                    left_out.append(path)
                case Member(path, data, executable):
                    if path == IGNORE_FILE:
                        ignore_file = data
                    entries.append(Entry(path, self._store.put(data), len(data), executable))
        if not spec.copy:
            ignored = rules(spec.ignore, ignore_file)
            entries = [entry for entry in entries if not ignored.excludes(entry.path)]
            left_out = [path for path in left_out if not ignored.excludes(path)]
        entries, collided = without_collisions(entries)
        tree = Tree.of(entries, [*left_out, *collided])
        self._store.save(tree)
        return tree

    def _keep(self, file: IO[bytes]) -> str:
        file.seek(0)
        return self._store.put(file.read())


@asynccontextmanager
async def _bounded(spec: OciSpec, seconds: float) -> AsyncIterator[None]:
    """Give up on the registry after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as problem:
        raise PullFailed(f"{spec.repository}: not done after {seconds:g} s (spec.timeout bounds it)") from problem


def _choose(tags: Iterable[str], pattern: Pattern | None, constraint: semver.Constraint) -> str | None:
    return semver.latest(pattern.select(tags) if pattern else tags, constraint)


def _layer(spec: OciSpec, manifest: Manifest) -> Descriptor:
    if not manifest.layers:
        raise PullFailed(f"{spec.repository}@{manifest.digest}: the artifact has no layers")
    if not spec.media_type:
        return manifest.layers[0]
    for layer in manifest.layers:
        if layer.media_type == spec.media_type:
            return layer
    there = ", ".join(sorted({ascii(layer.media_type[:100])[1:-1] for layer in manifest.layers}))[:500]
    raise Transient(
        "OCIArtifactLayerOperationFailed",
        f"{spec.repository}@{manifest.digest}: no layer has the media type {spec.media_type}; there is {there}",
    )


def _metadata(annotations: Mapping[str, str]) -> dict[str, str]:
    """What goes into the status: the well-known annotations first, until there is enough."""
    kept: dict[str, str] = {}
    left = _ANNOTATIONS_CHARS
    for name in sorted(annotations, key=lambda name: (not name.startswith(_WELL_KNOWN), name)):
        size = len(name) + len(annotations[name])
        # What is said in our name is said by us only.
        if size <= left and not name.startswith(_OURS):
            kept[name] = annotations[name]
            left -= size
    return kept
