"""The one way to run a program over input from outside: in a private directory, with limits, alone, and then gone.

The environment holds nothing of ours and no PATH, so there is nothing to start; there is no network where the kernel
allows that to be arranged; memory, processor time, wall time, output and the size of files are bounded, and the whole
group is killed. Input that the program died of three times is not given to it again for an hour: it costs nobody else
their turn.
"""

import asyncio
import contextlib
import re
import shutil
import socket
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from trimtab.base.errors import Terminal, Transient
from trimtab.base.loopback import Loopback
from trimtab.base.process import Completed, Limits, OutputTooLarge, ProcessTimeout, run

WORKERS: Final = 2
TIMEOUT_S: Final = 90.0
DEATHS: Final = 3
"""So often may one input kill the program."""
DEADLY_S: Final = 3_600.0
"""Then it is tried once more: a machine without memory, or without time, kills the innocent too."""
REMEMBERED: Final = 2_048

_ENVIRONMENT: Final = {"PATH": "", "GOMEMLIMIT": "900MiB", "GOMAXPROCS": "2", "GOTRACEBACK": "none"}
_STALE_S: Final = 3_600.0
_CRASHED: Final = 2
"""How a program of Go ends that crashes; one that fails in its own words ends with 1."""
_CRASH = re.compile(r"^(?:panic: runtime error|fatal error|runtime): .*|^panic\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one run may take. `workers` run at once.

    Go reserves about 1.5 GiB of addresses before it uses any; measured, the default leaves a heap of 1 GiB.
    """

    workers: int = WORKERS
    timeout_s: float = TIMEOUT_S
    max_output: int = 64 << 20
    limits: Limits = field(default=Limits(memory_bytes=2_560 << 20, cpu_s=120, file_bytes=1 << 20, offline=True))


class Service(Protocol):
    """What the program may ask while it runs: the one thing it reaches."""

    def files(self, port: int) -> Mapping[str, bytes]:
        """What the program's home has to hold for it to find and use the service at that port of 127.0.0.1."""
        ...

    def serving(self, listener: socket.socket) -> AbstractAsyncContextManager[None]:
        """Answer whoever connects to `listener`, until the program has ended."""
        ...


class Task(NamedTuple):
    """One run. `input_digest` tells its input apart; `aim` completes "… was stopped trying to …"."""

    arguments: Sequence[str]
    fill: Callable[[Path], None]
    """Writes the input into the empty directory it is given; called in a thread."""
    input_digest: str
    aim: str
    cwd: str = ""
    stdin: bytes = b""
    """For what may be secret: it is in no file and in no argument."""
    inherited: tuple[int, ...] = ()
    """Descriptors that the program has open, under the same numbers."""
    service: Service | None = None


class Said(NamedTuple):
    """What the program said, and the directory it did so in, which is gone by now."""

    done: Completed
    directory: Path


class _Deaths(NamedTuple):
    """How often the program died of an input, and when last, in monotonic seconds."""

    number: int
    last: float


_NONE: Final = _Deaths(0, float("-inf"))


class Confined:
    """Runs one program that is fed from outside."""

    def __init__(
        self,
        program: Path,
        work_dir: Path,
        *,
        reason: str,
        bounds: Bounds | None = None,
        environment: Callable[[Path], Mapping[str, str]] | None = None,
    ) -> None:
        """`work_dir` is private to us. `environment` adds variables, given the program's home."""
        self.program = program
        self.bounds = bounds or Bounds()
        self._reason = reason
        self._work_dir = work_dir
        self._environment = environment
        self._slots = asyncio.Semaphore(self.bounds.workers)
        self._deaths: OrderedDict[str, _Deaths] = OrderedDict()
        self._prefix = f"{program.name}-"
        work_dir.mkdir(parents=True, exist_ok=True)
        self._sweep()

    @property
    def identity(self) -> str:
        """Differs when another program would run."""
        status = self.program.stat()
        return f"{self.program}:{status.st_size}:{status.st_mtime_ns}"

    async def run(self, task: Task) -> Said:
        """What the program says to `task`; it may have failed in its own words.

        Raises Transient if it died, died of the same input too often before, or could not be started; Terminal if it
        crashed or said too much.
        """
        name = self.program.name
        if self._is_deadly(task.input_digest):
            raise Transient(
                self._reason,
                f"{name} died {DEATHS} times trying to {task.aim}, and is given the same input again after "
                f"{DEADLY_S / 60:g} minutes only; change it",
                hopeless=True,
            )
        async with self._slots:
            place = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=self._prefix, dir=self._work_dir))
            try:
                said = await self._run(place, task)
            finally:
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
        if said.done.code < 0:
            raise self._died(task, f"{name} was killed by signal {-said.done.code} trying to {task.aim}")
        crashed = said.done.code == _CRASHED
        crash = _CRASH.search(said.done.stderr.decode(errors="replace")) if crashed else None
        if crash is not None:
            self._died(task, "")
            raise Terminal(self._reason, f"{name} crashed trying to {task.aim}: {crash[0][:200]}")
        self._deaths.pop(task.input_digest, None)
        return said

    async def _run(self, place: Path, task: Task) -> Said:
        tree, home = place / "tree", place / "home"

        with contextlib.ExitStack() as stack:
            service = task.service
            loopback = stack.enter_context(Loopback(service.serving)) if service is not None else None
            files = service.files(loopback.port) if service is not None and loopback is not None else {}

            def prepare() -> None:
                tree.mkdir(mode=0o700)
                home.mkdir(mode=0o700)
                for path, data in files.items():
                    (home / path).touch(mode=0o600)
                    (home / path).write_bytes(data)
                task.fill(tree)

            await asyncio.to_thread(prepare)
            done = await self._start(task, tree, home, loopback)
        return Said(done, tree)

    async def _start(self, task: Task, tree: Path, home: Path, loopback: Loopback | None) -> Completed:
        name = self.program.name
        more = self._environment(home) if self._environment else {}
        try:
            return await run(
                [self.program, *task.arguments],
                env={**_ENVIRONMENT, "HOME": str(home), "TMPDIR": str(home), **more},
                cwd=tree / task.cwd,
                stdin=task.stdin,
                timeout=self.bounds.timeout_s,
                max_output=self.bounds.max_output,
                limits=self.bounds.limits,
                pass_fds=task.inherited,
                loopback=loopback,
            )
        except ProcessTimeout:
            took = f"{name} took longer than {self.bounds.timeout_s:g} s trying to {task.aim} and was stopped"
            raise self._died(task, took) from None
        except OutputTooLarge:
            self._died(task, "")
            raise Terminal(
                self._reason,
                f"{name} was stopped trying to {task.aim}: what came out is larger than "
                f"{self.bounds.max_output >> 20} MiB; split it",
            ) from None
        except OSError as error:
            raise Transient(self._reason, f"{name} cannot be started: {error.strerror or error}") from error

    def _died(self, task: Task, message: str) -> Transient:
        deaths = 0 if self._is_over(task.input_digest) else self._deaths.pop(task.input_digest, _NONE).number
        self._deaths[task.input_digest] = _Deaths(deaths + 1, time.monotonic())
        if len(self._deaths) > REMEMBERED:
            self._deaths.popitem(last=False)
        return Transient(self._reason, message)

    def _is_deadly(self, digest: str) -> bool:
        return self._deaths.get(digest, _NONE).number >= DEATHS and not self._is_over(digest)

    def _is_over(self, digest: str) -> bool:
        """Whether the last death is so long ago that it may have been the machine's fault."""
        return self._deaths.get(digest, _NONE).last < time.monotonic() - DEADLY_S

    def _sweep(self) -> None:
        """Remove what a killed process left behind."""
        for left in self._work_dir.glob(f"{self._prefix}*"):
            try:
                stale = left.stat().st_mtime < time.time() - _STALE_S
            except FileNotFoundError:
                continue
            if stale:
                shutil.rmtree(left, ignore_errors=True)


def without_place(message: str, directory: Path, shown: str) -> str:
    """`message` with paths relative to the program's directory, which is `shown` where it is named itself."""
    for root in {str(directory), str(directory.resolve())}:
        message = message.replace(root + "/", "").replace(root, shown)
    return message
