"""Interrupted at any byte: a wire that is cut, a process that is killed, a full disk. The next try succeeds."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.remotes.proxies import Cutter, cutter
from tests.remotes.world import Repository
from trimtab.api.source import GitRef, GitRepositorySpec
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.base.http import AiohttpTransport
from trimtab.cluster.gitserver import GitServer
from trimtab.sources.git import ANONYMOUS, GitSource, GitSpec

WHOLE = 1 << 62


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with GitServer(tmp_path / "repositories") as server:
        yield server


@pytest.fixture
async def wire(server: GitServer) -> AsyncIterator[Cutter]:
    async with cutter(server.port) as wire:
        yield wire


@pytest.fixture
def repository(server: GitServer) -> Repository:
    return Repository.create(server.root / "apps.git")


@pytest.fixture
def source(tmp_path: Path, transport: AiohttpTransport) -> GitSource:
    return GitSource(tmp_path / "cache", Store(tmp_path / "store"), transport, SystemClock())


def spec(port: int) -> GitSpec:
    url = f"http://127.0.0.1:{port}/apps.git"
    return GitSpec.from_api(GitRepositorySpec(url=url, interval="1m", timeout="20s", ref=GitRef(branch="main")))


async def got(source: GitSource, wanted: GitSpec, previous: Snapshot | None = None) -> Snapshot:
    return await source.fetch(wanted, ANONYMOUS, await source.look(wanted), previous and previous.tree)


def content(number: int) -> dict[str, bytes]:
    return {f"d{one}/{one}": os.urandom(2000) for one in range(50)} | {"n": b"%d" % number}


def files(snapshot: Snapshot) -> dict[str, bytes]:
    return {entry.path: snapshot.read(entry.path) for entry in snapshot.tree.entries}


async def test_a_connection_that_is_cut_at_any_byte_of_the_pack(repository, source, wire, tmp_path):
    """Before there is a mirror, and when there is one: that stays, so that the next fetch costs no more."""
    wanted = spec(wire.port)
    held: Snapshot | None = None
    for number in range(2):
        there = content(number)
        repository.commit(there)
        head = await source.look(wanted)
        before, mirrors = held and files(held), [path.stat().st_ino for path in tmp_path.glob("cache/mirrors/*.git")]
        for share in (0.0, 0.002, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999):
            # The pack alone is 100 kB: what is around it are a few hundred bytes.
            wire.most, wire.passes = max(1, int(share * 102_000)), 0
            with pytest.raises(Transient) as caught:
                await source.fetch(wanted, ANONYMOUS, head, held and held.tree)
            assert caught.value.reason == "GitOperationFailed"
            assert held is None or files(held) == before
            assert [path.stat().st_ino for path in tmp_path.glob("cache/mirrors/*.git")] == mirrors, caught.value
        wire.most = WHOLE
        held = await source.fetch(wanted, ANONYMOUS, head, held and held.tree)
        assert files(held) == there


async def test_a_look_that_is_cut_at_any_byte(repository, tmp_path, wire):
    commit = repository.commit({"a": b"1"})
    for most in (1, 20, 60, 100, 150, 200, 250):
        transport = AiohttpTransport()
        source = GitSource(tmp_path / "cache", Store(tmp_path / "store"), transport, SystemClock())
        wire.most, wire.passes = most, 0
        with pytest.raises(Transient):
            await source.look(spec(wire.port))
        wire.most = WHOLE
        assert (await source.look(spec(wire.port))).commit == commit
        await transport.close()


VICTIM = """
import asyncio, sys
from pathlib import Path
from trimtab.api.source import GitRef, GitRepositorySpec
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.sources.git import ANONYMOUS, GitSource, GitSpec

async def main(root, port):
    source = GitSource(root / "cache", Store(root / "store"), AiohttpTransport(), SystemClock())
    url = f"http://127.0.0.1:{port}/apps.git"
    spec = GitSpec.from_api(GitRepositorySpec(url=url, interval="1m", ref=GitRef(branch="main")))
    await source.fetch(spec, ANONYMOUS, await source.look(spec))

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


class Stalling(Cutter):
    """Holds its breath where it would cut, until `leave`."""

    def __init__(self, to: int) -> None:
        super().__init__(to)
        self.arrived, self.leave = asyncio.Event(), asyncio.Event()

    async def handle(self, reader, writer):
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.to)

        async def ahead() -> None:
            with contextlib.suppress(OSError):
                while chunk := await reader.read(1 << 16):
                    upstream.write(chunk)
            upstream.close()

        async def back() -> None:
            left = self.most
            with contextlib.suppress(OSError):
                while chunk := await upstream_reader.read(min(1 << 12, left)):
                    left -= len(chunk)
                    writer.write(chunk)
                    await writer.drain()
                    if left <= 0:
                        self.arrived.set()
                        await self.leave.wait()
                        break
            writer.transport.abort()

        await asyncio.gather(ahead(), back())


def descendants(pid: int) -> list[int]:
    """Processes below `pid`; git has several."""
    parents = {}
    for found in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(found.parent.name)] = int(found.read_text().rsplit(")", 1)[1].split()[1])
    below, ahead = [], [pid]
    while ahead:
        children = [child for child, parent in parents.items() if parent == ahead[-1]]
        ahead.pop()
        below += children
        ahead += children
    return below


@pytest.mark.parametrize("fresh", [True, False])
async def test_all_is_killed_in_the_middle_of_a_pack(repository, source, server, tmp_path, fresh):
    wire = Stalling(server.port)
    listening = await asyncio.start_server(wire.handle, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    if not fresh:
        wire.most = WHOLE
        repository.commit(content(0))
        await got(source, spec(port))
    there = content(1)
    commit = repository.commit(there)
    wire.most = 50_000
    victim = await asyncio.create_subprocess_exec(sys.executable, "-c", VICTIM, str(tmp_path), str(port))

    def begun() -> bool:
        mirrors = tmp_path / "cache" / "mirrors"
        return any(mirrors.glob("*.git/shallow.lock")) or any(mirrors.glob("*.git/**/tmp_*"))

    async with asyncio.timeout(60):
        await wire.arrived.wait()
        while not fresh and not begun():  # what has arrived has to be read, too
            await asyncio.sleep(0.02)
    for pid in [victim.pid, *descendants(victim.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await victim.wait()
    if not fresh:
        assert begun()
    wire.leave.set()
    wire.most = WHOLE
    async with asyncio.timeout(60):
        snapshot = await got(source, spec(port))
    assert (snapshot.revision, files(snapshot)) == (f"main@sha1:{commit}", there)
    [mirror] = tmp_path.glob("cache/mirrors/*.git")
    assert not [*mirror.rglob("*.lock"), *mirror.rglob("tmp_*")]
    listening.close()


FULL = """
import asyncio, json, os, sys
from pathlib import Path
from trimtab.api.source import GitRef, GitRepositorySpec
from trimtab.artifacts.publish import Publisher
from trimtab.artifacts.store import Store
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.base.http import AiohttpTransport
from trimtab.manifests.refs import Key
from trimtab.sources.git import ANONYMOUS, GitSource, GitSpec

def fill(path, leave):
    path.unlink(missing_ok=True)
    found = os.statvfs(path.parent)
    size = found.f_bavail * found.f_frsize - leave
    with path.open("wb") as file:
        while size > 0:
            size -= file.write(bytes(min(size, 1 << 16)))

async def main(root, url):
    transport = AiohttpTransport()
    clock = SystemClock()
    store = Store(root / "store")
    source = GitSource(root / "cache", store, transport, clock)
    publisher = Publisher(store, "http://h", clock)
    spec = GitSpec.from_api(GitRepositorySpec(url=url, interval="1m", timeout="20s", ref=GitRef(branch="main")))

    async def whole():
        try:
            snapshot = await source.fetch(spec, ANONYMOUS, await source.look(spec))
            await publisher.publish("GitRepository", Key("ns", "x"), snapshot)
        except Transient as failure:
            return failure.reason
        except OSError as failure:
            return f"OSError {failure.errno}"
        return len(snapshot.tree.entries)

    outcomes = []
    for leave in map(int, sys.argv[3].split(",")):
        fill(root / "filler", leave)
        outcomes.append(await whole())
        (root / "filler").unlink()
    last = await whole()
    left = [str(path) for path in root.rglob(".new-*")]
    await transport.close()
    print(json.dumps({"outcomes": outcomes, "last": last, "left": left}))

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def can_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    script = "mount -t tmpfs -o size=1m tmpfs /mnt"
    return subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="a small file system needs root and mount(8)")
async def test_a_disk_that_is_full_at_any_step(repository, server, tmp_path):
    repository.commit(content(0))
    disk = tmp_path / "disk"
    disk.mkdir()
    room = ",".join(map(str, (0, 8192, 40_000, 80_000, 120_000, 160_000, 250_000, 330_000, 420_000)))
    script = 'mount -t tmpfs -o size=8m tmpfs "$1" && shift && exec "$@"'
    argv = ["unshare", "-m", "sh", "-c", script, "sh", str(disk)]
    argv += [sys.executable, "-c", FULL, str(disk), f"http://127.0.0.1:{server.port}/apps.git", room]
    child = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(100):
        out, _ = await child.communicate()
    found = json.loads(out)
    allowed = {"GitOperationFailed", "StorageOperationFailed", "OSError 28", 51}
    assert set(found["outcomes"]) <= allowed, found
    assert found["outcomes"][0] != 51
    assert {"GitOperationFailed", "StorageOperationFailed"} <= set(found["outcomes"]), found
    assert found["last"] == 51, found
    assert found["left"] == [], found
