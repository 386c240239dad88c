"""The mirror's lock: nobody removes the locks of a git that is still at work."""

import asyncio
import os
import sys
from pathlib import Path
from threading import Event

import pytest

from tests.runtime.clocks import ManualClock, settle
from trimtab.base.clock import SystemClock
from trimtab.remotes.git.mirror import Mirror
from trimtab.remotes.git.mirrors import Mirrors

VICTIM = """
import asyncio, sys
from pathlib import Path
from trimtab.base.clock import SystemClock
from trimtab.remotes.git.address import parse_address
from trimtab.remotes.git.git import hardened
from trimtab.remotes.git.mirror import Mirror
from trimtab.remotes.git.refs import Remote

async def main(root, url):
    remote = Remote(parse_address(url), ("127.0.0.1",))
    mirror = Mirror(root / "m.git", SystemClock())
    async with hardened(root / "private", remote) as git, mirror.locked():
        await mirror.fetch(git, url, "1" * 40, "refs/heads/main", slot="x", timeout=60)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


async def test_the_lock_lasts_as_long_as_the_git_of_a_killed_process(tmp_path: Path):
    arrived, leave = asyncio.Event(), asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await leave.wait()
        writer.close()

    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    victim = await asyncio.create_subprocess_exec(sys.executable, "-c", VICTIM, str(tmp_path), url)
    async with asyncio.timeout(60):
        await arrived.wait()
    victim.kill()
    await victim.wait()
    mirror = Mirror(tmp_path / "m.git", SystemClock())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), mirror.locked():
            pass
    leave.set()
    async with asyncio.timeout(60), mirror.locked():
        pass
    server.close()


async def test_who_waits_for_a_mirror_that_is_removed_has_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock, removing, go_on = ManualClock(), asyncio.Event(), Event()
    loop = asyncio.get_running_loop()

    def drop(_mirror: Mirror) -> None:
        loop.call_soon_threadsafe(removing.set)
        go_on.wait(10)

    monkeypatch.setattr(Mirror, "drop", drop)
    lock = tmp_path / "m.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    sweep = asyncio.create_task(Mirrors(tmp_path, clock).sweep(60))
    await removing.wait()
    inside, leave = [], asyncio.Event()

    async def use() -> None:
        async with Mirror(tmp_path / "m.git", clock).locked():
            inside.append(1)
            await leave.wait()

    first = asyncio.create_task(use())
    await settle()
    go_on.set()
    assert await sweep == 1
    await clock.advance(1)
    assert len(inside) == 1
    second = asyncio.create_task(use())
    await clock.advance(1)
    assert len(inside) == 1
    leave.set()
    await clock.advance(1)
    await asyncio.gather(first, second)
    assert len(inside) == 2
