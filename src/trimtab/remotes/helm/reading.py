"""Reading an index without keeping the event loop: a small one in a thread, a large one in a process of its own.

A large index takes seconds of work, and the interpreter runs one thread at a time: in a thread it would slow down
everything else. The child has limits, and takes along whatever its input does to it.
"""

import asyncio
import sys
from typing import Final

from trimtab.base.process import Limits, OutputTooLarge, ProcessTimeout, run
from trimtab.remotes.helm.index import MAX_BYTES, BadIndex, parse

REFUSED: Final = 3
"""Exit code of a child that read the index and refuses it."""
SMALL: Final = 128 << 10
_LIMITS = Limits(memory_bytes=1 << 30, cpu_s=60)
_TIMEOUT_S = 120.0


async def read(data: bytes) -> bytes:
    """The catalogue of the index `data`, encoded. Raises BadIndex."""
    if len(data) > MAX_BYTES:
        raise BadIndex(f"it has more than {MAX_BYTES >> 20} MiB")
    if len(data) <= SMALL:
        return await asyncio.to_thread(parse, data)
    # -I: neither the working directory nor the environment decides what is imported.
    command = [sys.executable, "-I", "-m", "trimtab.remotes.helm"]
    try:
        done = await run(command, env={}, stdin=data, timeout=_TIMEOUT_S, max_output=MAX_BYTES, limits=_LIMITS)
    except (ProcessTimeout, OutputTooLarge) as problem:
        raise BadIndex(f"it cannot be read within the limits: {problem}") from problem
    if done.code == REFUSED:
        raise BadIndex(done.stderr.decode(errors="replace")[:1000])
    if done.code != 0:
        raise BadIndex(f"it cannot be read within the limits (the reader ended with {done.code})")
    return done.stdout
