"""Doubles of a cluster and of a registry, in memory: the controllers of images run on them, hours in milliseconds.

Below the transport and the verbs of Kubernetes everything is real, the store of tags on disk included.
"""

import copy
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from multidict import CIMultiDict

from trimtab.api.gvk import IMAGE_POLICY, IMAGE_REPOSITORY
from trimtab.api.image import ImagePolicy, ImageRepository
from trimtab.base.errors import TrimtabError
from trimtab.base.http import BodyTooLarge, Request, TransportError
from trimtab.controllers import imagepolicy, imagerepository
from trimtab.controllers.access import Access, CrossNamespace
from trimtab.controllers.imagepolicy import ImagePolicies
from trimtab.controllers.imagerepository import ImageRepositories
from trimtab.controllers.scans import Scans
from trimtab.images.scanning import Scanner
from trimtab.images.tagstore import TagStore
from trimtab.kube.errors import ApiError, NotFound
from trimtab.kube.store import Applied
from trimtab.manifests.refs import Gvk, Key
from trimtab.remotes.outbound import Outbound

HOME = "flux-system"
REPOSITORY, POLICY = Key(HOME, "app"), Key(HOME, "app")
STRUCTS: Mapping[Gvk, Any] = {IMAGE_REPOSITORY: ImageRepository, IMAGE_POLICY: ImagePolicy}


class Moments:
    """A clock that only tests turn; who sleeps on it turns it too."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Answer:
    """A response; `cut` breaks off in the middle of it."""

    def __init__(
        self, status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None, *, cut: bool = False
    ) -> None:
        self.status, self.body, self.cut = status, body, cut
        self.headers: Mapping[str, str] = CIMultiDict(headers or {})

    async def read(self, limit: int = 1 << 30) -> bytes:
        if self.cut:
            raise TransportError("the connection was closed")
        if len(self.body) > limit:
            raise BodyTooLarge("over the limit")
        return self.body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield await self.read()

    async def close(self) -> None:
        return


class FakeRegistry:
    """A transport that leads to one repository. `says` answers the list of tags in the place of the truth."""

    def __init__(self, *tags: str) -> None:
        self.tags = dict.fromkeys(tags, "sha256:" + "a" * 64)
        self.says: Answer | None = None
        self.heads: Answer | None = None
        self.asked: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.ways: list[Request] = []

    async def send(self, request: Request) -> Answer:
        path = request.url.path
        self.asked.append(f"{request.method} {path.rpartition('/v2/')[2]}")
        self.headers.append(request.headers)
        self.ways.append(request)
        if path.endswith("/tags/list"):
            return self.says or listing(*self.tags)
        if self.heads is not None:
            return self.heads
        digest = self.tags.get(path.rpartition("/")[2])
        return Answer(headers={"Docker-Content-Digest": digest}) if digest else Answer(404)


def listing(*tags: str, **headers: str) -> Answer:
    return Answer(body=json.dumps({"name": "app", "tags": list(tags)}).encode(), headers=headers)


class FakeCluster:
    """The verbs that the controllers use, over objects in memory."""

    def __init__(self) -> None:
        self.bodies: dict[tuple[Gvk, Key], Any] = {}
        self.writes = 0
        self.refuses = False
        self.discovery = SimpleNamespace(find=self._find)

    async def _find(self, gvk: Gvk) -> Any:
        return SimpleNamespace(gvk=gvk)

    async def get(self, resource: Any, name: str, namespace: str = "", **_: Any) -> Any:
        try:
            return self.bodies[resource.gvk, Key(namespace, name)]
        except KeyError:
            raise NotFound(404, "NotFound", f"{resource.gvk.kind} {namespace}/{name}") from None

    async def merge_patch(self, resource: Any, name: str, namespace: str, patch: Any, **_: Any) -> Any:
        if self.refuses:
            raise ApiError(500, "InternalError", "etcd is not there")
        self.writes += 1
        merged(self.bodies[resource.gvk, Key(namespace, name)], patch)

    async def json_patch(self, resource: Any, name: str, namespace: str, _patch: Any, *, type: Any) -> Any:  # noqa: A002
        body = self.bodies[resource.gvk, Key(namespace, name)]
        body["metadata"]["finalizers"] = ["finalizers.fluxcd.io"]
        return msgspec.convert(body, type, strict=False)

    def items(self, gvk: Gvk) -> dict[Key, Any]:
        return {
            key: msgspec.convert(copy.deepcopy(body), STRUCTS[gvk])
            for (kind, key), body in self.bodies.items()
            if kind == gvk
        }


def merged(body: Any, patch: Any) -> None:
    for name, value in patch.items():
        if value is None:
            body.pop(name, None)
        elif isinstance(value, dict) and isinstance(body.get(name), dict):
            merged(body[name], value)
        else:
            body[name] = value


class Images:
    """Both controllers, a registry, and one ImageRepository with one ImagePolicy."""

    def __init__(self, directory: Path, *tags: str) -> None:
        self.directory = directory
        self.clock, self.cluster, self.registry = Moments(), FakeCluster(), FakeRegistry(*tags)
        self.told: list[tuple[str, str]] = []
        self.woken: set[Key] = set()
        self.let_in: set[Key] = set()
        self.generation = 0
        self.start()

    def start(self, *, lost: bool = False) -> None:
        """Begin anew, as another process: what is not on disk or in the cluster is forgotten."""
        path = self.directory / "tags.db"
        if lost:
            for file in self.directory.glob("tags.db*"):
                file.unlink()
        self.store = TagStore(path)
        scans = Scans()
        scanner = Scanner(Outbound(self.registry, self.clock), self.clock)  # type: ignore[arg-type]
        recorder = SimpleNamespace(record=lambda _about, _type, reason, words, _meta: self.told.append((reason, words)))
        client: Any = self.cluster
        self._repositories, self._policies = SimpleNamespace(store={}), SimpleNamespace(store={})
        self.choosing = ImagePolicies(
            imagepolicy.Surroundings(
                client=client,
                objects=self._policies,
                repositories=self._repositories,
                scanner=scanner,
                store=self.store,
                scans=scans,
                access=Access(client, self.clock, namespace=HOME, cross_namespace=CrossNamespace.PLATFORM),
                recorder=recorder,
                clock=self.clock,
            ),
            self.woken.add,
            self.woken.add,
        )
        self.looking = ImageRepositories(
            imagerepository.Surroundings(
                client=client,
                objects=self._repositories,
                scanner=scanner,
                store=self.store,
                scans=scans,
                chosen=self.choosing.chosen,
                recorder=recorder,
                clock=self.clock,
            ),
            self.let_in.add,
            chance=lambda: 0.0,
        )
        scans.on_change(self.choosing.moved)
        self._see()
        for item in self._policies.store.values():
            self.choosing.hear(Applied(None, item))

    def repository(self, key: Key = REPOSITORY, **spec: Any) -> None:
        image = {"image": "127.0.0.1:5000/app", "interval": "1m", "insecure": True}
        self._put(IMAGE_REPOSITORY, key, {**image, **spec})

    def policy(self, key: Key = POLICY, annotations: Mapping[str, str] | None = None, **spec: Any) -> None:
        wanted = {"imageRepositoryRef": {"name": "app"}, "policy": {"semver": {"range": "*"}}}
        self._put(IMAGE_POLICY, key, {**wanted, **spec}, annotations)
        self._see()
        self.choosing.hear(Applied(None, self._policies.store[key]))

    def _put(self, gvk: Gvk, key: Key, spec: Any, annotations: Mapping[str, str] | None = None) -> None:
        self.generation += 1
        before = self.cluster.bodies.get((gvk, key), {})
        metadata = {"namespace": key.namespace, "name": key.name, "uid": f"{gvk.kind}-{key}", "resourceVersion": "1"}
        metadata |= {"generation": self.generation, "annotations": dict(annotations or {})}
        self.cluster.bodies[gvk, key] = {
            "apiVersion": gvk.api_version,
            "kind": gvk.kind,
            "metadata": metadata,
            "spec": spec,
            "status": before.get("status", {"observedGeneration": -1}),
        }

    def _see(self) -> None:
        """The informers catch up."""
        self._repositories.store.clear()
        self._repositories.store.update(self.cluster.items(IMAGE_REPOSITORY))
        self._policies.store.clear()
        self._policies.store.update(self.cluster.items(IMAGE_POLICY))

    async def look(self, key: Key = REPOSITORY, *, asked: bool = False) -> Any:
        """One pass over a repository, and over the policies that it wakes. What it returned, or raised."""
        self._see()
        if asked:
            body = self.cluster.bodies[IMAGE_REPOSITORY, key]
            body["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"] = str(self.clock.seconds)
            self._see()
        try:
            result = await self.looking.reconcile(key)
        except (TrimtabError, ApiError) as failure:
            result = failure
        while self.woken:
            await self.choose(self.woken.pop())
        self._see()
        return result

    async def choose(self, key: Key = POLICY) -> Any:
        self._see()
        try:
            result = await self.choosing.reconcile(key)
        except (TrimtabError, ApiError) as failure:
            result = failure
        self._see()
        return result

    def latest(self, key: Key = POLICY) -> str | None:
        ref = self._policies.store[key].status.latest_ref
        return ref.tag if ref else None

    def status(self, gvk: Gvk = IMAGE_REPOSITORY, key: Key = REPOSITORY) -> Any:
        return self.cluster.items(gvk)[key].status

    def ready(self, gvk: Gvk = IMAGE_REPOSITORY, key: Key = REPOSITORY) -> tuple[str, str, str]:
        found = self.cluster.items(gvk)[key].ready
        return (found.status, found.reason, found.message) if found else ("", "", "")
