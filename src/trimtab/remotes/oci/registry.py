"""A registry's contents: the digest behind a tag, all tags, manifests and blobs. Nothing unverified comes out."""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from typing import IO, NamedTuple

import msgspec
from yarl import URL

from trimtab.base.http import Response, TransportError
from trimtab.remotes import outbound
from trimtab.remotes.oci import manifest
from trimtab.remotes.oci.manifest import BadManifest, Descriptor, Index, Manifest
from trimtab.remotes.oci.reference import DIGEST, TAG, Repository
from trimtab.remotes.oci.wire import Access, NotThere, PullFailed, Wire
from trimtab.remotes.outbound import told
from trimtab.remotes.shown import shown

MAX_TAGS = 200_000
MAX_PAGES = 2_000
MAX_PAGE = 16 << 20
MAX_LISTING = 32 << 20
"""Bytes of all pages: as many as the most tags have at their longest."""
_LONG_LISTING = 256 << 10
_PAGE = 1_000
_LONGEST_ETAG = 256
_MAX_REFERRER_PAGES = 8
_UNTYPED = ("", "application/vnd.oci.empty.v1+json")
_LINK = re.compile(r'\s*<([^<>]{1,4096})>\s*;\s*rel="?next"?\s*(?:[;,].*)?', re.IGNORECASE)


class _Tags(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


class Listed(NamedTuple):
    """The tags of a repository, each once. `strange` counts names that are no tags, which are left out.

    `etag` and `digest` tell this list from another: what the registry calls it, if it does, and what it consists of.
    """

    tags: list[str]
    strange: int
    etag: str
    digest: str


class Registry:
    """Reads repositories. One per process. All methods raise what `Wire.exchange` raises."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def digest(self, repository: Repository, access: Access, tag: str) -> str:
        """The digest that `tag` stands for now: one small request, which no registry counts as a pull."""
        url = repository.at(f"manifests/{tag}")
        response = await self._wire.exchange(repository, access, "HEAD", url, {"Accept": manifest.ACCEPT})
        await self._body(repository, response, 0)
        said = response.headers.get("Docker-Content-Digest", "")
        if not said:
            # Only a few say nothing; then it has to be looked at.
            return (await self.manifest(repository, access, tag)).digest
        if not DIGEST.fullmatch(said):
            raise PullFailed(f"{repository}:{tag}: the registry says its digest is {said[:200]!a}, not a sha256 digest")
        return said

    async def manifest(self, repository: Repository, access: Access, reference: str) -> Manifest | Index:
        """The document behind a tag or a digest, which must be what its digest says."""
        url = repository.at(f"manifests/{reference}")
        response = await self._wire.exchange(repository, access, "GET", url, {"Accept": manifest.ACCEPT})
        body = await self._body(repository, response, manifest.MAX_MANIFEST)
        actual = f"sha256:{hashlib.sha256(body).hexdigest()}"
        said = response.headers.get("Docker-Content-Digest", "")
        promised = [reference] if DIGEST.fullmatch(reference) else []
        for other in (*promised, said):
            if other not in ("", actual):
                raise PullFailed(
                    f"{repository}: the manifest {reference} has the digest {actual}, and {other[:80]!a} was promised; "
                    "nothing of it is used"
                )
        try:
            return manifest.parse(body, response.headers.get("Content-Type", ""), actual)
        except BadManifest as failure:
            raise PullFailed(f"{repository}: the manifest {reference} is refused: {failure}") from failure

    async def tags(self, repository: Repository, access: Access) -> list[str]:
        """All tags. Never only some: to choose from a part of them could be to choose an older one."""
        listed = await self.listed(repository, access)
        assert listed is not None  # noqa: S101 - there was no other to be the same as
        return listed.tags

    async def listed(
        self, repository: Repository, access: Access, *, etag: str = "", digest: str = ""
    ) -> Listed | None:
        """All tags, or None where they are those of the list with that `etag` or `digest`. Never only some.

        One request for each page. Only for a list of one page it is asked whether it is another: what the first of
        several pages is called says nothing of the others.
        """
        url = repository.at("tags/list", f"n={_PAGE}")
        seen, pages, size, names = {url}, list[bytes](), 0, 0
        headers = {"Accept": "application/json"} | ({"If-None-Match": etag} if etag else {})
        while True:
            response = await self._wire.exchange(repository, access, "GET", url, headers, conditional=bool(etag))
            pages.append(await self._body(repository, response, MAX_PAGE))
            if response.status == 304:
                return None
            etag = ""
            size += len(pages[-1])
            names += pages[-1].count(b",")  # before they are decoded, which takes far more memory than they do
            if size > MAX_LISTING or names > MAX_TAGS + len(pages):
                raise PullFailed(f"{repository}: more than {MAX_TAGS} tags; name one by spec.ref.tag")
            link = response.headers.get("Link", "")
            if not link:
                break
            url = _next(repository, url, link)
            if url in seen or len(seen) >= MAX_PAGES:
                raise PullFailed(f"{repository}: the list of tags has no end")
            seen.add(url)
            headers = {"Accept": "application/json"}
        named = response.headers.get("ETag", "") if len(pages) == 1 else ""
        found = _digest(pages)
        if found == digest:
            return None
        try:
            tags, strange = _tags(pages) if size < _LONG_LISTING else await asyncio.to_thread(_tags, pages)
        except (msgspec.DecodeError, ValueError) as failure:
            raise PullFailed(f"{repository}: the list of tags cannot be read: {failure}") from failure
        if len(tags) > MAX_TAGS:
            raise PullFailed(f"{repository}: more than {MAX_TAGS} tags; name one by spec.ref.tag")
        return Listed(tags, strange, named if _shows(named) else "", found)

    async def referrers(
        self, repository: Repository, access: Access, digest: str, artifact_type: str
    ) -> list[Descriptor]:
        """What of that type was attached to the manifest `digest`: by the API for it, or under the tag that stands in.

        All of it, as with tags, and what has no type of its own in the list, as some clients write it: only its content
        tells. A registry that knows neither has nothing attached.
        """
        found: list[Descriptor] = []
        url = repository.at(f"referrers/{digest}")
        seen = {url}
        try:
            while True:
                response = await self._wire.exchange(repository, access, "GET", url, {"Accept": manifest.OCI_INDEX})
                body = await self._body(repository, response, manifest.MAX_MANIFEST)
                found += self._index(repository, digest, body)
                link = response.headers.get("Link", "")
                if not link:
                    break
                url = _next(repository, url, link)
                if url in seen or len(seen) >= _MAX_REFERRER_PAGES:
                    raise PullFailed(f"{repository}: what refers to {digest} has no end")
                seen.add(url)
        except NotThere:
            try:
                index = await self.manifest(repository, access, digest.replace(":", "-"))
            except NotThere:
                return []
            found = list(index.manifests) if isinstance(index, Index) else []
        return [one for one in found if one.artifact_type in (artifact_type, *_UNTYPED)]

    @staticmethod
    def _index(repository: Repository, digest: str, body: bytes) -> tuple[Descriptor, ...]:
        try:
            index = manifest.parse(body, manifest.OCI_INDEX, "")
        except BadManifest as failure:
            raise PullFailed(f"{repository}: what refers to {digest} cannot be read: {failure}") from failure
        return index.manifests if isinstance(index, Index) else ()

    async def blob(
        self, repository: Repository, access: Access, wanted: Descriptor, out: IO[bytes], limit: int
    ) -> None:
        """Write the content of `wanted`, at most `limit` bytes of it, to `out`. On an error `out` holds rubbish."""
        if wanted.size > limit:
            raise PullFailed(f"{repository}: {wanted.digest} has {wanted.size} bytes; the limit is {limit}")
        url = repository.at(f"blobs/{wanted.digest}")
        response = await self._wire.exchange(repository, access, "GET", url, {})
        digest, size = hashlib.sha256(), 0
        try:
            async for chunk in response.chunks():
                size += len(chunk)
                if size > wanted.size:
                    raise PullFailed(f"{repository}: {wanted.digest} is larger than the {wanted.size} bytes promised")
                digest.update(chunk)
                out.write(chunk)
        except TransportError as failure:
            raise PullFailed(f"{repository}: {wanted.digest}: {failure}") from failure
        finally:
            await response.close()
        actual = f"sha256:{digest.hexdigest()}"
        if size != wanted.size or actual != wanted.digest:
            raise PullFailed(
                f"{repository}: what came for the layer {wanted.digest} ({wanted.size} bytes) has the digest {actual} "
                f"({size} bytes); nothing of it is used"
            )

    @staticmethod
    async def _body(repository: Repository, response: Response, limit: int) -> bytes:
        with told(repository, PullFailed):
            return await outbound.body(response, limit)


def _tags(pages: Sequence[bytes]) -> tuple[list[str], int]:
    """The tags in all pages, and how many names are none. Raises what a page that cannot be read raises."""
    found, strange = dict[str, None](), 0
    for page in pages:
        for tag in msgspec.json.decode(page, type=_Tags).tags or ():
            if TAG.fullmatch(tag):
                found[tag] = None
            else:
                strange += 1
    return list(found), strange


def _digest(pages: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for page in pages:
        digest.update(b"%d:" % len(page))
        digest.update(page)
    return digest.hexdigest()


def _shows(etag: str) -> bool:
    return len(etag) <= _LONGEST_ETAG and etag.isascii() and etag.isprintable()


def _next(repository: Repository, url: URL, link: str) -> URL:
    """The next page, which has to be one of the same list."""
    match = _LINK.fullmatch(link)
    try:
        target = url.join(URL(match[1], encoded=True)) if match else None
    except ValueError:
        target = None
    if target is None or target.origin() != url.origin() or target.raw_path != url.raw_path or target.user is not None:
        raise PullFailed(f"{repository}: the list of tags goes on at {shown(link)}, which is not the same list")
    return target
