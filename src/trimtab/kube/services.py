"""Services of a cluster, reached from outside through its API server: for who has no way into the cluster's network."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from yarl import URL

from trimtab.base.http import MAX_BODY, BodyTooLarge, Request, Response, TransportError
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, Unreachable

_HOST: Final = re.compile(r"(?P<name>[a-z0-9-]{1,63})\.(?P<namespace>[a-z0-9-]{1,63})\.svc(?:\.[a-z0-9.-]{1,253})?\.?")


class Service(NamedTuple):
    """A Service by its address inside the cluster."""

    namespace: str
    name: str
    scheme: str
    port: int

    @classmethod
    def at(cls, url: URL) -> "Service | None":
        """The Service that `url` means; None for any other host."""
        found = _HOST.fullmatch(url.host or "")
        if found is None or url.port is None or url.scheme not in ("http", "https"):
            return None
        return cls(found["namespace"], found["name"], url.scheme, url.port)


class ServiceTransport:
    """Sends GET requests for Services through the API server, with the rights of `client` (`services/proxy`).

    The credentials stay with the API server. Nothing of a request but its path and query is passed on.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def send(self, request: Request) -> Response:
        """Raises TransportError for a host that is no Service, and for whatever the API server refuses."""
        service, url = Service.at(request.url), request.url
        if service is None or request.method != "GET":
            raise TransportError(f"{request.method} {url.with_query(None)} is nothing that a Service is asked for")
        segments = [unquote(segment) for segment in url.raw_path.split("/")]
        if any(segment in (".", "..") or "/" in segment for segment in segments):
            raise TransportError(f"the path of {url.with_query(None)} leads elsewhere")
        path = "/".join(quote(segment, safe=":@") for segment in segments)
        name = f"{service.scheme}:{service.name}:{service.port}"
        way = f"/api/v1/namespaces/{service.namespace}/services/{name}/proxy{path}"
        try:
            answer = await self._client.exchange("GET", way, query=dict(url.query) or None, accept="*/*")
        except (ApiError, Unreachable) as failure:
            raise TransportError(f"through the API server: {failure}") from failure
        return _Whole(answer.status, answer.headers, answer.body)


class _Whole:
    """An answer that has been read already."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def read(self, limit: int = MAX_BODY) -> bytes:
        if len(self._body) > limit:
            raise BodyTooLarge(f"the answer has more than {limit} bytes")
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    async def close(self) -> None:
        return
