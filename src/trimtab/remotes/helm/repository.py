"""A repository of charts on a web server: its index, asked for only if it changed, and the charts it names.

Credentials go to the repository's own origin, and nowhere else unless the owner of the object says so. Charts may be
elsewhere, as the index says; that is written by the other side, so no private address is contacted for it.
"""

import base64
import hashlib
import zlib
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import IO, Final, NamedTuple

from yarl import URL

from trimtab.base.errors import Transient
from trimtab.base.http import Request, Response, TransportError
from trimtab.remotes import outbound
from trimtab.remotes.helm.address import chart_of, index_of
from trimtab.remotes.helm.index import MAX_BYTES
from trimtab.remotes.outbound import AuthenticationFailed, Outbound, Unanswered, Way, drain, told
from trimtab.remotes.reach import host_of
from trimtab.remotes.redirects import same_origin

_LONGEST_VALIDATOR: Final = 1024
_SETTLED_S: Final = 2.0


class IndexationFailed(Transient):
    """The index cannot be had, or is none."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__("IndexationFailed", message, retry_after=retry_after)


class ChartPullFailed(Transient):
    """The chart cannot be had, or is not what was promised."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__("ChartPullError", message, retry_after=retry_after)


@dataclass(frozen=True, slots=True)
class Access(Way):
    """How a repository is reached: with which credentials beside the certificates, and whether others may see them."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    pass_credentials: bool = False

    @property
    def identity(self) -> str:
        """Tells apart who asks and over which way."""
        parts = (self.username, self.password, self.ca, self.certificate, self.key, str(self.proxy))
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @property
    def authorization(self) -> dict[str, str]:
        """The header to sign in by, if there is who to sign in as."""
        if not self.username and not self.password:
            return {}
        pair = f"{self.username}:{self.password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


class Validators(NamedTuple):
    """What a server calls the index that it sent: to ask whether it is still the same."""

    etag: str = ""
    last_modified: str = ""


class Fetched(NamedTuple):
    """An index as it came."""

    data: bytes
    validators: Validators


class ChartRepository:
    """Reads repositories. One per process."""

    def __init__(self, out: Outbound) -> None:
        self._out = out

    async def index(self, repository: URL, access: Access, known: Validators | None) -> Fetched | None:
        """The index, or None if it is still the one called `known`.

        Raises IndexationFailed, AuthenticationFailed, and Terminal (URLInvalid) for an address refused.
        """
        url = index_of(repository)
        headers = {"Accept": "application/yaml, application/json, */*", **access.authorization}
        if known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        if known is not None and known.last_modified:
            headers["If-Modified-Since"] = known.last_modified
        asked = known is not None and any(known)
        with told(_shown(url), IndexationFailed):
            place, response = await self._out.follow(Request("GET", url, headers), access)
            if response.status == 304 and asked:
                await drain(response)
                return None
            if response.status != 200:
                raise await self._complaint(IndexationFailed, url, place, response)
            data = await _inflated(response)
        return Fetched(data, _validators(response))

    async def chart(
        self, repository: URL, access: Access, reference: str, out: IO[bytes], limit: int, *, what: str
    ) -> str:
        """Write the chart whose address in the index is `reference` to `out`; the SHA-256 (hex) of what came.

        `what` is how errors call it. Raises ChartPullFailed, AuthenticationFailed, and Terminal (URLInvalid). On an
        error `out` holds rubbish.
        """
        try:
            url = chart_of(repository, reference)
        except ValueError as problem:
            raise ChartPullFailed(f"{what}: {problem}") from problem
        at_home = same_origin(url, repository)
        if repository.scheme == "https" and url.scheme != "https":
            raise ChartPullFailed(f"{what}: the index sends to {_shown(url)}; only https is followed")
        headers = access.authorization if at_home or access.pass_credentials else {}
        digest, size = hashlib.sha256(), 0
        with told(f"{what}: {_shown(url)}", ChartPullFailed):
            own = host_of(url) == host_of(repository)
            place, response = await self._out.follow(Request("GET", url, headers), access, own=own)
            if response.status != 200:
                raise await self._complaint(ChartPullFailed, url, place, response, f"{what}: ")
            try:
                async for chunk in response.chunks():
                    size += len(chunk)
                    if size > limit:
                        raise Unanswered(f"the chart has more than {limit >> 20} MiB")
                    digest.update(chunk)
                    out.write(chunk)
            finally:
                await response.close()
        return digest.hexdigest()

    async def _complaint(
        self,
        failed: type[IndexationFailed] | type[ChartPullFailed],
        url: URL,
        place: URL,
        response: Response,
        what: str = "",
    ) -> Transient:
        status, after = response.status, self._out.retry_after(response)
        await drain(response)
        where = what + _shown(url)
        where += "" if same_origin(place, url) else f", which leads to {place.origin()}"
        if status in (401, 403):
            return AuthenticationFailed(
                f"{where}: the server refuses us ({status}); check the Secret of spec.secretRef of the HelmRepository"
            )
        if status == 404:
            return failed(f"{where}: there is no such file (404)")
        return failed(f"{where}: the server answered {status}", retry_after=after)


async def _inflated(response: Response) -> bytes:
    """The body of an index, unpacked if the server cannot but send it packed."""
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding in ("", "identity"):
        return await outbound.body(response, MAX_BYTES)
    if coding not in ("gzip", "x-gzip"):
        await response.close()
        raise Unanswered(f"it is encoded as {coding[:40]!a}, which was not asked for")
    inflate, parts, size = zlib.decompressobj(31), [], 0
    try:
        async for chunk in response.chunks():
            while chunk and not inflate.eof:
                part = inflate.decompress(chunk, 1 << 20)
                size += len(part)
                if size > MAX_BYTES:
                    raise Unanswered(f"an answer of more than {MAX_BYTES} bytes")
                parts.append(part)
                chunk = inflate.unconsumed_tail
        parts.append(inflate.flush())
    except (TransportError, zlib.error) as failure:
        raise Unanswered(f"the answer broke off, or is damaged: {failure}") from failure
    finally:
        await response.close()
    if not inflate.eof:
        raise Unanswered("the answer broke off")
    return b"".join(parts)


def _validators(response: Response) -> Validators:
    etag, modified, date = (response.headers.get(name, "") for name in ("ETag", "Last-Modified", "Date"))
    etag, modified = (text if _is_header(text) else "" for text in (etag, modified))
    try:
        # It has seconds only: what is changed twice within one would look the same.
        settled = (parsedate_to_datetime(date) - parsedate_to_datetime(modified)).total_seconds() >= _SETTLED_S
    except (ValueError, TypeError):
        settled = False
    return Validators(etag, modified if settled else "")


def _is_header(text: str) -> bool:
    return len(text) <= _LONGEST_VALIDATOR and text.isascii() and text.isprintable()


def _shown(url: URL) -> str:
    """An address without what may be a secret in it."""
    return str(url.with_user(None).with_query(None))
