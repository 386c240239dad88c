"""The process that is killed: it records numbers, and says of each that it is on the disk."""

import asyncio
import sys
from pathlib import Path

from tests.audit.ground import settled
from trimtab.audit.writing import Ledger
from trimtab.base.clock import SystemClock
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry


async def main(directory: Path, first: int) -> None:
    ledger, tasks = Ledger(directory, SystemClock(), Telemetry()), Tasks("victim")
    tasks.keep(ledger.run, name="ledger")

    async def work(number: int) -> None:
        while True:
            await ledger.write(settled(number))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            number += 8

    await asyncio.gather(*(work(first + lane) for lane in range(8)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
