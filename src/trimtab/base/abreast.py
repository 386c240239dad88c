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

    The first failure is raised at once; what is under way then goes on, and nothing more is begun.
    """
    answers: dict[int, Result] = {}
    waiting = iter(enumerate(items))
    failed = False

    async def work() -> None:
        nonlocal failed
        for place, item in waiting:
            if failed:
                return
            try:
                answers[place] = await call(item)
            finally:
                if place not in answers:
                    failed = True

    await asyncio.gather(*(work() for _ in range(min(most, len(items)))))
    return [answers[place] for place in range(len(items))]
