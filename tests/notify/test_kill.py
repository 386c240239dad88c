"""Kill −9 between an event and its delivery, at random points, with a provider that often does not take it.

A double of a server, labelled so: it answers 500 or 429, is slow, or takes it and cuts the connection. What has to
hold after each kill: every event that was acknowledged is delivered, in order for each object; and whatever is
delivered twice has the same key.
"""

import asyncio
import contextlib
import json
import os
import random
import sqlite3
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from aiohttp import web

from tests.notify.ground import until

KILLS = int(os.environ.get("TRIMTAB_NOTIFY_KILLS", "5"))
SEED = int(os.environ.get("TRIMTAB_NOTIFY_SEED", "9"))
OBJECTS = 5
MOST_WAITING = 2000
"""More than twice as many, and progress would go for lack of room, as is promised."""


class Flaky:
    """The double: a sink of events that takes them when it feels like it."""

    def __init__(self, luck: random.Random) -> None:
        self.taken: list[tuple[str, str, int]] = []  # key, object, number
        self.answered: dict[str, int] = defaultdict(int)
        self.sound = False
        self._luck = luck

    async def take(self, request: web.Request) -> web.StreamResponse:
        event = json.loads(await request.read())
        entry = (
            request.headers["Idempotency-Key"],
            event["involvedObject"]["name"],
            int(event["metadata"]["number"]),
        )
        draw = 1.0 if self.sound else self._luck.random()
        if draw < 0.15:
            return web.Response(status=500)
        if draw < 0.25:
            return web.Response(status=429, headers={"Retry-After": "0"})
        if draw < 0.35:
            await asyncio.sleep(0.5)  # longer than the provider waits
            return web.Response(status=200)
        self.taken.append(entry)
        if draw < 0.45:
            request.transport.abort()  # taken, and the answer is lost
            return web.Response()
        self.answered[entry[0]] += 1
        return web.Response(status=200)


def body(number: int) -> bytes:
    event = {
        "involvedObject": {"kind": "Kustomization", "namespace": "apps", "name": f"app-{number % OBJECTS}"},
        "severity": "info",
        "timestamp": "2026-11-26T21:00:00Z",
        "message": f"event {number}",
        "reason": "Progressing",
        "metadata": {"number": str(number)},
        "reportingController": "kustomize-controller",
    }
    return json.dumps(event).encode() + b"\n"


def waiting(journal: Path) -> int:
    """How many events and notices the process still has to see to."""
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=60)) as asked:
        counts = "select (select count(*) from events) + (select count(*) from notices)"
        return int(asked.execute(counts).fetchone()[0])


class Victim:
    """The process that is killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def started(cls, journal: Path, address: str, *, timeout_s: float = 0.3) -> "Victim":
        command = [sys.executable, "-m", "tests.notify.process", str(journal), address, str(timeout_s)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=1 << 22)
        assert await process.stdout.readline() == b"up\n"
        return cls(process)

    async def give(self, number: int) -> bool:
        """Whether the event was acknowledged."""
        try:
            self._process.stdin.write(body(number))
            await self._process.stdin.drain()
            return await self._process.stdout.readline() == f"{number}\n".encode()
        except (BrokenPipeError, ConnectionResetError):
            return False

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._process.stdin.close()


@pytest.mark.timeout(300 + 3 * KILLS)
async def test_what_was_acknowledged_is_delivered_whenever_the_process_is_killed(tmp_path: Path) -> None:
    luck = random.Random(SEED)
    flaky = Flaky(luck)
    application = web.Application()
    application.router.add_post("/", flaky.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    journal = tmp_path / "journal.db"
    acknowledged: list[int] = []
    number = 0
    try:
        for round_ in range(1, KILLS + 1):
            victim = await Victim.started(journal, address)

            async def feed(victim: Victim = victim) -> None:
                nonlocal number
                while True:
                    number += 1
                    if not await victim.give(number):
                        return
                    acknowledged.append(number)
                    if luck.random() < 0.3 or len(acknowledged) - len(flaky.taken) > MOST_WAITING:
                        await asyncio.sleep(luck.random() * 0.02)

            feeding = asyncio.ensure_future(feed())
            await asyncio.sleep(luck.random() * 0.25)
            if round_ == KILLS:  # a slow disk takes few in that time, and some there have to be
                await until(lambda: len(acknowledged) > KILLS)
            await victim.kill()
            await feeding
        flaky.sound = True
        # Who gives up on an answer that is on its way tells again: that is not what is counted here.
        victim = await Victim.started(journal, address, timeout_s=60.0)
        # What waits is told at 50 a second: a quick machine leaves more of it.
        async with asyncio.timeout(60 + len(acknowledged) / 25):
            while set(acknowledged) - {entry[2] for entry in flaky.taken}:
                await asyncio.sleep(0.05)
            while waiting(journal):  # what was taken is noted a moment later
                await asyncio.sleep(0.05)
        count = len(flaky.taken)
        await victim.kill()
        # Nothing is left: another process has nothing to deliver.
        victim = await Victim.started(journal, address)
        await asyncio.sleep(0.3)
        await victim.kill()
        assert len(flaky.taken) == count
    finally:
        await runner.cleanup()
    assert len(acknowledged) > KILLS
    numbers_of_keys = {(key, number) for key, _, number in flaky.taken}
    assert len({key for key, _ in numbers_of_keys}) == len(numbers_of_keys) == len({n for _, n in numbers_of_keys})
    for name in {entry[1] for entry in flaky.taken}:
        firsts = list(dict.fromkeys(entry[2] for entry in flaky.taken if entry[1] == name))
        assert firsts == sorted(firsts), f"{name}: order"
        everything = [entry[2] for entry in flaky.taken if entry[1] == name]
        # A repeat comes before anything later about the object: never after that was taken and acknowledged.
        assert everything == sorted(everything), f"{name}: a repeat after something later"
    # Acknowledged more than once: only where the process was killed after the answer and before it was on disk.
    assert sum(times - 1 for times in flaky.answered.values()) <= KILLS + 1
    print(f"{KILLS} kills, {len(acknowledged)} acknowledged, {len(flaky.taken) - len(numbers_of_keys)} repeats")
