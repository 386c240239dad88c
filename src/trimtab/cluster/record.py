"""Who runs a control plane, written down so that another process can look, wait, or end it.

That somebody runs it is not what the file says but who holds the lock beside it: the kernel drops a lock with its
process, so a crash needs no cleaning. The file only says whom to ask.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import IO

import msgspec

from trimtab.base.errors import Terminal
from trimtab.cluster.children import Identity
from trimtab.cluster.layout import Layout, write_private


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A component as it was started."""

    name: str
    identity: Identity


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The process that holds a control plane, and what it started. `ready` once the plane serves."""

    holder: Identity = msgspec.field(default_factory=Identity.mine)
    server: str = ""
    ready: bool = False
    components: tuple[Running, ...] = ()


class AlreadyRunning(Terminal):
    """Another process runs a control plane in this directory."""

    def __init__(self, layout: Layout) -> None:
        holder = record.holder.pid if (record := read(layout)) else "unknown"
        super().__init__(
            "AlreadyRunning",
            f"a control plane runs in {layout.root} already (process {holder});"
            f" its kubeconfig is {layout.kubeconfig}; `trimtab cluster down --dir {layout.root}` ends it",
        )


def read(layout: Layout) -> Record | None:
    """The last record, whoever wrote it and whether it is still true."""
    try:
        return msgspec.json.decode(layout.record.read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write(layout: Layout, record: Record) -> None:
    """Replace the record."""
    write_private(layout.record, msgspec.json.encode(record))


def is_held(layout: Layout) -> bool:
    """Whether a living process runs a control plane here."""
    try:
        with layout.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def claim(layout: Layout) -> Iterator[None]:
    """Be the one who runs a control plane here. Raises AlreadyRunning."""
    file: IO[bytes]
    with layout.lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(layout) from None
        os.set_inheritable(file.fileno(), False)
        yield
