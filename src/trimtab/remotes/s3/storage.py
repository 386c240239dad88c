"""What a bucket holds: the whole list, page by page, and one content at a time. Redirects are not followed.

Every request is signed for one host and one region; what another one should be asked for, the owner of the object
writes down. So a server can neither lead us to a neighbour nor have a request of ours sent to somebody else.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from yarl import URL

from trimtab.base.clock import Clock
from trimtab.base.errors import Transient
from trimtab.base.http import Request, Response
from trimtab.remotes import outbound
from trimtab.remotes.outbound import AuthenticationFailed, Outbound, Way, told
from trimtab.remotes.redirects import STATUSES
from trimtab.remotes.s3 import document, listing, sigv4
from trimtab.remotes.s3.document import BadDocument
from trimtab.remotes.s3.listing import Object
from trimtab.remotes.s3.place import Place
from trimtab.remotes.s3.sigv4 import Keys

MAX_OBJECTS = 50_000
MAX_PAGES = 1_000
MAX_PAGE = 16 << 20
_PAGE = 1_000


class BucketFailed(Transient):
    """The server did not give what was asked for, or something else than it promised."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__("BucketOperationFailed", message, retry_after=retry_after)


class Changed(BucketFailed):
    """What was listed is not there any more as it was."""


@dataclass(frozen=True, slots=True)
class Access(Way):
    """How one bucket is reached: with which keys beside the certificates and the proxy. Without, as anybody."""

    keys: Keys | None = field(default=None, repr=False)

    @property
    def identity(self) -> str:
        """Tells apart who asks and over which way."""
        keys = (self.keys.access, self.keys.secret) if self.keys else ()
        parts = (keys, self.ca, self.certificate, self.key, str(self.proxy))
        return hashlib.sha256(repr(parts).encode()).hexdigest()


class Storage:
    """Reads buckets. One per process. Raises BucketFailed, AuthenticationFailed, and Terminal (URLInvalid)."""

    def __init__(self, out: Outbound, clock: Clock) -> None:
        self._out = out
        self._clock = clock

    async def objects(self, place: Place, access: Access, prefix: str = "") -> list[Object]:
        """All objects whose keys start with `prefix`. Never only some: what is not listed would be deleted.

        Each key is there once, as the server says.
        """
        asked = {"list-type": "2", "encoding-type": "url", "max-keys": str(_PAGE)}
        if prefix:
            asked["prefix"] = prefix
        found: dict[str, Object] = {}
        seen: set[str] = set()
        then = ""
        while True:
            url = place.at(query=sigv4.query({**asked, "continuation-token": then} if then else asked))
            page = await self._page(place, access, url)
            for one in page.objects:
                if one.key in found or not one.key.startswith(prefix):
                    raise BucketFailed(
                        f"{place}: the list has {one.key[:200]!a} twice, or in spite of spec.prefix; nothing is used"
                    )
                found[one.key] = one
            if len(found) > MAX_OBJECTS:
                raise BucketFailed(f"{place}: more than {MAX_OBJECTS} objects; choose a part by spec.prefix")
            if not (then := page.then):
                return list(found.values())
            if then in seen or len(seen) >= MAX_PAGES:
                raise BucketFailed(f"{place}: the list has no end")
            seen.add(then)

    async def get(self, place: Place, access: Access, wanted: Object) -> bytes:
        """The content of `wanted`, exactly as it was listed. Raises Changed where it is another one by now."""
        # A header of its own: a server that knows it answers 412 where the content is another one.
        response = await self._asked(place, access, place.at(wanted.key), {"If-Match": f'"{wanted.etag}"'})
        name = f"{place}: the object {wanted.key[:200]!a}"
        if response.status in (404, 412):
            await outbound.drain(response)
            raise Changed(f"{name} was changed or removed while it was read")
        if response.status != 200:
            raise await self._complaint(name, access, response)
        said = listing.etag(response.headers.get("ETag", ""))
        if said not in ("", wanted.etag):
            await response.close()
            raise Changed(f"{name} was changed while it was read")
        with told(name, BucketFailed):
            content = await outbound.body(response, wanted.size)
        if len(content) != wanted.size:
            raise BucketFailed(f"{name} has {len(content)} bytes, and {wanted.size} were listed; nothing of it is used")
        return content

    async def _page(self, place: Place, access: Access, url: URL) -> listing.Page:
        response = await self._asked(place, access, url, {})
        if response.status != 200:
            raise await self._complaint(place, access, response)
        with told(place, BucketFailed):
            body = await outbound.body(response, MAX_PAGE)
        try:
            return await asyncio.to_thread(listing.parse, body)
        except BadDocument as failure:
            raise BucketFailed(f"{place}: the list of objects cannot be read: {failure}") from failure

    async def _asked(self, place: Place, access: Access, url: URL, headers: Mapping[str, str]) -> Response:
        if access.keys is not None:
            headers = sigv4.signed("GET", url, headers, access.keys, place.region, self._clock.now())
        with told(place, BucketFailed):
            return await self._out.send(Request("GET", url, headers), access, own=True)

    async def _complaint(self, about: object, access: Access, response: Response) -> Transient:
        """What the other side says is wrong, as an error."""
        status, after = response.status, self._out.retry_after(response)
        said = _read(await outbound.complaint(response))
        code, words = said.get("Code"), _words(said)
        region = said.get("Region") or response.headers.get("x-amz-bucket-region", "")
        if status in STATUSES or (status == 400 and code == "AuthorizationHeaderMalformed"):
            where = said.get("Endpoint") or response.headers.get("Location", "")
            hints = ((" in the region ", region), (" at ", where))
            elsewhere = "".join(f"{hint}{text[:200]!a}" for hint, text in hints if text)
            return BucketFailed(
                f"{about}: the server says that the bucket is elsewhere ({status}){elsewhere}, which is not followed; "
                f"correct spec.endpoint and spec.region{words}"
            )
        if status in (401, 403):
            cause = "refuses these credentials" if access.keys else "wants credentials, or there is no such bucket"
            way_out = "check the Secret of spec.secretRef" if access.keys else "name a Secret in spec.secretRef"
            return AuthenticationFailed(f"{about}: the server {cause} ({status}); {way_out}{words}")
        if status in (404, 410):
            return BucketFailed(f"{about}: there is no such bucket ({status}); check spec.bucketName{words}")
        if status == 429 or code == "SlowDown":
            return BucketFailed(f"{about}: the server has had too many requests ({status}){words}", retry_after=after)
        return BucketFailed(f"{about}: the server answered {status}{words}", retry_after=after)


def _read(body: bytes) -> document.Element:
    try:
        return document.parse(body)
    except BadDocument:
        return document.Element("Error")


def _words(said: document.Element) -> str:
    """What the other side says is wrong, fit to be shown."""
    # Its other elements repeat what was signed, and with which key.
    words = " ".join(filter(None, (said.get("Code"), said.get("Message"))))[:300]
    return f": {ascii(words)[1:-1]}" if words else ""
