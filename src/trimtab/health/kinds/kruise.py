"""OpenKruise: workloads with a partition or a pause, and rollouts of them."""

from typing import Final

from trimtab.health.context import Context
from trimtab.health.generic import behind
from trimtab.health.kinds.contract import NO_STATUS, Rules
from trimtab.health.shape import condition, explained, number, says, section
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body


def workload(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """A partition that has been reached is a rollout that waits for a person."""
    spec, status = section(body, "spec"), section(body, "status")
    if not status:
        return NO_STATUS
    late = behind(body)
    if late is not None:
        return late
    failed = condition(body, "FailedCreatePod") or condition(body, "FailedUpdatePod")
    if failed is not None and says(failed) == "True":
        return Verdict(State.Failed, explained(failed))
    strategy = section(spec, "updateStrategy")
    rolling = section(strategy, "rollingUpdate")
    if rolling.get("paused") is True or strategy.get("paused") is True:
        return Verdict(State.Suspended, "the update is paused")
    wanted, partition = number(spec, "replicas", 1), number(rolling, "partition") or number(strategy, "partition")
    if 0 < partition < wanted and number(status, "updatedReplicas") >= wanted - partition:
        return Verdict(State.Suspended, f"updated down to partition {partition}")
    for field in ("replicas", "readyReplicas", "availableReplicas", "updatedReadyReplicas", "updatedAvailableReplicas"):
        if field in status and number(status, field) < wanted:
            return Verdict(State.InProgress, f"{number(status, field)} of {wanted} {field}")
    return Verdict(State.Current, f"{wanted} of {wanted} replicas ready")


def rollout(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """A step that is paused waits for a person."""
    status = section(body, "status")
    late = behind(body)
    if late is not None or not status:
        return late or NO_STATUS
    phase, message = str(status.get("phase") or ""), str(status.get("message") or "")
    step = section(status, "canaryStatus").get("currentStepState") or section(status, "blueGreenStatus").get(
        "currentStepState"
    )
    state = {"Healthy": State.Current, "Disabled": State.Failed, "Disabling": State.InProgress}.get(phase)
    if state is None:
        state = State.Suspended if step == "StepPaused" else State.InProgress
    return Verdict(state, message or f"phase is {phase}")


RULES: Final[Rules] = {
    ("apps.kruise.io", "StatefulSet"): workload,
    ("apps.kruise.io", "CloneSet"): workload,
    ("game.kruise.io", "GameServerSet"): workload,
    ("rollouts.kruise.io", "Rollout"): rollout,
}
