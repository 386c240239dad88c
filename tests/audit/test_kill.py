"""Kill −9 in the middle of writing, at random points: what was said to be on the disk is there, and the chain fits."""

import os
import random
import subprocess
import sys
from pathlib import Path

from trimtab.audit.reading import records
from trimtab.audit.record import Settled
from trimtab.audit.verifying import verify

KILLS = int(os.environ.get("TRIMTAB_LEDGER_KILLS", "4"))
SEED = int(os.environ.get("TRIMTAB_LEDGER_SEED", "9"))


def test_what_was_acknowledged_outlives_every_kill(tmp_path: Path) -> None:
    luck, acknowledged = random.Random(SEED), set[int]()
    for kill in range(KILLS):
        command = [sys.executable, "-m", "tests.audit.process", str(tmp_path / "ledger"), str(kill * 1_000_000)]
        victim = subprocess.Popen(command, stdout=subprocess.PIPE)
        for _ in range(luck.randrange(1, 200)):
            acknowledged.add(int(victim.stdout.readline()))
        victim.kill()
        said = victim.stdout.read().splitlines(keepends=True)
        acknowledged |= {int(line) for line in said if line.endswith(b"\n")}
        victim.wait()
    [report] = verify(tmp_path / "ledger")
    assert report.broken is None
    events = [line.record.event for line in records(tmp_path / "ledger")]
    found = [int(e.source.revision.rpartition(":")[2]) for e in events if isinstance(e, Settled)]
    assert acknowledged <= set(found)
    assert len(found) == len(set(found))
