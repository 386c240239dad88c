"""The objects that the resources of a Receiver name, and which of them a delivery is about."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from trimtab.api.receiver import EVERY, Receiver, ReceiverResource
from trimtab.base.clock import Clock
from trimtab.base.errors import TrimtabError
from trimtab.health.expressions import EvaluationError
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound, StaleGroup, UnknownKind, Unreachable
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body
from trimtab.web.delivery import Refused, Why
from trimtab.web.filters import Filter
from trimtab.web.fresh import Fresh

log = logging.getLogger(__name__)

_LIST_FOR_S: Final = 1.0
_MOST_LISTS: Final = 1000
_MOST_OBJECTS: Final = 5000
"""Objects of one resource."""
_PAGE: Final = 500
_EXPECTED: Final = (ApiError, Unreachable, UnknownKind, StaleGroup, TrimtabError)

MayRefer = Callable[[str, str], Awaitable[None]]
"""Raises TrimtabError if objects of a namespace may not refer to those of another."""


class Target(NamedTuple):
    """An object that can be asked for a look."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


class Targets:
    """Finds them. What is listed is believed for a second: a flood of calls is one list a second."""

    def __init__(self, client: Client, clock: Clock, may_refer: MayRefer) -> None:
        self._client = client
        self._may_refer = may_refer
        self._lists: Fresh[tuple[str, str, str, str, str], list[Body]] = Fresh(
            clock, good_s=_LIST_FOR_S, bad_s=_LIST_FOR_S, most=_MOST_LISTS, expected=_EXPECTED
        )

    async def of(self, receiver: Receiver, found: Filter | None) -> tuple[list[Target], list[str]]:
        """The objects that a delivery is about, and what is wrong with the rest. Without expressions `found` is None.

        One resource's trouble is its own. Raises Refused (503) if nothing can be known because of the API server.
        """
        targets: dict[Target, None] = {}
        troubles: list[str] = []
        for place, resource in enumerate(receiver.spec.resources):
            where = f"spec.resources[{place}]"
            try:
                for target in await self._of(receiver, resource, found):
                    targets[target] = None
            except Unreachable as failure:
                raise Refused(503, Why.UNAVAILABLE, "the API server does not answer") from failure
            except EvaluationError as failure:
                troubles.append(f"{where}: an expression has no answer: {failure}")
            except _EXPECTED as failure:
                troubles.append(f"{where}: {failure}")
        return list(targets), troubles

    async def _of(self, receiver: Receiver, resource: ReceiverResource, found: Filter | None) -> list[Target]:
        own = receiver.metadata.namespace
        namespace = resource.namespace or own
        if namespace != own:
            await self._may_refer(own, namespace)
        if found is None and resource.name != EVERY:
            return [Target(resource.group, resource.kind, namespace, resource.name)]
        targets: list[Target] = []
        for body in await self._bodies(resource, namespace):
            if found is not None:
                # One expression may take some tenths of a second, and there may be thousands of objects.
                await asyncio.sleep(0)
            if found is None or found.admits(resource, body):
                targets.append(Target(resource.group, resource.kind, namespace, str(body["metadata"]["name"])))
        return targets

    async def _bodies(self, resource: ReceiverResource, namespace: str) -> list[Body]:
        """The objects, or what of them expressions may see: their metadata."""
        labels = ",".join(f"{key}={value}" for key, value in sorted(resource.match_labels.items()))
        field = "" if resource.name == EVERY else f"metadata.name={resource.name}"
        key = (resource.group, resource.kind, namespace, labels, field)

        async def load() -> list[Body]:
            served = await self._client.discovery.find_kind(resource.group, resource.kind)
            bodies = await self._list(served, namespace, labels, field)
            if field and not bodies:
                raise NotFound(404, "NotFound", f"{resource.kind} {namespace}/{resource.name} does not exist")
            return bodies

        return await self._lists.get(key, load)

    async def _list(self, served: Resource, namespace: str, labels: str, field: str) -> list[Body]:
        bodies: list[Body] = []
        token = ""
        while True:
            page = await self._client.page(
                served,
                namespace,
                token,
                label_selector=labels,
                field_selector=field,
                limit=_PAGE,
                metadata_only=True,
            )
            bodies += [_visible(served, body) for body in page.items or ()]
            token = page.metadata.continue_
            if not token or len(bodies) >= _MOST_OBJECTS:
                return bodies[:_MOST_OBJECTS]


def _visible(served: Resource, body: Body) -> Body:
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {"apiVersion": served.gvk.api_version, "kind": served.gvk.kind, "metadata": metadata}
