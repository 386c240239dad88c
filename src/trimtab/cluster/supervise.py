"""Holding a control plane until told otherwise, and telling the one who holds it."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from trimtab.base.errors import Terminal
from trimtab.cluster import record
from trimtab.cluster.layout import Layout
from trimtab.cluster.plane import ControlPlane
from trimtab.toolchain import binaries as toolchain

_LOOK_S = 1.0
_POLL_S = 0.05
_DOWN_S = 20.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Say = Callable[[str], None]


async def hold(plane: ControlPlane, *, up: Callable[[], None], say: Say) -> None:
    """Run `plane` in this process until SIGINT, SIGTERM or SIGHUP. `up` is called once it serves.

    A component that ends by itself is reported through `say` and stays away: what it was doing is in its log.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        async with asyncio.TaskGroup() as group:
            work = group.create_task(_serve(plane, up, say))
            asked = group.create_task(stop.wait())
            await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            work.cancel()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures.exceptions[0].__cause__
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def detach(dir: Path, *, port: int | None, kwok: bool, say: Say) -> None:  # noqa: A002
    """Start a process that holds a control plane in `dir` beyond the end of this one; return when it serves."""
    layout = Layout(dir.absolute())
    layout.make()
    if record.is_held(layout):
        raise record.AlreadyRunning(layout)
    # Here and not in the holder: this is where somebody watches the minutes of the first build.
    await toolchain.ensure("controlplane", progress=say)
    log = layout.log("supervisor")
    holder = _spawn(layout, log, port, kwok)
    while not ((known := record.read(layout)) and known.ready and known.holder.pid == holder.pid):
        if holder.poll() is not None:
            words = log.read_text(errors="replace").strip()
            raise Terminal("NotReady", words or f"the holder of the control plane ended with {holder.returncode}")
        await asyncio.sleep(_POLL_S)


async def down(dir: Path) -> bool:  # noqa: A002
    """End the control plane in `dir`, in whichever process it is held; False if there is none.

    The holder is asked and given 20 s; then it is killed, and the kernel takes its components with it.
    """
    layout = Layout(dir.absolute())
    known = record.read(layout) if record.is_held(layout) else None
    if known is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        known.holder.signal(number)
        try:
            async with asyncio.timeout(_DOWN_S):
                while record.is_held(layout) or any(one.identity.alive for one in known.components):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
            return True
        except TimeoutError:
            continue
    raise Terminal("StillRunning", f"the control plane in {layout.root} (process {known.holder.pid}) cannot be ended")


def _spawn(layout: Layout, log: Path, port: int | None, kwok: bool) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "trimtab.cluster", str(layout.root)]
    command += ["--port", str(port)] if port else []
    command += [] if kwok else ["--no-kwok"]
    with log.open("wb") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


async def _serve(plane: ControlPlane, up: Callable[[], None], say: Say) -> None:
    async with plane:
        up()
        reported: set[str] = set()
        while True:
            for name, words in plane.dead().items():
                if name not in reported:
                    reported.add(name)
                    say(words)
            await asyncio.sleep(_LOOK_S)
