"""Our own controllers beside a local control plane, as a process of their own: for the demo and for measurements."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from yarl import URL

from trimtab.api.crd import crds
from trimtab.api.gvk import GIT_REPOSITORY, KUSTOMIZATION
from trimtab.base.errors import Terminal
from trimtab.base.http import Request, Transport, TransportError
from trimtab.cluster import children, port
from trimtab.cluster.children import Child
from trimtab.kube.client import Client
from trimtab.kube.errors import AlreadyExists
from trimtab.manifests.refs import Body, Gvk, Ref

_MANAGER = "trimtab"
_READY_S = 60.0
_POLL_S = 0.05
_PATIENCE_S = 10.0
_LOG_LINES = 12
# What finding git, kustomize and the cache of binaries needs; nothing else of the user's gets in.
_KEPT = ("PATH", "HOME", "LANG", "XDG_CACHE_HOME", "KUBEBUILDER_ASSETS")


async def furnish(client: Client, namespace: str) -> None:
    """Create the install namespace and our definitions, and wait until the API server serves them."""
    await put(client, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    for body in crds():
        await put(client, body)
    for kind in (GIT_REPOSITORY, KUSTOMIZATION):
        # A definition is established a moment before its kind is listed, and listed a moment before it is served.
        resource = await client.discovery.wait_for(kind, _READY_S)
        await client.list(resource, namespace)


async def put(client: Client, body: Body) -> None:
    """Make `body` exist as it is written."""
    ref = Ref.of(body)
    resource = await client.discovery.find(Gvk.of(body["apiVersion"], ref.kind))
    try:
        await client.create(resource, body, ref.namespace, field_manager=_MANAGER)
    except AlreadyExists:
        await client.apply(resource, ref.name, ref.namespace, body, field_manager=_MANAGER, force=True)


class Controllers:
    """`trimtab run` at work."""

    def __init__(self, child: Child, metrics: URL, log: Path) -> None:
        self._child = child
        self.metrics = metrics
        self.log = log

    @property
    def pid(self) -> int:
        """The process, for those that measure it."""
        return self._child.pid

    def check(self) -> None:
        """Raise Terminal with its last words if it ended although nobody asked it to."""
        if self._child.code is not None:
            words = self.log.read_text(errors="replace").strip().splitlines()[-_LOG_LINES:]
            text = "\n".join(words)
            raise Terminal("ComponentFailed", f"trimtab run ended with {self._child.code}:\n{text}\n(log: {self.log})")


@asynccontextmanager
async def controllers(
    kubeconfig: Path,
    directory: Path,
    transport: Transport,
    *,
    arguments: tuple[str, ...] = (),
) -> AsyncIterator[Controllers]:
    """Run the controllers until the block ends, which begins when they are ready. They keep and log in `directory`.

    Raises Terminal with their last words if they do not get there.
    """
    storage, log = directory / "storage", directory / "trimtab.log"
    storage.mkdir(parents=True, exist_ok=True)
    with port.reserve(None) as first, port.reserve(None) as second:
        storage_addr, metrics_addr = (f"127.0.0.1:{number}" for number in (first, second))
    argv = [
        *(sys.executable, "-m", "trimtab.cli.main", "run"),
        *("--kubeconfig", str(kubeconfig), "--storage-path", str(storage)),
        *("--storage-addr", storage_addr, "--metrics-addr", metrics_addr),
        *arguments,
    ]
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    child = children.start("trimtab", argv, cwd=directory, env=env, log=log)
    running = Controllers(child, URL(f"http://{metrics_addr}"), log)
    try:
        await _until_ready(running, transport)
        yield running
    finally:
        await children.end([child], patience_s=_PATIENCE_S)


async def _until_ready(running: Controllers, transport: Transport) -> None:
    try:
        async with asyncio.timeout(_READY_S):
            while not await _serves(transport, running.metrics / "readyz"):
                running.check()
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        words = f"trimtab run is not ready after {_READY_S:g} s (log: {running.log})"
        raise Terminal("NotReady", words) from None


async def _serves(transport: Transport, url: URL) -> bool:
    try:
        response = await transport.send(Request("GET", url, timeout=5.0))
        await response.read()
    except TransportError:
        return False
    return response.status == 200
