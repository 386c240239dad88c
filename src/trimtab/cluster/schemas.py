"""`python -m trimtab.cluster.schemas`: the schemas of Kubernetes' own kinds, as `trimtab validate` carries them along.

For each supported version the OpenAPI documents of its release are read from the Go module k8s.io/kubernetes (licence:
Apache-2.0) and cut down to what can be judged by: types, fields, keys of lists. Which values a field may have is left
out of those documents; it is asked of the API server that the toolchain builds, which is of the newest version.
"""

import asyncio
import gzip
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from trimtab.api.kubernetes import DIRECTORY
from trimtab.base import process
from trimtab.base.errors import Terminal
from trimtab.base.http import AiohttpTransport
from trimtab.cluster.plane import ControlPlane
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.manifests import codec
from trimtab.manifests.documents import choices, reduced
from trimtab.toolchain import binaries, golang

RELEASES: Final = ("1.34.4", "1.35.4", "1.36.3")
_MODULE: Final = "k8s.io/kubernetes"
_DOWNLOAD_S: Final = 900.0


async def _released(version: str, go: Path) -> dict[str, Any]:
    """The OpenAPI documents of a release, by their names."""
    with tempfile.TemporaryDirectory() as nowhere:
        done = await process.run(
            [go, "mod", "download", "-json", f"{_MODULE}@v{version}"],
            env={**golang.environment(), "GOFLAGS": "-mod=mod"},
            cwd=Path(nowhere),
            timeout=_DOWNLOAD_S,
        )
    if done.code != 0:
        raise Terminal("ToolchainBuildFailed", f"{_MODULE} v{version}: {done.stderr.decode(errors='replace')[-600:]}")
    folder = Path(codec.decode(done.stdout)["Dir"]) / "api" / "openapi-spec" / "v3"
    return {file.name: codec.decode(file.read_bytes()) for file in sorted(folder.glob("api*__*_openapi.json"))}


async def _served() -> dict[str, Any]:
    """The OpenAPI documents of a server of the toolchain's version."""
    transport = AiohttpTransport()
    found = await binaries.ensure("controlplane", progress=_say)
    with tempfile.TemporaryDirectory() as directory:
        async with ControlPlane(Path(directory), kwok=False, binaries=found) as plane:
            try:
                client = Client(config.load(plane.kubeconfig), transport)
                index = codec.decode(await client.request("GET", "/openapi/v3"))["paths"]
                return {
                    path: codec.decode(await client.request("GET", f"/openapi/v3/{path}"))
                    for path in index
                    if path.startswith(("api/", "apis/")) and path.count("/") == (1 if path.startswith("api/") else 2)
                }
            finally:
                await transport.close()


async def main() -> None:
    """Write the bundle of every supported version."""
    go = await golang.ensure(binaries.cache_root(), _say)
    known = choices(await _served())
    for version in RELEASES:
        kept = {"version": version, **reduced(await _released(version, go), known)}
        file = DIRECTORY / f"{version.rpartition('.')[0]}.json.gz"
        file.parent.mkdir(exist_ok=True)
        # without a time, the same schemas are the same bytes
        file.write_bytes(gzip.compress(codec.encode(kept), 9, mtime=0))
        _say(f"{file.name}: {len(kept['kinds'])} kinds, {len(kept['schemas'])} schemas, {file.stat().st_size} bytes")


def _say(line: str) -> None:
    sys.stderr.write(f"schemas: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    asyncio.run(main())
