"""What is done about each object, and in which order, by what is known of it. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from trimtab.manifests import order
from trimtab.manifests.refs import Ref
from trimtab.targets.contract import Action, Change, Plan
from trimtab.targets.kubernetes.desired import Desired, Mode
from trimtab.targets.kubernetes.tracking import Tracked
from trimtab.targets.kubernetes.wish import Wish

_DEPLOYMENT_BAND = order.apply_key(Ref("apps", "Deployment", "n", "n")).band
_WEBHOOK_BAND = order.apply_key(Ref("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "", "n")).band
_DEFINITION = "CustomResourceDefinition"


class Observed(NamedTuple):
    """What is known of the objects of one app."""

    tracked: Mapping[Ref, Tracked]


KubePlan = Plan[Desired]


def decide(wish: Wish, item: Desired, tracked: Tracked) -> tuple[Action, str]:
    """What is done about `item`, and why."""
    if not item.enabled or item.mode is Mode.IGNORE:
        return Action.SKIP, "the object asks to be left alone"
    if tracked.seen is not None and tracked.seen.paused and not tracked.missing:
        return Action.SKIP, "the live object asks to be left alone"
    if tracked.as_wished(item.digest, wish.mode_of(item)):
        return Action.KEEP, ""
    if item.mode is Mode.IF_NOT_PRESENT and tracked.baseline is not None and not tracked.missing:
        return Action.KEEP, "it is applied only where it is not present"
    if tracked.baseline is not None and tracked.desired == item.digest:
        return Action.CORRECT, "it was deleted" if tracked.missing else "it was changed by somebody else"
    if tracked.desired == item.digest or (not tracked.desired and _was_applied(wish, item)):
        return Action.CORRECT, "it has not been looked at since"
    return Action.APPLY, "new" if tracked.seen is None else "changed"


def _was_applied(wish: Wish, item: Desired) -> bool:
    """A process before this one has applied exactly `item`."""
    entry = wish.inventory.get(item.ref)
    return wish.applied_before and item.mode in (Mode.OVERRIDE, Mode.MERGE) and entry is not None and bool(entry.uid)


def is_out_of_sight(item: Desired, tracked: Tracked) -> bool:
    """What was there before us and is left as it is does not carry our label: no watch shows that it goes."""
    return item.mode is Mode.IF_NOT_PRESENT and tracked.baseline is not None and tracked.baseline.owner is None


def deletion(ref: Ref) -> Change[Desired]:
    """That `ref` goes."""
    return Change(ref, Action.DELETE, None, "it left the desired state", None)


def acted_on(plan: KubePlan, action: Action) -> list[Desired]:
    """The objects of `plan` that `action` is done to."""
    return [
        change.after
        for stage in plan.stages
        for change in stage
        if change.action is action and change.after is not None
    ]


def foremost(plan: KubePlan) -> Change[Desired] | None:
    """The object of `plan` that can be written before all others, in one request; None where there is none such.

    None also where something is corrected, which is not rehearsed and waits for nobody, and behind definitions, which
    may hold up what comes after them.
    """
    if acted_on(plan, Action.CORRECT):
        return None
    for stage in plan.stages:
        todo = [change for change in stage if change.action is Action.APPLY]
        if any(change.ref.kind == _DEFINITION for change in stage):
            return None
        if todo:
            first = waves(todo)[0][0]
            item = first.after
            return first if item is not None and item.mode is Mode.OVERRIDE and not item.ignored else None
    return None


def waves(changes: Sequence[Change[Desired]]) -> list[list[Change[Desired]]]:
    """Within a stage: what workloads lean on, then workloads and the rest, then webhooks."""
    waves: tuple[list[Change[Desired]], ...] = ([], [], [])
    for change in changes:
        band = order.apply_key(change.ref).band
        waves[0 if band < _DEPLOYMENT_BAND else 1 if band < _WEBHOOK_BAND else 2].append(change)
    return [wave for wave in waves if wave]
