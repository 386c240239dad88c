"""The benchmark of `trimtab diff`: `python -m bench.diff`. Everything it needs it starts, everything it starts it ends.

As many objects as asked for are applied to a control plane of their own. Then, in turns, the floor is measured, a bare
dry-run of each object, and the command over the files that declare them. What counts is the ratio.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.run import machine, say
from bench.server import APPLY, JSON, Server, all_of, connect
from trimtab.cluster.plane import ControlPlane
from trimtab.toolchain import binaries

_NAMESPACE = "shop"
_FILE_OBJECTS = 50


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds, each the median of several turns; `cpu_s` is what the command itself takes."""

    objects: int
    floor_s: float
    diff_s: float
    of_floor: float
    cpu_s: float
    machine: dict[str, Any]


async def main(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    control = await binaries.ensure("controlplane", progress=say)
    bodies = [_body(number) for number in range(arguments.objects)]
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as directory:
        files = Path(directory, "app")
        files.mkdir()
        for start in range(0, len(bodies), _FILE_OBJECTS):
            text = "\n---\n".join(map(json.dumps, bodies[start : start + _FILE_OBJECTS]))
            (files / f"part-{start:06}.yaml").write_text(text + "\n")
        # no Node: what is to run would only disturb
        async with AsyncExitStack() as stack:
            cluster = ControlPlane(Path(directory, "cluster"), kwok=False, binaries=control)
            plane = await stack.enter_async_context(cluster)
            server = await stack.enter_async_context(connect(plane.kubeconfig))
            await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": _NAMESPACE}}, kind=JSON)
            await all_of(partial(_apply, server, body, "") for body in bodies)
            say(f"{len(bodies)} objects are applied")
            floors, diffs = [], []
            for _ in range(arguments.runs):
                began = time.monotonic()
                await all_of(partial(_apply, server, body, "&dryRun=All") for body in bodies)
                floors.append(time.monotonic() - began)
                diffs.append(await _diff(files, plane.kubeconfig))
                say(f"floor {floors[-1]:.1f} s, diff {diffs[-1][0]:.1f} s")
    floor_s = statistics.median(floors)
    diff_s, cpu_s = (statistics.median(runs) for runs in zip(*diffs, strict=True))
    result = Result(
        len(bodies), round(floor_s, 2), round(diff_s, 2), round(diff_s / floor_s, 2), round(cpu_s, 2), machine()
    )
    print(json.dumps(asdict(result), indent=2))
    return 0


def _body(number: int) -> dict[str, Any]:
    """A ConfigMap or a Deployment, in turns."""
    metadata = {"name": f"object-{number:05}", "namespace": _NAMESPACE}
    if number % 2:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"number": str(number)}}
    labels = {"app": metadata["name"]}
    container = {"name": "web", "image": f"registry.example.com/web:{number}", "ports": [{"containerPort": 80}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


async def _apply(server: Server, body: dict[str, Any], rehearsal: str) -> None:
    group, plural = ("api/v1", "configmaps") if body["kind"] == "ConfigMap" else ("apis/apps/v1", "deployments")
    path = f"/{group}/namespaces/{_NAMESPACE}/{plural}/{body['metadata']['name']}"
    await server.call("PATCH", f"{path}?fieldManager=kustomize-controller&force=true{rehearsal}", body, kind=APPLY)


async def _diff(files: Path, kubeconfig: Path) -> tuple[float, float]:
    """Seconds of wall and of processor that the command takes."""
    before = os.times()
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trimtab", "diff", str(files), f"--kubeconfig={kubeconfig}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, told = await process.communicate()
    seconds = time.monotonic() - began
    assert process.returncode == 0, (said + told).decode(errors="replace")[:2000]
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, cpu


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.diff", description=__doc__)
    parser.add_argument("--objects", type=int, default=2_000, help="how many objects (2000)")
    parser.add_argument("--runs", type=int, default=3, help="how often both are timed (3)")
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parser().parse_args())))
