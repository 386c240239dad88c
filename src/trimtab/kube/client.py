"""The verbs of the Kubernetes API over one transport."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, cast

import msgspec

from trimtab.base.clock import Clock, SystemClock
from trimtab.base.http import MAX_BODY, Transport
from trimtab.kube.bodies import decode, encoded, in_lines
from trimtab.kube.config import ClusterConfig, Impersonation
from trimtab.kube.discovery import Discovery
from trimtab.kube.errors import Gone
from trimtab.kube.limiter import Limiter
from trimtab.kube.resource import Resource
from trimtab.kube.wire import (
    APPLY_PATCH,
    JSON,
    JSON_PATCH,
    MERGE_PATCH,
    METADATA_LIST,
    Answer,
    Call,
    Fence,
    Identity,
    Query,
    Wire,
    identity_of,
)
from trimtab.manifests import codec
from trimtab.manifests.refs import Body

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Body)
else:
    from typing import TypeVar

    T = TypeVar("T")

DEFAULT_PRIORITY = 5


class Listing(NamedTuple, Generic[T]):
    """A whole list, and the version of the world that it shows."""

    items: list[T]
    resource_version: str


class ListMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The metadata of a list."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list."""

    metadata: ListMeta = ListMeta()
    items: list[T] | None = None


class Client:
    """One cluster, one identity. `acting_as` and `with_priority` give views on the same connections and limits.

    Every verb raises ApiError for a refusal, Unreachable where there was no answer, and CredentialError or ConfigError
    where there was nothing to ask with.
    """

    discovery: Discovery

    def __init__(
        self,
        config: ClusterConfig,
        transport: Transport,
        *,
        limiter: Limiter | None = None,
        impersonate: Impersonation | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> None:
        self._wire = Wire(config, transport, limiter or Limiter(), clock or SystemClock(), seed)
        self._identity = identity_of(impersonate or config.impersonate)
        self._priority = DEFAULT_PRIORITY
        self._may_write: Fence | None = None
        self.discovery = Discovery(self)

    @property
    def server(self) -> str:
        """The address of the API server, for messages."""
        return self._wire.server

    @property
    def user(self) -> str:
        """In whose name requests are made; empty for this client's own."""
        return dict(self._identity).get("Impersonate-User", "")

    @property
    def clock(self) -> Clock:
        """The clock that this client waits by."""
        return self._wire.clock

    @property
    def config(self) -> ClusterConfig:
        """The cluster and the identity before impersonation."""
        return self._wire.config

    @property
    def calm(self) -> bool:
        """Whether so few requests are under way that one which nobody waits for is in nobody's way."""
        return self._wire.limiter.calm

    def acting_as(self, user: str, groups: Sequence[str] = ()) -> "Client":
        """A view whose requests the server judges by the rights of `user`.

        Raises ValueError for an empty user: the request would go out with this client's own rights.
        """
        return self._view(identity_of(Impersonation(user, tuple(groups))), self._priority)

    def with_priority(self, priority: int) -> "Client":
        """A view whose requests wait for their turn with `priority`: lower goes first, the default is 5."""
        return self._view(self._identity, priority)

    def fenced(self, may_write: Fence) -> "Client":
        """A view that asks `may_write` right before each request but a GET goes out; Fenced is raised where it may not.

        A check at the beginning of a batch is not enough: a process may be stopped for a minute anywhere in it.
        """
        return self._view(self._identity, self._priority, may_write)

    def _view(self, identity: Identity, priority: int, may_write: Fence | None = None) -> "Client":
        view = object.__new__(Client)
        view._may_write = may_write or self._may_write
        view._wire = self._wire
        view._identity = identity
        view._priority = priority
        view.discovery = self.discovery
        return view

    async def get(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        type: type[T] = dict,  # type: ignore[assignment]  # noqa: A002 - the contract's word
    ) -> T:
        """The object as the server has it now (a quorum read)."""
        return decode(await self.request("GET", resource.path(namespace, name)), type, self.server)

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        page: int = 500,
        type: type[T] = dict,  # type: ignore[assignment]  # noqa: A002
    ) -> Listing[T]:
        """All objects of a kind, in one namespace or (empty) in all, read in pages of one consistent snapshot.

        Bodies decoded into `dict` always say their apiVersion and kind, which the server leaves out of lists.
        """
        for again in (True, False):
            try:
                return await self._list(resource, namespace, label_selector, field_selector, page, type)
            except Gone:
                # The snapshot expired between two pages: a list in two halves of different age is no list.
                if not again:
                    raise
        raise AssertionError("unreachable")

    async def _list(
        self, resource: Resource, namespace: str, label_selector: str, field_selector: str, page: int, kind: type[T]
    ) -> Listing[T]:
        items: list[T] = []
        token = ""
        while True:
            part = await self.page(
                resource,
                namespace,
                token,
                label_selector=label_selector,
                field_selector=field_selector,
                limit=page,
                type=kind,
            )
            items.extend(part.items or ())
            token = part.metadata.continue_
            if not token:
                break
        if cast("object", kind) is dict:
            for item in cast("list[Body]", items):
                item.setdefault("apiVersion", resource.gvk.api_version)
                item.setdefault("kind", resource.gvk.kind)
        return Listing(items, part.metadata.resource_version)

    async def page(
        self,
        resource: Resource,
        namespace: str = "",
        token: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
        metadata_only: bool = False,
        type: type[T] = dict,  # type: ignore[assignment]  # noqa: A002
    ) -> Page[T]:
        """One page of a list; `token` is the previous page's. Raises Gone when the snapshot behind it has expired."""
        query = {"limit": str(limit)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        if token:
            query["continue"] = token
        accept = METADATA_LIST if metadata_only else JSON
        answer = await self.exchange("GET", resource.path(namespace), query=query, accept=accept)
        return decode(answer.body, cast("type[Page[T]]", Page[type]), self.server)  # type: ignore[valid-type]

    async def create(
        self,
        resource: Resource,
        body: Body | bytes,
        namespace: str = "",
        *,
        dry_run: bool = False,
        field_manager: str = "",
        type: type[T] = dict,  # type: ignore[assignment]  # noqa: A002
    ) -> T:
        """Create an object. Never sent twice: a lost answer leaves open whether it exists."""
        answer = await self.request(
            "POST", resource.path(namespace), query=_writing(dry_run, field_manager), body=encoded(body)
        )
        return decode(answer, type, self.server)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: str = "Background",
        dry_run: bool = False,
    ) -> Body:
        """Delete an object, if it still is the one that was seen (`uid`, `resource_version`): otherwise Conflict.

        Returns the object where finalizers keep it for a while, else the server's Status.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if wanted := {key: value for key, value in preconditions.items() if value is not None}:
            options["preconditions"] = wanted
        if dry_run:
            options["dryRun"] = ["All"]
        # Without a uid a second attempt could hit an object that was created in between.
        answer = await self.exchange(
            "DELETE", resource.path(namespace, name), body=codec.encode(options), repeatable=uid is not None
        )
        return decode(answer.body, dict, self.server)

    async def merge_patch(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        patch: Body | bytes,
        *,
        subresource: str = "",
        field_manager: str = "",
        dry_run: bool = False,
        type: type[T] = dict,  # type: ignore[assignment]  # noqa: A002
    ) -> T:
        """Merge `patch` into the object (RFC 7396); lists are replaced whole."""
        query = _writing(dry_run, field_manager)
        path = resource.path(namespace, name, subresource)
        answer = await self.request("PATCH", path, query=query, body=encoded(patch), content_type=MERGE_PATCH)
        return decode(answer, type, self.server)

    async def json_patch(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        patch: Sequence[Body] | bytes,
        *,
        subresource: str = "",
        field_manager: str = "",
        dry_run: bool = False,
        type: type[T] = dict,  # type: ignore[assignment]  # noqa: A002
    ) -> T:
        """Apply the operations of `patch` (RFC 6902), all or none. A failed `test` is Invalid."""
        query = _writing(dry_run, field_manager)
        path = resource.path(namespace, name, subresource)
        answer = await self.request("PATCH", path, query=query, body=encoded(patch), content_type=JSON_PATCH)
        return decode(answer, type, self.server)

    async def apply(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        body: Body | bytes,
        *,
        field_manager: str,
        force: bool = True,
        dry_run: bool = False,
        subresource: str = "",
        headed: Callable[[Mapping[str, str]], None] | None = None,
        type: type[T] = dict,  # type: ignore[assignment]  # noqa: A002
    ) -> T:
        """Server-side apply: own the fields of `body`, leave the rest. Without `force` a foreign field is Conflict.

        `headed` is shown the headers of the answer: what the server warns of stands there.
        """
        query = _writing(dry_run, field_manager)
        query["force"] = "true" if force else "false"
        # It would only be parsed once more, in search of doubled keys: an unknown field is refused all the same.
        query["fieldValidation"] = "Ignore"
        path = resource.path(namespace, name, subresource)
        answer = await self.exchange("PATCH", path, query=query, body=in_lines(body), content_type=APPLY_PATCH)
        if headed is not None:
            headed(answer.headers)
        return decode(answer.body, type, self.server)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        priority: int | None = None,
    ) -> bytes:
        """Any other request; `path` is already percent-encoded. Returns the body of a 2xx answer."""
        answer = await self.exchange(method, path, query=query, body=body, content_type=content_type, priority=priority)
        return answer.body

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        headers: Query | None = None,
        priority: int | None = None,
        repeatable: bool | None = None,
        max_body: int = MAX_BODY,
    ) -> Answer:
        """As `request`, with the answer's status and headers.

        `repeatable` says whether it may be sent again when the answer got lost (default: GET, merge patch and apply).
        An answer of more than `max_body` bytes is a ServerError with the reason AnswerTooLarge.
        """
        if repeatable is None:
            repeatable = method == "GET" or content_type in {MERGE_PATCH, APPLY_PATCH}
        call = Call(method, path, query, body, content_type, accept, headers, repeatable, max_body)
        fence = self._may_write if method != "GET" else None
        return await self._wire.exchange(call, self._identity, self._priority if priority is None else priority, fence)

    async def stream(self, path: str, query: Query, *, idle_timeout: float, accept: str = JSON) -> AsyncIterator[bytes]:
        """The lines of a watch as they come. Takes no slot. Raises Silent after `idle_timeout` seconds of nothing."""
        async with self.watching(path, query, idle_timeout=idle_timeout, accept=accept) as lines:
            async for line in lines:
                yield line

    def watching(
        self, path: str, query: Query, *, idle_timeout: float, accept: str = JSON
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """As `stream`, but entered once the server has agreed, which may be a minute before the first line."""
        call = Call("GET", path, query, accept=accept)
        return self._wire.watching(call, self._identity, idle_timeout=idle_timeout)


def _writing(dry_run: bool, field_manager: str) -> dict[str, str]:
    query = {"fieldManager": field_manager} if field_manager else {}
    if dry_run:
        query["dryRun"] = "All"
    return query
