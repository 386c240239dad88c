"""A process that is killed: the event path without a cluster, which takes events on standard input.

Each line is an event; when it is on disk, its number is written to standard output. Whatever waits is delivered to the
address that is given, which does not always answer.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from trimtab.api.notification import Alert
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.base.tasks import Tasks
from trimtab.notify import event as events
from trimtab.notify.desk import Desk, World
from trimtab.notify.journal import Journal
from trimtab.notify.matching import Rule, Subject
from trimtab.notify.outbox import Outbox, Post
from trimtab.notify.provider import Settings
from trimtab.notify.providers.table import TABLE
from trimtab.notify.wire import ProviderWire
from trimtab.remotes.outbound import Outbound


def rules() -> list[Rule]:
    alert = {
        "metadata": {"name": "all", "namespace": "apps", "uid": "u"},
        "spec": {"providerRef": {"name": "sink"}, "eventSources": [{"kind": "Kustomization", "name": "*"}]},
    }
    return [Rule.of(msgspec.convert(alert, Alert))]


async def main(path: str, address: str, timeout_s: str) -> None:
    tasks, clock, transport = Tasks("victim"), SystemClock(), AiohttpTransport()
    journal = Journal(Path(path))

    async def across(_own: str, _other: str) -> bool:
        return False

    async def subject(_event: events.Event) -> Subject:
        return Subject({}, {})

    async def template(_alert: Alert) -> None:
        return None

    async def settings(_provider: str) -> Settings:
        return Settings(type="generic", address=address, timeout_s=float(timeout_s))

    out = Outbound(transport, clock)
    post = Post(
        settings=settings,
        wire=lambda one: ProviderWire(out, one),
        table=TABLE,
        told=lambda *_: None,
        complain=lambda *_: None,
    )
    outbox = Outbox(journal, post, clock, pace=100, pause_s=(0.01, 0.05))
    known = rules()
    world = World(
        rules=lambda: known,
        across=across,
        subject=subject,
        template=template,
        complain=lambda *_: None,
        dropped=lambda *_: None,
    )
    desk = Desk(journal, world, clock, moved=outbox.wake)
    desk.start(tasks)
    tasks.keep(desk.dispatch, name="dispatch")
    tasks.keep(lambda: outbox.run(tasks), name="outbox")
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 22)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print("up", flush=True)
    while line := await reader.readline():
        event = events.parse(line)
        await desk.take(event)
        print(event.metadata["number"], flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
