"""Drift: confirm it, correct it where that is wanted, and say what differed, who did it and when (ENGINE.md §8)."""

from datetime import datetime
from typing import NamedTuple

from trimtab.base.clock import Clock
from trimtab.diff import fields
from trimtab.diff.compare import Difference
from trimtab.diff.mask import masked
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, Unreachable
from trimtab.manifests.refs import Body, Ref
from trimtab.targets.contract import Effect, Outcome
from trimtab.targets.kubernetes.apply import apply, read, rehearse
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.sighting import MANAGER
from trimtab.targets.kubernetes.tracking import Tracked, Tracker


class Drift(NamedTuple):
    """What one object had become. Without differences: the whole object was gone."""

    ref: Ref
    differences: tuple[Difference, ...]
    manager: str
    since: str
    seen: datetime
    corrected: bool

    def __str__(self) -> str:
        what = "deleted" if not self.differences else "; ".join(map(str, self.differences[:5]))
        more = f" and {len(self.differences) - 5} more" if len(self.differences) > 5 else ""
        who = f" by {self.manager}" if self.manager else ""
        when = f" at {self.since}" if self.since else ""
        return f"{self.ref} {what}{more}{who}{when}" + (", corrected" if self.corrected else "")


class Report(NamedTuple):
    """What became of a suspect: `drift` is None for a false alarm."""

    outcome: Outcome
    drift: Drift | None = None


async def settle(
    client: Client,
    item: Desired,
    tracked: Tracked,
    tracker: Tracker,
    clock: Clock,
    *,
    correct: bool,
    force: bool = False,
) -> Report:
    """Look at a suspect, bring it back if `correct`, and report what differed.

    The difference to report is that between the live object and the server's answer, on the fields of the answer: a
    mere change of ownership, or a value that was changed and changed back, is no drift (D2, D3).
    """
    try:
        live = await read(client, item)
        if correct:
            answer = await apply(client, item, tracked, tracker, clock, force=force)
            if answer.live is None:
                return Report(answer.outcome)
            wished, outcome = answer.live, answer.outcome
        else:
            resource = await client.discovery.find(item.gvk)
            wished = await rehearse(client, resource, item)
            outcome = Outcome(item.ref, Effect.UNCHANGED, origin=item.origin)
    except ApiError as failure:
        return Report(Outcome(item.ref, Effect.FAILED, failure.message, item.origin, failure.transient))
    except Unreachable as failure:
        return Report(Outcome(item.ref, Effect.FAILED, str(failure), item.origin))
    drift = _difference(item, live, wished, clock.now(), corrected=correct)
    if drift is None:
        return Report(outcome._replace(effect=Effect.UNCHANGED))
    return Report(outcome._replace(effect=Effect.CORRECTED if correct else Effect.DRIFTED, message=str(drift)), drift)


def _difference(item: Desired, live: Body | None, wished: Body, now: datetime, *, corrected: bool) -> Drift | None:
    if live is None:
        return Drift(item.ref, (), "", "", now, corrected)
    entry = fields.owned_entry(wished, MANAGER)
    found = fields.changes(live, wished, entry) if entry else []
    if not found:
        return None
    who = fields.who_changed(live, found[0].path)
    shown = tuple(masked(found) if item.ref.kind == "Secret" else found)
    return Drift(item.ref, shown, who.manager if who else "", who.time if who else "", now, corrected)
