"""`trimtab diff --serve`: the comparison made again and again, until the process is told to stop."""

import asyncio
import signal
from typing import Final

import click

from trimtab.base import logs
from trimtab.base.clock import SystemClock
from trimtab.base.comparisons import Comparisons
from trimtab.base.errors import Terminal
from trimtab.base.tasks import Tasks
from trimtab.cli.connect import Code, Failure
from trimtab.cli.diff.asked import Asked
from trimtab.diff.report import Report, State
from trimtab.kube.client import Client
from trimtab.web import differences
from trimtab.web.differences import Watch
from trimtab.web.server import listen

_MARGIN_S: Final = 60.0
"""What is not bounded by --timeout itself, such as rendering, gets so much more."""


async def serve(client: Client, asked: Asked, address: str, every_s: float) -> Code:
    """Compare every `every_s` seconds and serve what was found, until SIGTERM or SIGINT. Raises Failure."""
    logs.setup()
    clock = SystemClock()
    metrics = Comparisons(clock, complete=(State.SAME.value, State.DIFFERS.value), same=State.SAME.value)

    async def look() -> Report:
        try:
            return await asked.of_cluster(client)
        except Failure as failure:
            raise Terminal("ComparisonFailed", failure.message) from failure

    longest_s = asked.options.timeout_s + _MARGIN_S
    watch = Watch(look, str(asked.subject), clock, metrics, every_s=every_s, longest_s=longest_s)
    stop = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stop.set)
    try:
        listener = await listen(differences.app(watch, address), address, most=differences.MOST_CONNECTIONS)
    except OSError as failure:
        raise Failure(Code.WRONG, f"{address} cannot be listened on: {failure.strerror or failure}") from failure
    tasks = Tasks("diff")
    try:
        host = address.rpartition(":")[0] or "localhost"
        click.echo(
            f"► comparing {asked.subject} every {every_s:g} s, served at http://{host}:{listener.port}/", err=True
        )
        tasks.keep(watch.run, name="compare")
        await stop.wait()
    finally:
        await tasks.close()
        await listener.close()
    return Code.OK
