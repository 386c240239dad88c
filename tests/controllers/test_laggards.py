"""Status that may follow later still follows, whatever becomes of a single write."""

import asyncio

from trimtab.api.kustomizestatus import KustomizationStatus
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.base.tasks import Tasks
from trimtab.controllers.laggards import Laggards
from trimtab.kube.errors import ServerError
from trimtab.manifests.refs import Key


class Hasty(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


async def test_a_status_whose_write_failed_is_written_later_and_holds_nobody_up():
    written: list[str] = []
    failures = [
        Transient("ReconciliationFailed", "the inventory cannot be written"),
        ServerError(500, "InternalError", "etcdserver: leader changed"),
    ]

    async def write(key: Key, status: KustomizationStatus) -> None:
        if key.name == "first" and failures:
            raise failures.pop()
        written.append(key.name)

    laggards, tasks = Laggards(write, Hasty()), Tasks("test")
    for name in ("first", "second"):
        laggards.add(Key("home", name), KustomizationStatus())
    tasks.keep(laggards.run, name="laggards")
    async with asyncio.timeout(60):
        while len(written) < 2:
            await asyncio.sleep(0.01)
    await tasks.close()
    assert written == ["second", "first"]
    assert not laggards


async def test_what_something_more_urgent_has_overtaken_on_its_way_is_not_written_after_it():
    written: list[str] = []

    async def write(key: Key, status: KustomizationStatus) -> None:
        written.append(status.last_applied_revision)
        if key.name == "first":
            laggards.forget(key)
            raise ServerError(500, "InternalError", "etcdserver: leader changed")

    laggards, tasks = Laggards(write, Hasty()), Tasks("test")
    laggards.add(Key("home", "first"), KustomizationStatus(last_applied_revision="old"))
    laggards.add(Key("home", "second"), KustomizationStatus(last_applied_revision="new"))
    tasks.keep(laggards.run, name="laggards")
    async with asyncio.timeout(60):
        while laggards or "new" not in written:
            await asyncio.sleep(0)
    await tasks.close()
    assert written == ["old", "new"]
