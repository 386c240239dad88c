"""For whose sake something is done: what a pass asks for is in line with what it asked for before, and not with others.

As with the subject of log lines, everything that is called within, and tasks started there, belong to it. It decides
who waits for whom and nothing else: no right and no answer depends on it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

NOBODY = ""
"""What the process does for itself, and for all."""
_FLOW: ContextVar[str] = ContextVar("flow", default=NOBODY)


@contextmanager
def flow(name: str) -> Iterator[None]:
    """What is done within is done for the sake of `name`."""
    token = _FLOW.set(name)
    try:
        yield
    finally:
        _FLOW.reset(token)


def current() -> str:
    """For whose sake this is done."""
    return _FLOW.get()
