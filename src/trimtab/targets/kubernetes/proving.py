"""Whether an object still is what a process before this one applied: one rehearsal tells, and nothing is written.

A process that begins has no baselines, and they come from the answers to applies alone. Where the rehearsed answer is
the very version that the watch shows, with the same fields of ours and the same values, the apply would do nothing:
that answer is as good as its own.
"""

from trimtab.base.abreast import abreast
from trimtab.base.clock import Clock
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, UnknownKind, Unreachable
from trimtab.targets.contract import Action, Change
from trimtab.targets.kubernetes.apply import rehearse
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.drift import CORRECT
from trimtab.targets.kubernetes.planning import KubePlan
from trimtab.targets.kubernetes.sighting import sight
from trimtab.targets.kubernetes.tracking import Tracked, Tracker
from trimtab.targets.kubernetes.wish import Wish


async def prove(wish: Wish, plan: KubePlan, tracker: Tracker, clock: Clock) -> KubePlan:
    """`plan`, in which what stands is kept."""

    async def proven(change: Change[Desired]) -> Change[Desired]:
        tracked, item = tracker.track(change.ref, wish.owner.key), change.after
        if item is None or not provable(wish, change, tracked):
            return change
        good = await stands(wish.client, item, tracked, tracker, clock)
        return change._replace(action=Action.KEEP, why="") if good else change

    return plan._replace(stages=tuple([tuple(await abreast(proven, stage)) for stage in plan.stages]))


def provable(wish: Wish, change: Change[Desired], tracked: Tracked) -> bool:
    """Whether a rehearsal alone may tell that nothing is to be done. Pure."""
    item, seen = change.after, tracked.seen
    if change.action is not Action.CORRECT or item is None or item.ignored or wish.mode_of(item) != CORRECT:
        return False
    if tracked.desired or tracked.foreign or tracked.missing or seen is None or seen.foreign:
        return False
    entry = wish.inventory.get(item.ref)
    return entry is not None and entry.uid == seen.uid


async def stands(client: Client, item: Desired, tracked: Tracked, tracker: Tracker, clock: Clock) -> bool:
    """Whether applying `item` would do nothing; then the answer is the baseline. False where that cannot be had."""
    seen = tracked.seen
    tracked.hold()
    try:
        answer = await rehearse(client, await client.discovery.find(item.gvk), item)
        sighting = sight(answer, clock.now(), item.manager, tracker.judge)
        if seen is None or sighting.version != seen.version or not sighting.undisturbed(seen) or sighting.foreign:
            return False
        tracked.applied(item.digest, sighting)
    except (ApiError, Unreachable, UnknownKind, StaleGroup):
        return False  # who applies it will say why
    else:
        return True
    finally:
        tracker.report(tracked, tracked.release())
