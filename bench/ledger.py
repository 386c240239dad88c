"""What the ledger costs: `python -m bench.ledger`. One change of an app is an intent, an outcome and how it settled.

Alone, each intent waits for the disk. Many at a time share it: then what counts is the work of the processor.
"""

import asyncio
import tempfile
import time
from pathlib import Path

from trimtab.api.kustomize import Kustomization
from trimtab.api.meta import ObjectMeta
from trimtab.audit.record import Actor, Source
from trimtab.audit.writing import Ledger
from trimtab.base.clock import SystemClock
from trimtab.base.tasks import Tasks
from trimtab.base.telemetry import Telemetry
from trimtab.controllers.auditing import Attestor, Auditor, Provenance, subject_of
from trimtab.controllers.standing import Standing
from trimtab.manifests.refs import Ref
from trimtab.targets.contract import Action, Change, Effect, Mark, Outcome

OBJECTS = 3
MANY = 2_000
ALONE = 200
AT_ONCE = 32


def app() -> Kustomization:
    metadata = ObjectMeta(name="shop", namespace="team-a", uid="25c903d6-4918-4704-87fe-d17af34d0de8", generation=3)
    return Kustomization(metadata=metadata, spec=None)  # type: ignore[arg-type] - nothing of it is looked at


async def change(auditor: Auditor, item: Kustomization, provenance: Provenance) -> None:
    """What one change of an app puts on record."""
    attestor = Attestor(auditor.ledger, subject_of(item), provenance, str, auditor.repeats)
    refs = [Ref("apps", "Deployment", "team-a", f"web-{number}") for number in range(OBJECTS)]
    attempt = await attestor.begin([Change(ref, Action.APPLY, None, "changed", None) for ref in refs], "somebody")
    mark = Mark("78af6ac7-40d8-4f2e-b05e-2f02f963a636", "12345", f"sha256:{'a' * 64}")
    attestor.end(attempt, [Outcome(ref, Effect.CONFIGURED, before=mark, after=mark) for ref in refs], "")
    auditor.settled(item, provenance, "ReconciliationSucceeded", "", 1.0)


async def measure(directory: Path, many: int, lanes: int) -> tuple[float, float, float]:
    """Seconds of the wall and of the processor for a change, and its bytes."""
    ledger, tasks = Ledger(directory, SystemClock(), Telemetry()), Tasks("bench")
    tasks.keep(ledger.run, name="ledger")
    auditor, item = Auditor(ledger, Standing()), app()
    revision = "main@sha1:17bd2ecf529ddc472878091f8753e9e74409cb49"
    source = Source(
        kind="GitRepository",
        namespace="team-a",
        name="repo",
        url="https://git.example/shop.git",
        revision=revision,
        digest=f"sha256:{'b' * 64}",
        path="./app",
        rendered=f"sha256:{'c' * 64}",
    )
    provenance = Provenance(Actor(author="Ada"), source)
    wall, processor = time.perf_counter(), time.process_time()

    async def lane() -> None:
        for _ in range(many // lanes):
            await change(auditor, item, provenance)

    await asyncio.gather(*(lane() for _ in range(lanes)))
    await ledger.close()
    took = (time.perf_counter() - wall) / many, (time.process_time() - processor) / many
    await tasks.close()
    return *took, sum(file.stat().st_size for file in directory.glob("chain-*/*.jsonl")) / many


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        for words, many, lanes in (("one at a time", ALONE, 1), (f"{AT_ONCE} at a time", MANY, AT_ONCE)):
            wall, processor, size = asyncio.run(measure(Path(root) / str(lanes), many, lanes))
            print(f"{words}: {wall * 1e3:.2f} ms, {processor * 1e6:.0f} µs of the processor, {size:.0f} bytes a change")


if __name__ == "__main__":
    main()
