"""Child processes leave nobody behind."""

import os
import select
import sys

import pytest

from trimtab.base.process import OutputTooLarge, run

LEAVES_A_CHILD = """
import os, time
os.mkfifo("end")
leader = os.getpid()
if os.fork():
    os._exit(0)
with open("pid", "w") as file:
    file.write(str(os.getpid()))
try:
    while True:
        os.kill(leader, 0)
        time.sleep(0.001)
except ProcessLookupError:
    os.write(1, bytes(100))
os.open("end", os.O_RDONLY)
"""


def ends(pid: int) -> bool:
    """Whether the process is gone, or about to be."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 60)[0])
    finally:
        os.close(descriptor)


async def test_the_children_of_a_child_that_is_gone_are_killed_as_well(tmp_path):
    with pytest.raises(OutputTooLarge):
        await run([sys.executable, "-c", LEAVES_A_CHILD], env=dict(os.environ), cwd=tmp_path, max_output=10)
    assert ends(int((tmp_path / "pid").read_text()))
