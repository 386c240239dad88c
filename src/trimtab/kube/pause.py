"""Waiting that can be cut short."""

import asyncio

from trimtab.base.clock import Clock


async def pause(clock: Clock, seconds: float, woken: asyncio.Event) -> bool:
    """Wait for `seconds` of the clock or until `woken` is set, whichever comes first; True if it was set."""
    if woken.is_set():
        return True
    rung = False
    async with asyncio.TaskGroup() as group:
        timer = group.create_task(clock.sleep(seconds))
        bell = group.create_task(woken.wait())
        await asyncio.wait({timer, bell}, return_when=asyncio.FIRST_COMPLETED)
        rung = bell.done()
        timer.cancel()
        bell.cancel()
    return rung
