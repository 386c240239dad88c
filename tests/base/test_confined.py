"""A program over input from outside: what it finds, what stops it, and what input it is not given again."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from trimtab.base.confined import DEATHS, Bounds, Confined, Task
from trimtab.base.errors import Terminal, Transient
from trimtab.base.process import Limits, run


@pytest.fixture
def confined(tmp_path: Path) -> Callable[..., Confined]:
    """`confined("exit 1")`: a program that does that, in `sh`."""

    def make(script: str, **bounds) -> Confined:
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        return Confined(program, tmp_path / "work", reason="BuildFailed", bounds=Bounds(**bounds))

    return make


def task(digest: str = "one") -> Task:
    return Task((), lambda tree: (tree / "file").touch(), digest, "build it")


async def test_the_directory_holds_what_was_put_there_and_is_gone_afterwards(confined, tmp_path):
    one = confined("echo *; pwd; echo $HOME")
    said = await one.run(task())
    names, place, home = said.done.stdout.decode().split()
    assert names == "file"
    assert Path(place) == said.directory
    assert not said.directory.exists()
    assert Path(home).parent == said.directory.parent
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("script", ["kill -9 $$", "exec /bin/sleep 60", "kill -SEGV $$"])
async def test_input_that_kills_three_times_is_not_given_again(confined, script):
    one = confined(script, timeout_s=0.3)
    for _ in range(DEATHS):
        with pytest.raises(Transient):
            await one.run(task())
    one.program.unlink()  # nothing may be started any more
    with pytest.raises(Transient, match="died 3 times trying to build it, and is given the same input again after 60"):
        await one.run(task())


async def test_after_an_hour_the_machine_may_have_been_at_fault(confined, monkeypatch):
    one = confined("kill -9 $$")
    for _ in range(DEATHS):
        with pytest.raises(Transient):
            await one.run(task())
    one.program.write_text("#!/bin/sh\necho fine\n")
    with pytest.raises(Transient, match="died 3 times"):
        await one.run(task())
    now = time.monotonic()
    monkeypatch.setattr("trimtab.base.confined.time.monotonic", lambda: now + 3601)
    assert (await one.run(task())).done.stdout == b"fine\n"


async def test_other_input_is_not_held_back(confined):
    one = confined("/bin/kill -9 $$")
    for _ in range(DEATHS):
        with pytest.raises(Transient):
            await one.run(task())
    one.program.write_text("#!/bin/sh\necho fine\n")
    assert (await one.run(task("other"))).done.stdout == b"fine\n"


async def test_deaths_are_forgotten_after_a_success(confined):
    one = confined("kill -9 $$")
    for _ in range(DEATHS - 1):
        with pytest.raises(Transient):
            await one.run(task())
    one.program.write_text("#!/bin/sh\n")
    await one.run(task())
    one.program.write_text("#!/bin/sh\nkill -9 $$\n")
    for _ in range(DEATHS):
        with pytest.raises(Transient):
            await one.run(task())


async def test_a_crash_in_the_words_of_go_is_for_a_person_to_look_at(confined):
    one = confined("echo 'fatal error: out of memory' >&2; exit 2")
    with pytest.raises(Terminal, match=r"crashed trying to build it: fatal error: out of memory"):
        await one.run(task())


async def test_what_a_program_panics_with_is_not_told_nor_taken_for_a_crash_where_it_only_says_so(confined):
    one = confined("echo 'panic: s3cret' >&2; exit 2")
    with pytest.raises(Terminal, match=r"crashed trying to build it: panic$"):
        await one.run(task())
    one.program.write_text("#!/bin/sh\necho 'fatal error: s3cret' >&2; exit 1\n")
    assert (await one.run(task())).done.code == 1


async def test_too_much_output_ends_it(confined):
    one = confined("exec /usr/bin/yes", max_output=1 << 20)
    with pytest.raises(Terminal, match="larger than 1 MiB"):
        await one.run(task())


async def test_what_the_program_started_dies_with_it(confined, tmp_path):
    told = tmp_path / "child"
    for timeout_s in (0.5, 5, 50):
        one = confined(f"/bin/sleep 60 & echo $! > {told}; wait", timeout_s=timeout_s)
        with pytest.raises(Transient):
            await one.run(task())
        if told.exists() and told.read_text():
            break  # a busy machine may not get so far before it is told to end
    state = Path(f"/proc/{int(told.read_text())}/stat")

    def dead() -> bool:
        try:
            return state.read_text().split()[2] == "Z"
        except OSError:
            return True

    async with asyncio.timeout(30):  # the sleep ends by itself after a minute
        while not dead():
            await asyncio.sleep(0.01)


async def test_what_an_earlier_process_left_behind_is_swept(confined, tmp_path):
    left = tmp_path / "work" / "program-left"
    left.mkdir(parents=True)
    fresh = tmp_path / "work" / "program-fresh"
    fresh.mkdir()
    os.utime(left, (0, 0))
    confined("true")
    assert (left.exists(), fresh.exists()) == (False, True)


def network_is_denied() -> bool:
    return shutil.which("unshare") is not None and subprocess.run(["unshare", "-rn", "true"]).returncode == 0


async def test_there_is_no_network_where_the_kernel_allows_that(tmp_path):
    if not network_is_denied():
        pytest.skip("this kernel lets nobody have a network namespace of their own")
    show = "import socket; print([name for _, name in socket.if_nameindex()])"
    done = await run([sys.executable, "-c", show], env={}, limits=Limits(offline=True))
    assert done.stdout == b"['lo']\n"
    reach = "import socket; socket.create_connection(('127.0.0.1', int(__import__('sys').argv[1])), 1)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        open_ = await run([sys.executable, "-c", reach, port], env={})
        closed = await run([sys.executable, "-c", reach, port], env={}, limits=Limits(offline=True))
    assert (open_.code, closed.code) == (0, 1)
    assert b"unreachable" in closed.stderr or b"assign" in closed.stderr


class Echo:
    """A service that says what it heard; and what it was asked, once it is over."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def files(self, port: int) -> dict[str, bytes]:
        return {"port": str(port).encode()}

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.heard.append(await reader.readline())
            writer.write(b"heard\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, sock=listener):
            yield


ASK = """#!{python}
import os, socket, sys
home = os.environ["HOME"]
port = int(open(home + "/port").read())
print(oct(os.stat(home + "/port").st_mode & 0o777), [name for _, name in socket.if_nameindex()])
with socket.create_connection(("127.0.0.1", port), 5) as asked:
    asked.sendall(b"hello\\n")
    print(asked.makefile().read().strip())
try:
    socket.create_connection(("{host}", {other}), 2)
    print("reached")
except OSError as error:
    print("refused")
print(len(os.listdir("/proc/self/fd")))
"""


@pytest.mark.parametrize("offline", [True, False])
async def test_a_service_is_all_that_a_program_reaches_which_is_alone_in_its_network(tmp_path, offline):
    if offline and not network_is_denied():
        pytest.skip("this kernel lets nobody have a network namespace of their own")
    program, echo = tmp_path / "program", Echo()
    with socket.create_server(("127.0.0.1", 0)) as other:
        program.write_text(ASK.format(python=sys.executable, host="127.0.0.1", other=other.getsockname()[1]))
        program.chmod(0o700)
        bounds = Bounds(limits=Limits(offline=offline, memory_bytes=2_560 << 20))
        one = Confined(program, tmp_path / "work", reason="BuildFailed", bounds=bounds)
        said = await one.run(task()._replace(service=echo))
    mode_and_networks, answer, reached, open_files = said.done.stdout.decode().splitlines()
    if offline:
        assert mode_and_networks == "0o600 ['lo']"
    assert (answer, reached) == ("heard", "refused" if offline else "reached")
    assert echo.heard == [b"hello\n"]
    assert int(open_files) == 4, "the program holds no socket of ours"


async def test_a_program_that_cannot_be_started_leaves_no_socket_behind(confined, tmp_path):
    one = confined("true")
    one.program.unlink()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(Transient, match="cannot be started"):
            await one.run(task()._replace(service=Echo()))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_a_network_without_a_loopback_address_is_an_error_and_no_silence(confined, monkeypatch):
    if not network_is_denied():
        pytest.skip("this kernel lets nobody have a network namespace of their own")

    def refused() -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("trimtab.base.loopback._bring_up", refused)
    one = confined("exec /bin/sleep 60", limits=Limits(offline=True))
    with pytest.raises(Transient, match="its own network has no loopback address: Operation not permitted"):
        await one.run(task()._replace(service=Echo()))
