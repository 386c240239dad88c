"""A client of the real control plane, a namespace of the test's own, and the target's way to apply one object."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.manifests.refs import Body, Gvk, Key, Manifest, Origin
from trimtab.targets.contract import Effect, Outcome
from trimtab.targets.kubernetes import gate
from trimtab.targets.kubernetes.apply import apply
from trimtab.targets.kubernetes.desired import PREFIX, Desired, Owner, prepare
from trimtab.targets.kubernetes.tracking import Tracker

OWNER = Owner(PREFIX, Key("flux-system", "shop"))
_NAMESPACES = Gvk("", "v1", "Namespace")


def desired(body: Body, **options: Any) -> Desired:
    """`body` as the engine would send it."""
    manifest = Manifest(body, Origin("app/x.yaml", 3, 1))
    return prepare([manifest], OWNER, namespaced={}, protected_namespace="flux-system", **options)[0]


class Cluster:
    """The engine's view of one namespace: what a pass does to an object, in short."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace
        self.tracker = Tracker(lambda app, news: None, lambda ref: None)

    async def judge(self, item: Desired, **options: Any) -> gate.Judgement:
        """The gate's word."""
        [judged] = await gate.judge(self.client, [item], gate.Providers.of([item]), **options)
        if isinstance(judged, gate.Passed) and judged.foreign:
            self.tracker.track(item.ref, OWNER.key).foreign = True
        return judged

    async def apply(self, body: Body | Desired, **options: Any) -> Outcome:
        """Gate and apply, as for a new or changed object."""
        item = body if isinstance(body, Desired) else desired(body)
        judged = await self.judge(item, **options)
        assert isinstance(judged, gate.Passed), judged
        outcome = await self.apply_unjudged(item, **options)
        assert outcome.effect is not Effect.FAILED, outcome
        return outcome

    async def apply_unjudged(self, item: Desired, **options: Any) -> Outcome:
        tracked = self.tracker.track(item.ref, OWNER.key)
        return (await apply(self.client, item, tracked, self.tracker, SystemClock(), **options)).outcome

    async def get(self, kind: str, name: str) -> Body | None:
        try:
            live: Body = await self.client.get(await self.client.discovery.find_by_name(kind), name, self.namespace)
        except NotFound:
            return None
        return live

    async def merge(self, kind: str, name: str, patch: Body, manager: str = "somebody") -> Body:
        resource = await self.client.discovery.find_by_name(kind)
        answer: Body = await self.client.merge_patch(resource, name, self.namespace, patch, field_manager=manager)
        return answer


@pytest.fixture
async def client(kubeconfig: Path) -> AsyncIterator[Client]:
    transport = AiohttpTransport()
    yield Client(config.load(kubeconfig), transport)
    await transport.close()


@pytest.fixture
async def cluster(client: Client, namespace: Callable[[], str]) -> Cluster:
    name = namespace()
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await client.create(await client.discovery.find(_NAMESPACES), body)
    return Cluster(client, name)


def managers(body: Body | None) -> set[tuple[str, str, str]]:
    """Who owns fields: manager, operation, subresource."""
    entries = (body or {})["metadata"]["managedFields"]
    return {(entry["manager"], entry["operation"], entry.get("subresource", "")) for entry in entries}
