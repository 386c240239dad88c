"""Before anything is written for an app, all of it is judged; nothing is written unless everything passes.

What is written first needs no rehearsal. When all the others have passed, its own apply is the verdict: while that is
out nothing else is written, and where it is refused nothing was. That is one request less for each new build, and for
a commit that changes one object half of them.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from trimtab.api import names
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.controllers.app import App, Build
from trimtab.controllers.auditing import Provenance
from trimtab.targets.contract import Change, Effect, Outcome
from trimtab.targets.kubernetes import gate
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.planning import KubePlan, foremost
from trimtab.targets.kubernetes.wish import Wish

Step: TypeAlias = Change[Desired]
Enforced: TypeAlias = tuple[Build | None, Provenance]


def ahead(wish: Wish, plan: KubePlan) -> Step | None:
    """What of `plan` is written before all others, so that it need not be rehearsed; None where nothing can be.

    Where each object is judged for itself, the others do not wait for its verdict.
    """
    return None if wish.each else foremost(plan)


async def judge(app: App, wish: Wish, plan: KubePlan, but: Step | None = None) -> list[gate.Judgement]:
    """The verdicts on what is new or changed in `plan`, without `but`. What passed before is not asked again.

    Raises Terminal or Transient that names every refused object, `but` included, with file and line and the server's
    words: nothing may be written then.
    """
    judgements = await _rehearse(app, wish, plan, lambda change: change is not but)
    if but is not None and any(isinstance(judged, gate.Refused) for judged in judgements):
        judgements += await _rehearse(app, wish, plan, lambda change: change is but)
    app.passed.update(gate.lasting(judgements, each=wish.each))
    if not wish.each and (why := _words(judgements)) is not None:
        raise why
    return judgements


def failed(first: Step | None, outcomes: Sequence[Outcome]) -> bool:
    """Whether `first`, which is written before all others, could not be: then nothing else was tried."""
    return first is not None and any(o.ref == first.ref and o.effect is Effect.FAILED for o in outcomes)


async def rest(app: App, wish: Wish, plan: KubePlan, first: Step | None, before: Enforced) -> KubePlan:
    """What of `plan` goes on although `first` failed. Raises as `judge` where the gate will not have it either.

    That is asked by a rehearsal after all: it knows more than the failure does. Where it passes, all have passed, and
    what became of one at its write is its own. Where nothing was written, `before` is what is enforced again and all is
    asked anew; where an answer was lost, or the server too busy for one, neither.
    """
    app.passed.discard(first.after.digest if first is not None and first.after is not None else "")
    judgements = await _rehearse(app, wish, plan, lambda change: change is first)
    unheard = any(isinstance(judged, gate.Refused) and judged.unheard for judged in judgements)
    if (why := _words(judgements, "nothing else" if unheard else "nothing")) is not None:
        if not unheard:
            app.passed.clear()
            app.good, app.enforced = before
        raise why
    stages = tuple(tuple(change for change in stage if change is not first) for stage in plan.stages)
    return plan._replace(stages=stages, deletions=())


async def _rehearse(app: App, wish: Wish, plan: KubePlan, wanted: Callable[[Step], bool]) -> list[gate.Judgement]:
    asked = tuple(
        tuple(c for c in stage if (c.after is None or c.after.digest not in app.passed) and wanted(c))
        for stage in plan.stages
    )
    return await app.target.judge(wish, plan._replace(stages=asked))


def _words(judgements: Sequence[gate.Judgement], what: str = "nothing") -> TrimtabError | None:
    refused = [judged for judged in judgements if isinstance(judged, gate.Refused)]
    if not refused:
        return None
    many = f"{len(refused)} objects were refused" if len(refused) > 1 else "an object was refused"
    kind = Terminal if all(judged.stuck for judged in refused) else Transient
    return kind(names.Reason.VALIDATION_FAILED, f"{many}, {what} was applied: {gate.words(refused)}")
