"""What all worlds share: a control plane with our kinds, and a git server."""

import asyncio
import contextlib
from pathlib import Path

from aiohttp import web

from tests.faults.scenarios import Scenario
from tests.faults.world import NAMESPACES, World, until
from trimtab.api.crd import crds
from trimtab.base.http import AiohttpTransport
from trimtab.cluster.gitserver import GitServer
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.errors import AlreadyExists, NotFound
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body, Gvk

_DEFINITIONS = Resource(
    Gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), "customresourcedefinitions", False
)


class QuickGit(GitServer):
    """Git's own answers, given again while the repository is as it was: a process for each costs more than the run."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._given: dict[tuple[bytes | str, ...], tuple[dict[str, str], bytes]] = {}

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        repository = self.root / request.match_info["path"].partition("/")[0]
        refs = [*sorted((repository / "refs").rglob("*")), repository / "packed-refs"]
        state = b"".join(bytes(file) + file.read_bytes() for file in refs if file.is_file())
        spoken = request.headers.get("Git-Protocol", "")
        asked = (request.method, request.path_qs, spoken, await request.read(), state)
        if asked not in self._given:
            answer = await super()._serve(request)
            if not isinstance(answer, web.Response) or answer.status != 200 or not isinstance(answer.body, bytes):
                return answer
            self._given[asked] = ({"Content-Type": answer.content_type}, answer.body)
        headers, body = self._given[asked]
        return web.Response(headers=headers, body=body)


class Stage:
    """Opened once; worlds are built on it."""

    def __init__(self, kubeconfig: Path, root: Path) -> None:
        self._kubeconfig = kubeconfig
        self._root = root
        self._cluster = config.load(kubeconfig)
        self._git = QuickGit(root / "git")
        self._worlds: list[World] = []

    async def __aenter__(self) -> "Stage":
        (self._root / "git").mkdir(parents=True, exist_ok=True)
        await self._git.start()
        transport = AiohttpTransport()
        client = Client(self._cluster, transport)
        for crd in crds():
            with contextlib.suppress(AlreadyExists):
                await client.create(_DEFINITIONS, crd)
        with contextlib.suppress(AlreadyExists):
            await client.create(
                NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flux-system"}}
            )
        for group, plural in (
            ("kustomize.toolkit.fluxcd.io/v1", "kustomizations"),
            ("source.toolkit.fluxcd.io/v1", "gitrepositories"),
            ("source.toolkit.fluxcd.io/v1", "helmcharts"),
            ("helm.toolkit.fluxcd.io/v2", "helmreleases"),
        ):

            async def served(path: str = f"/apis/{group}/{plural}") -> bool:
                try:
                    await client.request("GET", path)
                except NotFound:
                    return False
                return True

            await until(served, f"{plural} are served")
        await transport.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(world.close() for world in self._worlds))
        await self._git.stop()

    async def world(self, scenario: Scenario, number: int = 0) -> World:
        """A world for the runs of `scenario`."""
        name = f"f{number}-{scenario.name}"
        world = self._new(name, scenario.world)
        await world.furnish(scenario.revisions(name))
        return world

    async def bare(self, name: str, kinds: list[Body]) -> World:
        """A world without revisions, in which objects of the kinds of these bodies will occur."""
        world = self._new(name)
        await world.furnish({"kinds": {"kinds": kinds}})
        return world

    def _new(self, name: str, kind: type[World] = World) -> World:
        url = self._git.url("x").removesuffix("/x.git")
        world = kind(name, self._cluster, self._kubeconfig, self._root / "data", self._root / "git", url)
        self._worlds.append(world)
        return world
