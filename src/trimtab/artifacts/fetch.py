"""Fetching an artifact that another process published: checked against the digest in its status, then taken apart."""

import asyncio
import hashlib
import re
import tempfile
from collections.abc import Iterable
from typing import IO

from yarl import URL

from trimtab.api.source import Artifact
from trimtab.artifacts.archive import DEFAULT_LIMITS, Limits, Link, read_archive
from trimtab.artifacts.publish import left_out_of
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree, without_collisions
from trimtab.base.errors import Terminal, Transient
from trimtab.base.http import Request, Transport, TransportError

MAX_DOWNLOAD = 100 << 20
_DIGEST = re.compile(r"(sha256|sha384|sha512):([0-9a-f]{64,128})")
_SPOOL = 4 << 20


async def fetch_artifact(
    transport: Transport, artifact: Artifact, store: Store, *, limits: Limits = DEFAULT_LIMITS, timeout: float = 60.0
) -> Snapshot:
    """Download `artifact`, compare its digest, and keep its files in `store`.

    Raises Transient (ArtifactFailed) if it cannot be had or is not what the status promised: the source may be about to
    publish the next one. Raises Terminal (ArtifactFailed) if it is refused for what it is.
    """
    match = _DIGEST.fullmatch(artifact.digest)
    if not match:
        raise Terminal(
            "ArtifactFailed",
            f"artifact {artifact.path}: the digest {artifact.digest[:200]!r} cannot be checked; "
            "have the source publish sha256, sha384 or sha512",
        )
    url = _address(artifact)
    shown = url.with_query(None)
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL, dir=str(store.root)) as file:
        actual = await _download(transport, url, artifact, file, hashlib.new(match[1]), timeout)
        if actual != match[2]:
            raise Transient(
                "ArtifactFailed",
                # Not which digest it has: the address is somebody's choice, and what lies there need not be theirs.
                f"artifact {shown}: what came is not what the source's status promises, {artifact.digest}; "
                "it is tried again",
            )
        file.seek(0)
        tree = await asyncio.to_thread(_unpack, file, store, limits, left_out_of(artifact))
    return Snapshot(store, tree, artifact.revision)


def _address(artifact: Artifact) -> URL:
    try:
        url = URL(artifact.url)
    except ValueError:
        # Not the address itself, here and below: it may carry a password.
        raise Terminal("ArtifactFailed", f"artifact {artifact.path}: its address cannot be read") from None
    if url.user is not None or url.password is not None:
        bare = url.with_user(None).with_query(None)
        raise Terminal(
            "ArtifactFailed", f"artifact {artifact.path}: the address {bare} carries credentials; publish it without"
        )
    if url.scheme not in ("http", "https") or not url.host:
        shown = str(url.with_query(None))[:200]
        raise Terminal("ArtifactFailed", f"artifact {artifact.path}: {shown!r} is not an http or https address")
    return url


async def _download(
    transport: Transport, url: URL, artifact: Artifact, file: IO[bytes], digest: "hashlib._Hash", timeout: float
) -> str:
    size = 0
    try:
        response = await transport.send(Request("GET", url, timeout=timeout, idle_timeout=30.0))
        if response.status != 200:
            await response.close()
            way_out = (
                "it is looked for again when the source publishes" if response.status == 404 else "it is tried again"
            )
            raise Transient(
                "ArtifactFailed", f"artifact {url.with_query(None)}: the server answered {response.status}; {way_out}"
            )
        async for chunk in response.chunks():
            size += len(chunk)
            if size > MAX_DOWNLOAD:
                await response.close()
                raise Terminal("ArtifactFailed", f"artifact {url.with_query(None)}: larger than {MAX_DOWNLOAD} bytes")
            digest.update(chunk)
            file.write(chunk)
    except TransportError as failure:
        raise Transient("ArtifactFailed", f"artifact {artifact.path}: {failure}") from failure
    return digest.hexdigest()


def _unpack(file: IO[bytes], store: Store, limits: Limits, told: Iterable[str]) -> Tree:
    """The files of the archive. `told` was left out before it was packed; who reads it has to be told so here too."""
    entries: list[Entry] = []
    left_out: list[str] = []
    for found in read_archive(file, limits):
        if isinstance(found, Link):
            left_out.append(found.path)
        else:
            entries.append(Entry(found.path, store.put(found.data), len(found.data), found.executable))
    entries, collided = without_collisions(entries)
    there = {entry.path for entry in entries}
    tree = Tree.of(entries, [*left_out, *collided, *(path for path in told if path not in there)])
    store.save(tree)
    return tree
