"""The benchmark of git: `python -m bench.git`. Everything it needs it starts, everything it starts it ends.

first   a repository of many files and commits: seconds until its first artifact is published, against the seconds of
        `git clone --depth 1 --filter=blob:none` plus reading every file of it. Round by round, one after the other.
polls   many GitRepositories on one server at a short interval, with the controllers on a real control plane: their CPU,
        requests for each look, resident memory and open files, minute by minute. Nothing changes meanwhile.

Ratios, shares and medians count: seconds of different machines, or of a busy and a quiet one, do not compare.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from bench.measure import consumption
from bench.run import machine, say, started
from bench.server import JSON, Server, all_of, connect
from trimtab.api.source import GitRef, GitRepositorySpec
from trimtab.artifacts.publish import Publisher
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.cluster.gitserver import GitServer
from trimtab.manifests.refs import Key
from trimtab.sources.git import ANONYMOUS, GitSource, GitSpec

_NAMESPACE = "bench-git"
_PATIENCE_S = 900.0
_LEAVES = 100  # files in a directory
_GIT_ENV = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "PATH": os.environ.get("PATH", "")}


@dataclass(frozen=True, slots=True)
class First:
    """Medians over the rounds, and the ratio of each round."""

    files: int
    commits: int
    clone_s: float
    clone_cpu_s: float
    artifact_s: float
    artifact_cpu_s: float
    ratio: float
    ratios: list[float]
    cpu_ratio: float


@dataclass(frozen=True, slots=True)
class Minute:
    """What the controllers used in one minute of looks."""

    looks: int
    requests: int
    cpu_s: float
    resident_mib: float
    open_files: int


@dataclass(frozen=True, slots=True)
class Polls:
    """`core_share` is CPU seconds for each second, less what the controllers use with nothing to look at."""

    repositories: int
    interval: str
    idle_cpu_s_per_minute: float
    core_share: float
    cpu_ms_per_look: float
    requests_per_look: float
    looks: int
    resident_mib_growth: float
    open_files_growth: int
    minutes: list[Minute]


class Counted(GitServer):
    """Counts every request, and a look apart: the one question a known server is asked."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.counts: Counter[str] = Counter()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.counts["looks" if request.method == "POST" else "others"] += 1
        return await super()._serve(request)


# --- the first artifact


async def first(arguments: argparse.Namespace, directory: Path) -> First:
    """A first artifact against a clone, round by round."""
    say(f"making a repository of {arguments.files} files and {arguments.commits} commits")
    bare = directory / "served" / "big.git"
    bare.parent.mkdir(parents=True)
    _git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    stream = b"".join(_history(arguments.files, arguments.commits))
    _git("--git-dir", str(bare), "fast-import", "--quiet", stdin=stream)
    _git("--git-dir", str(bare), "config", "uploadpack.allowFilter", "true")
    _git("--git-dir", str(bare), "repack", "-a", "-d", "-q")
    clones, artifacts = list[tuple[float, float]](), list[tuple[float, float]]()
    async with GitServer(bare.parent) as server:
        for number in range(arguments.rounds):
            for what, times in (("clone", clones), ("artifact", artifacts)):
                where = directory / f"{what}-{number}"
                times.append(await _measured(what, server.url("big"), where, arguments.files))
                say(f"{what}: {times[-1][0]:.2f} s, {times[-1][1]:.2f} s of CPU")
    ratios = [ours / theirs for (ours, _), (theirs, _) in zip(artifacts, clones, strict=True)]
    clone_cpu_s, artifact_cpu_s = (statistics.median(cpu for _, cpu in times) for times in (clones, artifacts))
    return First(
        arguments.files,
        arguments.commits,
        clone_s=round(statistics.median(seconds for seconds, _ in clones), 2),
        clone_cpu_s=round(clone_cpu_s, 2),
        artifact_s=round(statistics.median(seconds for seconds, _ in artifacts), 2),
        artifact_cpu_s=round(artifact_cpu_s, 2),
        ratio=round(statistics.median(ratios), 2),
        ratios=[round(ratio, 2) for ratio in ratios],
        cpu_ratio=round(artifact_cpu_s / clone_cpu_s, 2),
    )


def _history(files: int, commits: int) -> Iterator[bytes]:
    """All files in the first commit, then a hundredth of them in each."""
    for number in range(commits):
        yield f"commit refs/heads/main\ncommitter A <a@example.org> {1700000000 + number} +0000\ndata 1\nx\n".encode()
        changed = range(files) if number == 0 else range(number, files, 100)
        for file in changed:
            text = (f"# {number} {file}\n" + f"key-{file}: value of {file}\n" * (5 + file % 40)).encode()
            path = f"apps/group-{file // _LEAVES}/app-{file % _LEAVES}.yaml"
            yield b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(text), text)


async def _measured(what: str, url: str, directory: Path, files: int) -> tuple[float, float]:
    """Seconds, and CPU seconds with those of git, in a process of its own."""
    argv = [sys.executable, "-m", "bench.git", f"--{what}", url, "--directory", str(directory)]
    child = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    found = json.loads(out)
    assert found["files"] == files, found
    return found["seconds"], found["cpu_s"]


async def clone(url: str, directory: Path) -> int:
    """What anybody does without us; how many files there are."""
    _git("clone", "--quiet", "--depth", "1", "--filter=blob:none", url, str(directory))
    read = 0
    for where, directories, files in os.walk(directory):
        if ".git" in directories:
            directories.remove(".git")
        for name in files:
            with open(os.path.join(where, name), "rb") as file:
                file.read()
        read += len(files)
    return read


async def artifact(url: str, directory: Path) -> int:
    """Look, fetch and publish once, with nothing there before; how many files there are."""
    transport, clock = AiohttpTransport(), SystemClock()
    store = Store(directory / "store")
    source = GitSource(directory / "git", store, transport, clock)
    publisher = Publisher(store, "http://127.0.0.1", clock)
    spec = GitSpec.from_api(GitRepositorySpec(url=url, interval="1m", timeout="600s", ref=GitRef(branch="main")))
    snapshot = await source.fetch(spec, ANONYMOUS, await source.look(spec))
    await publisher.publish("GitRepository", Key("bench", "big"), snapshot)
    await transport.close()
    return len(snapshot.tree.entries)


async def timed(work: Awaitable[int]) -> None:
    """Do it and print what it took."""
    begin, times = time.monotonic(), os.times()
    files = await work
    seconds, after = time.monotonic() - begin, os.times()
    print(json.dumps({"seconds": seconds, "cpu_s": sum(after[:4]) - sum(times[:4]), "files": files}))


# --- looks at what does not change


async def polls(arguments: argparse.Namespace, directory: Path) -> Polls:
    """Minute by minute."""
    async with started(1, None) as bench, connect(bench.kubeconfig) as server, Counted(directory / "polled") as git:
        bare = await git.create("small")
        _git("--git-dir", str(bare), "fast-import", "--quiet", stdin=b"".join(_history(3, 1)))
        before = consumption([bench.pid])[0]
        await asyncio.sleep(60)
        idle = consumption([bench.pid])[0] - before
        say(f"idle: {idle:.2f} s of CPU in a minute; creating {arguments.repositories} GitRepositories")
        await server.call("POST", "/api/v1/namespaces", {"metadata": {"name": _NAMESPACE}}, kind=JSON)
        jobs = (
            partial(_create, server, git.url("small"), number, arguments.interval)
            for number in range(arguments.repositories)
        )
        await all_of(jobs)
        await _all_ready(server, arguments.repositories)
        # The first looks are over, and what is remembered of each is there.
        await asyncio.sleep(60)
        minutes = [await _minute(bench.pid, git) for _ in range(arguments.minutes)]
        await _all_ready(server, arguments.repositories)
    looks = sum(minute.looks for minute in minutes)
    cpu_s = sum(minute.cpu_s - idle for minute in minutes)
    return Polls(
        arguments.repositories,
        arguments.interval,
        idle_cpu_s_per_minute=round(idle, 2),
        core_share=round(cpu_s / (60 * len(minutes)), 4),
        cpu_ms_per_look=round(1000 * cpu_s / max(looks, 1), 2),
        requests_per_look=round(sum(minute.requests for minute in minutes) / max(looks, 1), 4),
        looks=looks,
        resident_mib_growth=round(minutes[-1].resident_mib - minutes[0].resident_mib, 1),
        open_files_growth=minutes[-1].open_files - minutes[0].open_files,
        minutes=minutes,
    )


async def _minute(pid: int, git: Counted) -> Minute:
    before, counts = consumption([pid])[0], git.counts.copy()
    await asyncio.sleep(60)
    looks, others = (git.counts[name] - counts[name] for name in ("looks", "others"))
    minute = Minute(
        looks=looks,
        requests=looks + others,
        cpu_s=round(consumption([pid])[0] - before, 2),
        resident_mib=_resident_mib(pid),
        open_files=len(os.listdir(f"/proc/{pid}/fd")),
    )
    say(f"{minute}")
    return minute


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(round(int(line.split()[1]) / 1024, 1) for line in status if line.startswith("VmRSS:"))


async def _create(server: Server, url: str, number: int, interval: str) -> None:
    body = {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": f"repo-{number}", "namespace": _NAMESPACE},
        "spec": {"url": url, "ref": {"branch": "main"}, "interval": interval},
    }
    await server.call("POST", _PATH, body, kind=JSON)


async def _all_ready(server: Server, count: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        items = (await server.call("GET", _PATH))["items"]
        ready = sum(_is_ready(item) for item in items)
        if ready == count:
            return
        say(f"{ready} are ready")
        await asyncio.sleep(5)
    raise TimeoutError(f"not ready after {_PATIENCE_S:g} s")


def _is_ready(item: dict[str, Any]) -> bool:
    conditions = item.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


_PATH = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{_NAMESPACE}/gitrepositories"


def _git(*arguments: str, stdin: bytes = b"") -> None:
    subprocess.run(["git", *arguments], input=stdin, check=True, env=_GIT_ENV)


async def main(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    if arguments.artifact or arguments.clone:
        work = artifact if arguments.artifact else clone
        await timed(work(arguments.artifact or arguments.clone, arguments.directory))
        return 0
    result: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as temporary:
        if "first" in arguments.parts:
            result["first"] = asdict(await first(arguments, Path(temporary)))
        if "polls" in arguments.parts:
            result["polls"] = asdict(await polls(arguments, Path(temporary)))
    print(json.dumps(result, indent=2))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="bench.git", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="first,polls", help="first,polls")
    parser.add_argument("--files", type=int, default=20_000, help="files of the large repository (20000)")
    parser.add_argument("--commits", type=int, default=60, help="its commits (60)")
    parser.add_argument("--rounds", type=int, default=5, help="first artifacts, and clones (5)")
    parser.add_argument("--repositories", type=int, default=1000, help="GitRepositories that are looked at (1000)")
    parser.add_argument("--interval", default="1m", help="how often (1m)")
    parser.add_argument("--minutes", type=int, default=10, help="for how long (10)")
    parser.add_argument("--artifact", default="", help=argparse.SUPPRESS)
    parser.add_argument("--clone", default="", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parser().parse_args())))
