"""Processes that live beside us for long, and never without us.

A component is started in a session of its own, so that Ctrl-C on the terminal reaches only us and we can end things in
order. On Linux the kernel kills it when we die, however we die (PR_SET_PDEATHSIG); elsewhere the next start ends what
the record says was left behind.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_POLL_S = 0.02

# Runs in the child before the component replaces it. As a program of its own and not as a preexec_fn, which may
# deadlock in a process with threads. The second statement covers a parent that died before the first.
_LAUNCH = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); "
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)


class Identity(NamedTuple):
    """A process that cannot be confused with a later one of the same number."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """Who has this number now; None if nobody, or one who is dead and only waits to be noticed."""
        if not sys.platform.startswith("linux"):
            shown = ["ps", "-o", "lstart=", "-p", str(pid)]
            started = subprocess.run(shown, capture_output=True, check=False).stdout.decode().strip()
            return cls(pid, started) if started else None
        try:
            # The name of the program stands in parentheses and may hold anything; fields are counted after it.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            # A killed process is a zombie at once, but holds its ports and files until its last thread is gone.
            threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" and threads <= 1 else cls(pid, fields[19])

    @classmethod
    def mine(cls) -> "Identity":
        """This process."""
        return cls.of(os.getpid()) or cls(os.getpid(), "")

    @property
    def alive(self) -> bool:
        return Identity.of(self.pid) == self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process is gone."""
        if self.alive:
            os.kill(self.pid, number)


class Child:
    """A component at work."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        self.name = name
        self._process = process
        self.identity = Identity.of(process.pid) or Identity(process.pid, "")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended; negative for a signal; None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that ended already is fine."""
        self._process.send_signal(number)


def start(name: str, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> Child:
    """Start a component that dies with this process. What it says goes to `log`; the log before is kept as `.old`."""
    if threading.current_thread() is not threading.main_thread():
        # The kernel's promise is bound to the thread that forked: the end of a worker thread would kill the component.
        raise RuntimeError(f"{name} must be started from the main thread")
    if log.exists():
        log.replace(log.with_name(f"{log.name}.old"))
    command = [*argv]
    if sys.platform.startswith("linux"):
        command = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *argv]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(name, process)


async def end(children: Iterable[Child], *, patience_s: float) -> None:
    """Ask all to end, wait up to `patience_s` seconds, then make them."""
    wanted = [child for child in children if child.code is None]
    for child in wanted:
        child.signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(patience_s):
            while any(child.code is None for child in wanted):  # noqa: ASYNC110 - others' ends raise no event of ours
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        pass
    finally:
        # Also on the way of a cancellation: whoever lost patience still must not leave a process behind.
        for child in wanted:
            if child.code is None:
                child.signal(signal.SIGKILL)
                child._process.wait()  # noqa: SLF001 - killed: this takes an instant
