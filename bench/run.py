"""The benchmark: `python -m bench.run`. Everything it needs it starts, everything it starts it ends.

For every N: a fresh control plane, a git server and `trimtab run`; then the floor of this machine at this moment, the
phases of bench/measure.py, and the floor again. A machine is never the same twice, so what counts is the ratio to the
lower of the two floors of the same run; seconds of different days are not comparable.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from yarl import URL

from bench import floor, measure, report, rows
from bench.server import Server, connect
from trimtab.base.http import AiohttpTransport
from trimtab.cli import local
from trimtab.cluster.gitserver import GitServer
from trimtab.cluster.plane import ControlPlane
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.toolchain import binaries

HERE = Path(__file__).parent
RESULTS = HERE / "results"
BASELINE = HERE / "baseline.json"
REFERENCE = HERE.parents[1] / "shared" / "bench"
_NAMESPACE = "flux-system"
_WARM_UP_N = 30


@dataclass(frozen=True, slots=True)
class Bench:
    """What one measurement runs on."""

    kubeconfig: Path
    repository: measure.Repository
    bare: Path
    url: str
    pid: int
    tools: Path
    metrics: URL


@dataclass(frozen=True, slots=True)
class Ground:
    """A fresh control plane with our definitions, and a git server: all but the controllers."""

    kubeconfig: Path
    repository: measure.Repository
    bare: Path
    url: str
    tools: Path
    directory: Path
    transport: AiohttpTransport

    def controllers(self, *arguments: str) -> AbstractAsyncContextManager[local.Controllers]:
        """Our controllers on it, until the block ends. What a run before this one kept on disk is there again."""
        return local.controllers(self.kubeconfig, self.directory / "trimtab", self.transport, arguments=arguments)


@asynccontextmanager
async def ground(n: int, *, kwok: bool = False) -> AsyncIterator[Ground]:
    """What controllers work on, for `n` apps. With `kwok` what is wanted to run says it does."""
    control = await binaries.ensure("controlplane", progress=say)
    await binaries.ensure("render", progress=say)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-bench-")))
        say("starting a control plane, a git server and the controllers")
        # Without kwok no Node: the apps have no replicas, and what does not run does not disturb.
        plane = await stack.enter_async_context(ControlPlane(directory / "cluster", kwok=kwok, binaries=control))
        git = await stack.enter_async_context(GitServer(directory / "served"))
        bare = await git.create("bench")
        repository = measure.Repository(directory / "work", bare, n)
        await repository.create()
        transport = AiohttpTransport()
        stack.push_async_callback(transport.close)
        await local.furnish(Client(config.load(plane.kubeconfig), transport), _NAMESPACE)
        tools = control["kubectl"].parent
        yield Ground(plane.kubeconfig, repository, bare, git.url("bench"), tools, directory, transport)


@asynccontextmanager
async def started(n: int, concurrent: int | None, *, kwok: bool = False) -> AsyncIterator[Bench]:
    """The ground and the controllers, all fresh."""
    arguments = ("--concurrent", str(concurrent)) if concurrent else ()
    async with ground(n, kwok=kwok) as below, below.controllers(*arguments) as running:
        yield Bench(
            below.kubeconfig,
            below.repository,
            below.bare,
            below.url,
            running.pid,
            below.tools,
            running.metrics,
        )


async def measured(n: int, arguments: argparse.Namespace) -> report.Run:
    """The floor and the phases for `n` apps."""
    say(f"--- {n} apps")
    async with started(n, arguments.concurrent) as bench, connect(bench.kubeconfig) as server:
        # The first writes of a fresh server are slow, whoever makes them: they must not raise the floor.
        async for _ in floor.measure(server, _WARM_UP_N):
            pass
        before = await floored(server, n)
        run = measure.Measure(server, bench.repository, bench.url, n, pids=[bench.pid], timeout_s=arguments.timeout)
        phases: list[measure.Phase | measure.Drift] = []
        async for phase in run.run(arguments.phases.split(",")):
            say(json.dumps(asdict(phase)))
            phases.append(phase)
        after = await floored(server, n)
    return report.Run(n, before, after, tuple(phases))


async def floored(server: Server, n: int) -> floor.Floor:
    """The floor as it is now."""
    rows: list[floor.Row] = []
    async for row in floor.measure(server, n):
        say(f"floor, {row.floor}: {row.settled or row.seconds:.2f} s")
        rows.append(row)
    return floor.summary(rows)


async def referred(n: int, arguments: argparse.Namespace) -> None:
    """The same by the two reference programs, on a fresh control plane; they print for themselves."""
    say(f"--- {n} apps, by the reference programs")
    async with started(n, arguments.concurrent) as bench:
        env = {**os.environ, "KUBECONFIG": str(bench.kubeconfig), "PATH": f"{bench.tools}:{os.environ['PATH']}"}
        mttp = ["--url", bench.url, "--repo", str(bench.bare), "--pids", str(bench.pid), "--phases", arguments.phases]
        for program, *rest in (
            ("floor.py", str(n), str(bench.kubeconfig)),
            ("mttp.py", str(n), *mttp),
        ):
            child = await asyncio.create_subprocess_exec(sys.executable, str(REFERENCE / program), *rest, env=env)
            try:
                await child.wait()
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()


async def main(arguments: argparse.Namespace) -> int:
    """Measure, report, compare."""
    sizes = [int(size) for size in arguments.n.split(",")]
    if arguments.reference:
        for n in sizes:
            await referred(n, arguments)
        return 0
    runs = [await measured(n, arguments) for n in sizes]
    result = report.result(runs, machine=machine(), moment=datetime.now(UTC))
    print("\n" + report.table(runs) + "\n")
    if BASELINE.exists():
        print(report.comparison(result, json.loads(BASELINE.read_text())) + "\n")
    if arguments.json is not None:
        return rows.finish(
            rows.Table("apps", machine(), [row for run in runs for row in report.rows_of(run)]), arguments.json
        )
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {path}")
    if arguments.save_baseline:
        BASELINE.write_text(json.dumps(result, indent=2) + "\n")
        print(f"written to {BASELINE}")
    missed = report.missed(runs)
    for line in missed:
        print(f"missed: {line}")
    return 2 if missed and arguments.strict else 0


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def say(line: str) -> None:
    """Progress, on stderr: stdout has the result."""
    print(f"{time.monotonic() - _BEGAN:7.1f} s  {line}", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line of the benchmark."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--n", default="100", help="numbers of apps, separated by commas (100)")
    parser.add_argument("--phases", default=",".join(measure.PHASES), help="first,push,one,noop,drift")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds a phase may take (900)")
    parser.add_argument("--concurrent", type=int, help="workers of the controllers (their own default)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go (bench/results)")
    parser.add_argument("--json", type=Path, help="write the figures there, as all benchmarks do, and nowhere else")
    parser.add_argument("--save-baseline", action="store_true", help="make this run the one to compare with")
    parser.add_argument("--strict", action="store_true", help="exit with 2 when a budget is missed")
    if REFERENCE.is_dir():
        parser.add_argument("--reference", action="store_true", help=f"run the programs in {REFERENCE} instead")
    else:
        parser.set_defaults(reference=False)
    return parser


_BEGAN = time.monotonic()

if __name__ == "__main__":
    sys.exit(asyncio.run(main(parser().parse_args())))
