"""What all worlds share: a control plane with our kinds, and a git server."""

import asyncio
import contextlib
from pathlib import Path

from tests.faults.scenarios import Scenario
from tests.faults.world import NAMESPACES, World, until
from trimtab.api.crd import crds
from trimtab.base.http import AiohttpTransport
from trimtab.cluster.gitserver import GitServer
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.errors import AlreadyExists, NotFound
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Gvk

_DEFINITIONS = Resource(
    Gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), "customresourcedefinitions", False
)


class Stage:
    """Opened once; worlds are built on it."""

    def __init__(self, kubeconfig: Path, root: Path) -> None:
        self._kubeconfig = kubeconfig
        self._root = root
        self._cluster = config.load(kubeconfig)
        self._git = GitServer(root / "git")
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
        for group, plural in (("kustomize", "kustomizations"), ("source", "gitrepositories")):

            async def served(path: str = f"/apis/{group}.toolkit.fluxcd.io/v1/{plural}") -> bool:
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
        url = self._git.url("x").removesuffix("/x.git")
        world = World(name, self._cluster, self._kubeconfig, self._root / "data", self._root / "git", url)
        self._worlds.append(world)
        await world.furnish(scenario.revisions(name))
        return world
