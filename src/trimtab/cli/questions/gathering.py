"""Reads the many objects of an app with few requests: by lists of what carries its labels.

A list is as fresh as a GET: without a resourceVersion the server answers with what is stored now. What no list brings,
because it has lost its labels, is gone or may not be listed, is for the caller to ask for one by one.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, Required, TypedDict, TypeVar, cast

from trimtab.api import names
from trimtab.api.gvk import HELM_RELEASE, KUSTOMIZATION
from trimtab.health.verdict import State, Verdict
from trimtab.kube.errors import ApiError, StaleGroup, UnknownKind
from trimtab.manifests.refs import Body, Gvk, Ref

if TYPE_CHECKING:
    from trimtab.kube.client import Client, Page
    from trimtab.kube.resource import Resource

T = TypeVar("T")

MANY: Final = 50
"""More of one kind are listed, as many or fewer are read one by one: a list costs the server the whole namespace."""
PLAIN: Final = frozenset(
    {
        ("", "ConfigMap"),
        ("", "Secret"),
        ("", "ServiceAccount"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io", "Role"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
    }
)
"""Kinds without spec and status: how such an object is, its metadata tells. What is in it need not travel."""
WELL: Final = Verdict(State.Current)

_PAGE: Final = 500
_PAGE_OF_METADATA: Final = 2_500
_SENT_S: Final = 0.001
"""A request is on its way after that, and the answer to it is made while we read the one before."""
_TELLING: Final = ("annotations", "deletionTimestamp")
_LABELS: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    (KUSTOMIZATION.group, KUSTOMIZATION.kind): (names.OWNER_NAME, names.OWNER_NAMESPACE),
    (HELM_RELEASE.group, HELM_RELEASE.kind): (names.RELEASE_OWNER_NAME, names.RELEASE_OWNER_NAMESPACE),
}


class Listed(NamedTuple):
    """An object of an app, and the version it was applied in."""

    ref: Ref
    version: str


async def gathered(
    client: "Client",
    owner: Ref,
    listed: Iterable[Listed],
    take: Callable[[Ref, Body], T],
    *,
    bare: Callable[[Gvk], bool],
    find: "Callable[[Gvk], Awaitable[Resource]] | None" = None,
) -> dict[Ref, T]:
    """What `take` makes of those of `listed` that are found by the labels of `owner`. Raises Unreachable.

    Of kinds that are `bare` only the metadata are read. `find` says where a kind is served, if not as it was applied.
    """
    kinds: dict[Gvk, set[Ref]] = {}
    for ref, version in listed:
        kinds.setdefault(Gvk(ref.group, version, ref.kind), set()).add(ref)
    found: dict[Ref, T] = {}
    for gvk, refs in kinds.items():
        if len(refs) <= MANY or owner[:2] not in _LABELS:
            continue
        try:
            resource = await (find or client.discovery.find)(gvk)
        except (ApiError, UnknownKind, StaleGroup):
            continue
        for places in ways(refs):
            allowed = True
            for place in places:
                try:
                    async for ref, body in _labelled(client, resource, place, _selector(owner), bare=bare(gvk)):
                        if ref in refs:
                            found[ref] = take(ref, body)
                except ApiError:
                    allowed = False
            if allowed:
                break
    return found


def calm(ref: Ref, body: Body) -> bool:
    """Whether an object is well at first sight: ten thousand that have nothing to say are not asked one by one."""
    return ref[:2] in PLAIN and body["metadata"].keys().isdisjoint(_TELLING)


def ways(refs: Iterable[Ref]) -> Iterator[list[str]]:
    """The namespaces in which to list `refs`, and others for who may not list there. An empty name is everywhere."""
    counts = Counter(ref.namespace for ref in refs)
    crowded = [namespace for namespace, count in counts.items() if count > MANY]
    if sum(count for count in counts.values() if count <= MANY) > MANY:
        yield [""]
    yield crowded


class _Metadata(TypedDict, total=False):
    """What is read of metadata: all that an identity and a verdict take, and not who manages which field."""

    name: Required[str]
    namespace: str
    uid: str
    annotations: dict[str, str]
    creationTimestamp: str
    deletionTimestamp: str
    finalizers: list[str]


class _Bare(TypedDict):
    metadata: _Metadata


async def _labelled(
    client: "Client", resource: "Resource", namespace: str, selector: str, *, bare: bool
) -> AsyncIterator[tuple[Ref, Body]]:
    """Page by page, since a whole list of large objects fills the memory; one is on its way while another is read."""
    gvk = resource.gvk
    form, limit = (cast("type[Body]", _Bare), _PAGE_OF_METADATA) if bare else (dict, _PAGE)

    def ask(token: str) -> "asyncio.Task[Page[Body]]":
        asked = client.page(
            resource, namespace, token, label_selector=selector, limit=limit, metadata_only=bare, type=form
        )
        return asyncio.ensure_future(asked)

    asked: asyncio.Task[Page[Body]] | None = ask("")
    try:
        while asked is not None:
            page = await asked
            asked = ask(page.metadata.continue_) if page.metadata.continue_ else None
            if asked is not None:
                await asyncio.sleep(_SENT_S)
            for item in page.items or ():
                metadata = item["metadata"]
                # an object in a list need not say what it is, and metadata say that they are metadata
                item["apiVersion"], item["kind"] = gvk.api_version, gvk.kind
                yield Ref(gvk.group, gvk.kind, metadata.get("namespace") or "", metadata["name"]), item
    finally:
        if asked is not None:
            asked.cancel()


def _selector(owner: Ref) -> str:
    name, namespace = _LABELS[owner[:2]]
    return f"{name}={owner.name},{namespace}={owner.namespace}"
