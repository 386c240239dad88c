"""Many calls side by side, without a task for each: fifteen thousand at once would stop the event loop for seconds."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 128
"""So many are begun at the same time. The requests among them are bounded further by the client."""


async def abreast(call: Callable[[Item], Awaitable[Result]], items: Sequence[Item], most: int = MOST) -> list[Result]:
    """What `call` answers for each of `items`, in their order, with at most `most` of them under way.

    After a failure nothing more is begun, and it is raised when what was under way has ended: whoever goes on after it
    must not be overtaken by what was asked for before.
    """
    answers: dict[int, Result] = {}
    waiting = iter(enumerate(items))
    failure: BaseException | None = None

    async def work() -> None:
        nonlocal failure
        for place, item in waiting:
            if failure is not None:
                return
            try:
                answers[place] = await call(item)
            except BaseException as found:
                if failure is None:
                    failure = found
                if not isinstance(found, Exception):
                    raise

    await asyncio.gather(*(work() for _ in range(min(most, len(items)))))
    if failure is not None:
        raise failure
    return [answers[place] for place in range(len(items))]
