"""A reception with everything real but the API server, of which there is a double that counts what it is asked."""

import asyncio
import base64
from collections import Counter
from typing import Any

import msgspec
from yarl import URL

from tests.runtime.clocks import ManualClock
from tests.web.deliveries import TOKEN
from tests.web.issuer import Issuer
from trimtab.api.receiver import Receiver, webhook_path
from trimtab.base.errors import Terminal
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.kube.client import ListMeta, Page
from trimtab.kube.errors import NotFound, UnknownKind, Unreachable
from trimtab.kube.informer import Applied, Deleted
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Gvk, Key
from trimtab.remotes.outbound import Outbound
from trimtab.web.hints import Hints
from trimtab.web.hooks import Hooks
from trimtab.web.identities import Identities
from trimtab.web.reception import Reception
from trimtab.web.targets import Targets


class Cluster:
    """The double: Secrets by namespace and name, objects by kind, namespace and name, and what was patched."""

    def __init__(self) -> None:
        self.secrets: dict[tuple[str, str], dict[str, bytes]] = {}
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.asked: Counter[str] = Counter()
        self.patched: list[tuple[str, str, str]] = []
        self.away = False
        self.refusal: Exception | None = None
        self.discovery = self

    def with_priority(self, _priority: int) -> "Cluster":
        return self

    async def find(self, gvk: Gvk) -> Resource:
        return Resource(gvk, f"{gvk.kind.lower()}s", True, frozenset())

    async def find_kind(self, group: str, kind: str) -> Resource:
        if kind.startswith("Image"):
            raise UnknownKind(f"there is no {kind}")
        return await self.find(Gvk(group, "v1", kind))

    async def get(self, resource: Resource, name: str, namespace: str) -> Any:
        self._ask("get")
        data = self.secrets.get((namespace, name))
        if data is None:
            raise NotFound(404, "NotFound", f"{resource.gvk.kind} {name} not found")
        return {"data": {key: base64.b64encode(value).decode() for key, value in data.items()}}

    async def page(self, resource: Resource, namespace: str, token: str, **how: Any) -> Page[Any]:
        self._ask("list")
        assert how["metadata_only"]
        wanted = dict(pair.split("=") for pair in how["label_selector"].split(",") if pair)
        only = how["field_selector"].removeprefix("metadata.name=")
        items = [
            {"metadata": {"name": name, "namespace": where, "managedFields": [1], **metadata}}
            for (kind, where, name), metadata in self.objects.items()
            if (kind, where) == (resource.gvk.kind, namespace)
            and only in ("", name)
            and wanted.items() <= (metadata.get("labels") or {}).items()
        ]
        return Page(metadata=ListMeta(), items=items)

    async def merge_patch(self, resource: Resource, name: str, namespace: str, patch: Any, **_how: Any) -> Any:
        self._ask("patch")
        if self.refusal is not None:
            raise self.refusal
        if (resource.gvk.kind, namespace, name) not in self.objects:
            raise NotFound(404, "NotFound", f"{name} not found")
        assert list(patch) == ["metadata"]
        assert list(patch["metadata"]["annotations"]) == ["reconcile.fluxcd.io/requestedAt"]
        self.patched.append((resource.gvk.kind, namespace, name))

    def _ask(self, verb: str) -> None:
        self.asked[verb] += 1
        if self.away:
            raise Unreachable("the double", "it is away")


class Ground:
    """A reception for Receivers of the namespace `ns`, by a clock that tests turn."""

    def __init__(self, *, most_hints: int = 10_000) -> None:
        self.clock = ManualClock()
        self.cluster = Cluster()
        self.telemetry = Telemetry()
        self.tasks = Tasks("test")
        self.issuer = Issuer()
        self.denied: set[str] = set()
        client: Any = self.cluster
        self.hooks = Hooks(client, self.clock)
        self.hints = Hints(client, self.clock, self.telemetry, most=most_hints)
        self.hints.start(self.tasks)
        identities = Identities(Outbound(self.issuer, self.clock), self.clock, google=URL("https://9.9.9.8/certs"))
        targets = Targets(client, self.clock, self._may_refer)
        self.reception = Reception(self.hooks, targets, self.hints, identities, self.clock)
        self.cluster.secrets["ns", "token"] = {"token": TOKEN}
        self.cluster.objects["GitRepository", "ns", "repo"] = {}

    async def _may_refer(self, own: str, other: str) -> None:
        if other in self.denied:
            raise Terminal("AccessDenied", f"objects of namespace {other} may not be named from namespace {own}")

    def receiver(
        self, name: str = "hook", *, namespace: str = "ns", ready: str = "True", path: str | None = None, **spec: Any
    ) -> str:
        """Let there be a Receiver; its path."""
        spec = {
            "type": "generic",
            "secretRef": {"name": "token"},
            "resources": [{"kind": "GitRepository", "name": "repo"}],
            **spec,
        }
        spec = {key: value for key, value in spec.items() if value is not None}
        secret = self.cluster.secrets.get((namespace, spec["secretRef"]["name"]), {}) if "secretRef" in spec else {}
        real = webhook_path(secret.get("token", b""), Key(namespace, name))
        body = {
            "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"},
            "spec": spec,
            "status": {
                "webhookPath": path or real,
                "conditions": [{"type": "Ready", "status": ready, "reason": "Succeeded", "message": ""}],
            },
        }
        receiver = msgspec.convert(body, Receiver)
        self.hooks.hear(Applied(self._known.get(name), receiver))
        self._known[name] = receiver
        return path or real

    @property
    def _known(self) -> dict[str, Receiver]:
        known: dict[str, Receiver] = self.__dict__.setdefault("known", {})
        return known

    def gone(self, name: str = "hook") -> None:
        self.hooks.hear(Deleted(self._known.pop(name)))

    async def take(self, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> str:
        async def read() -> bytes:
            return body

        pairs = tuple((name.lower().encode(), value.encode()) for name, value in (headers or {}).items())
        return await self.reception.take(path, pairs, read)

    async def settled(self) -> list[tuple[str, str, str]]:
        """What was patched so far, once everybody rests."""
        for _ in range(50):
            await asyncio.sleep(0)
        return self.cluster.patched

    async def close(self) -> None:
        await self.hints.controller.stop(1)
        await self.tasks.close()
