"""Child processes: a list of arguments, a closed environment, limits, and no survivors."""

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trimtab.base.loopback import Loopback

_NEW_USER: Final = 0x10000000
_NEW_NETWORK: Final = 0x40000000
"""What a process may have of its own on Linux, by unshare(2)."""
_OWN_PROCESSES: Final = 256
"""Processes and threads in a user namespace that is a child's own: there, nobody else's are counted."""
_OPEN_FILES: Final = 256
"""Of a child that we serve: each of its connections is a descriptor of ours as well."""
_unshare = getattr(ctypes.CDLL(None), "unshare", None)


class ProcessTimeout(Exception):
    """The child was killed because it ran longer than allowed."""


class OutputTooLarge(Exception):
    """The child was killed because it wrote more than allowed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use; None leaves the limit of this process.

    `offline` puts it where there is no network at all, if the kernel lets us: with the rights of root, or where users
    may have namespaces of their own. In the latter case the number of its processes is limited as well.
    """

    memory_bytes: int | None = None
    cpu_s: int | None = None
    file_bytes: int | None = None
    processes: int | None = None
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Completed:
    """How a child ended. `code` is negative for a signal."""

    code: int
    stdout: bytes
    stderr: bytes


async def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: bytes = b"",
    timeout: float = 60.0,
    max_output: int = 64 << 20,
    limits: Limits | None = None,
    pass_fds: Sequence[int] = (),
    loopback: Loopback | None = None,
) -> Completed:
    """Run `argv` in a process group of its own and return what it said.

    `env` is the whole environment: nothing is inherited. `timeout` is in seconds, `max_output` in bytes for stdout and
    for stderr each. `pass_fds` stay open in the child and its children: a lock held that way outlives this process for
    as long as they do. `loopback` is served while it runs, and is all that it reaches if it is offline. Raises
    ProcessTimeout and OutputTooLarge after killing the whole group, OSError if it cannot start.
    """
    child = await asyncio.create_subprocess_exec(
        *map(str, argv),
        env=dict(env),
        cwd=cwd,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_limiter(limits, loopback) if limits else None,
        pass_fds=pass_fds,
    )
    assert child.stdin is not None  # noqa: S101 - three pipes were asked for
    assert child.stdout is not None  # noqa: S101
    assert child.stderr is not None  # noqa: S101
    try:
        served = loopback.serving() if loopback is not None else contextlib.nullcontext()
        async with served, asyncio.timeout(timeout), asyncio.TaskGroup() as group:
            group.create_task(_feed(child.stdin, stdin))
            out = group.create_task(_drain(child.stdout, max_output))
            err = group.create_task(_drain(child.stderr, max_output))
            code = group.create_task(child.wait())
        return Completed(code.result(), out.result(), err.result())
    except TimeoutError:
        raise ProcessTimeout(f"{Path(argv[0]).name} was killed after {timeout:g} s") from None
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        # A child may be gone and its children not: then they hold its pipes, and the group is still theirs.
        if child.returncode is None or not (child.stdout.at_eof() and child.stderr.at_eof()):
            kill_group(child.pid)
            # wait() returns when the pipes have ended too, and a full one that nobody reads any more does not end.
            await asyncio.gather(_discard(child.stdout), _discard(child.stderr), child.wait())


def kill_group(pid: int, sig: signal.Signals = signal.SIGKILL) -> None:
    """Signal the process group led by `pid`; a group that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, sig)


async def _feed(stdin: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(data)
        await stdin.drain()
    stdin.close()


async def _drain(stream: asyncio.StreamReader, max_output: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := await stream.read(1 << 16):
        size += len(chunk)
        if size > max_output:
            raise OutputTooLarge(f"more than {max_output} bytes of output")
        chunks.append(chunk)
    return b"".join(chunks)


async def _discard(stream: asyncio.StreamReader) -> None:
    while await stream.read(1 << 16):
        pass


def _limiter(limits: Limits, loopback: Loopback | None):  # type: ignore[no-untyped-def]  # noqa: ANN202 - runs between fork and exec
    wanted = [
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES if loopback is not None else None),
    ]

    def apply() -> None:
        if limits.offline and _unshare is not None:
            alone = _unshare(_NEW_NETWORK) == 0
            if not alone and _unshare(_NEW_USER | _NEW_NETWORK) == 0:
                alone = True
                if limits.processes is None:
                    resource.setrlimit(resource.RLIMIT_NPROC, (_OWN_PROCESSES, _OWN_PROCESSES))
            if alone and loopback is not None:
                loopback.join()
        # Last: what was done until here was done by a copy of this process, whose memory is not the program's.
        for kind, value in wanted:
            if value is not None:
                resource.setrlimit(kind, (value, value))

    return apply
