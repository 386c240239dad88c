"""Deployments, StatefulSets, DaemonSets, ReplicaSets and Pods: after kstatus, and where Argo CD sees more, Argo CD."""

import re
from typing import Final

from trimtab.health.context import Context
from trimtab.health.shape import condition, explained, number, says, section, sections
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body

UNSCHEDULABLE_S: Final = 15.0
"""A Pod may be unschedulable for so long before that counts: autoscalers and volumes need a moment."""

_HOPELESS: Final = re.compile(r"^Err|Error$|BackOff$|^InvalidImageName$")
_RETRIED: Final = "CrashLoopBackOff"


def deployment(body: Body, context: Context) -> Verdict:  # noqa: ARG001 - a rule's signature
    """A rollout is over when the new ReplicaSet is available and nothing of the old ones is left."""
    spec, status = section(body, "spec"), section(body, "status")
    if spec.get("paused") is True:
        return Verdict(State.Suspended, "the rollout is paused")
    progressing = condition(body, "Progressing")
    if progressing is not None and progressing.get("reason") == "ProgressDeadlineExceeded":
        return Verdict(State.Failed, explained(progressing))
    wanted, replicas = number(spec, "replicas", 1), number(status, "replicas")
    updated, available = number(status, "updatedReplicas"), number(status, "availableReplicas")
    waiting = (
        _short(replicas, wanted, "replicas created")
        or _short(updated, wanted, "replicas updated")
        or _surplus(replicas, wanted)
        or _short(available, updated, "replicas available")
        or _short(number(status, "readyReplicas"), wanted, "replicas ready")
    )
    if waiting is not None:
        return waiting
    # The server always fills in a deadline; without one the controller sets no Progressing condition.
    if "progressDeadlineSeconds" in spec and (
        progressing is None or progressing.get("reason") != "NewReplicaSetAvailable"
    ):
        return Verdict(State.InProgress, "the new ReplicaSet is not available yet")
    ready = condition(body, "Available")
    if says(ready) != "True":
        return Verdict(State.InProgress, explained(ready) if ready else "not available yet")
    return Verdict(State.Current, f"{available} of {wanted} replicas available")


def stateful_set(body: Body, context: Context) -> Verdict:  # noqa: ARG001
    """All replicas ready and of the newest revision, down to the partition."""
    spec, status = section(body, "spec"), section(body, "status")
    strategy = section(spec, "updateStrategy")
    if strategy.get("type") == "OnDelete":
        return Verdict(State.Current, "updated as its Pods are deleted")
    wanted, replicas = number(spec, "replicas", 1), number(status, "replicas")
    waiting = (
        _short(replicas, wanted, "replicas created")
        or _short(number(status, "readyReplicas"), wanted, "replicas ready")
        or _surplus(replicas, wanted)
    )
    if waiting is not None:
        return waiting
    partition = number(section(strategy, "rollingUpdate"), "partition", -1)
    if partition >= 0:
        updated, due = number(status, "updatedReplicas"), max(wanted - partition, 0)
        return _short(updated, due, "replicas updated") or Verdict(
            State.Current, f"{updated} replicas updated, down to partition {partition}"
        )
    waiting = _short(number(status, "currentReplicas"), wanted, "replicas of the current revision")
    if waiting is not None:
        return waiting
    if status.get("currentRevision") != status.get("updateRevision"):
        return Verdict(State.InProgress, f"{number(status, 'updatedReplicas')} of {wanted} replicas updated")
    return Verdict(State.Current, f"{wanted} of {wanted} replicas ready")


def daemon_set(body: Body, context: Context) -> Verdict:  # noqa: ARG001
    """A ready Pod of the newest template on every node that is to have one."""
    spec, status = section(body, "spec"), section(body, "status")
    if "observedGeneration" not in status:
        return Verdict(State.InProgress, "not seen by the controller yet")
    if "desiredNumberScheduled" not in status:
        return Verdict(State.InProgress, "the number of nodes is not known yet")
    wanted = number(status, "desiredNumberScheduled")
    on_delete = section(spec, "updateStrategy").get("type") == "OnDelete"
    return (
        _short(number(status, "currentNumberScheduled"), wanted, "Pods scheduled")
        or (None if on_delete else _short(number(status, "updatedNumberScheduled"), wanted, "Pods updated"))
        or _short(number(status, "numberAvailable"), wanted, "Pods available")
        or _short(number(status, "numberReady"), wanted, "Pods ready")
        or Verdict(State.Current, f"{wanted} of {wanted} Pods available")
    )


def replica_set(body: Body, context: Context) -> Verdict:  # noqa: ARG001
    """All replicas available, and no more of them than wanted."""
    spec, status = section(body, "spec"), section(body, "status")
    failure = condition(body, "ReplicaFailure")
    if failure is not None and says(failure) == "True":
        return Verdict(State.Failed, explained(failure))
    wanted = number(spec, "replicas", 1)
    return (
        _short(number(status, "fullyLabeledReplicas"), wanted, "replicas labelled")
        or _short(number(status, "availableReplicas"), wanted, "replicas available")
        or _short(number(status, "readyReplicas"), wanted, "replicas ready")
        or _surplus(number(status, "replicas"), wanted)
        or Verdict(State.Current, f"{wanted} of {wanted} replicas available")
    )


def pod(body: Body, context: Context) -> Verdict:
    """Ready, or run to its end. A container that cannot start counts as broken, for its image or command is."""
    status = section(body, "status")
    phase = status.get("phase")
    if phase == "Succeeded":
        return Verdict(State.Current, "ran to its end")
    if phase == "Failed":
        return Verdict(State.Failed, _ending(status))
    to_last = section(body, "spec").get("restartPolicy", "Always") == "Always"
    broken = _broken_container(status, to_last=to_last)
    if broken is not None:
        return broken
    if phase == "Running":
        if not to_last:
            return Verdict(State.InProgress, "running; it is to end")
        ready = condition(body, "Ready")
        if ready is not None and says(ready) == "True":
            return Verdict(State.Current, "ready")
        return Verdict(State.InProgress, explained(ready) if ready else "running, not ready yet")
    scheduled = condition(body, "PodScheduled")
    if scheduled is not None and scheduled.get("reason") == "Unschedulable" and says(scheduled) == "False":
        age = context.age(body)
        state = State.InProgress if age is not None and age < UNSCHEDULABLE_S else State.Failed
        return Verdict(state, f"unschedulable: {explained(scheduled)}")
    return Verdict(State.InProgress, f"phase is {phase}" if phase else "not seen by a scheduler yet")


def _containers(status: Body) -> list[Body]:
    return [*sections(status, "initContainerStatuses"), *sections(status, "containerStatuses")]


def _broken_container(status: Body, *, to_last: bool) -> Verdict | None:
    """A container that cannot start, or keeps ending though it is to last; what may end is given its retries."""
    for container in _containers(status):
        waiting, ended = section(container, "state", "waiting"), section(container, "state", "terminated")
        reason = str(waiting.get("reason") or "")
        if _HOPELESS.search(reason) and (to_last or reason != _RETRIED):
            said = f": {waiting['message']}" if waiting.get("message") else ""
            return Verdict(State.Failed, f"container {container.get('name')}: {reason}{said}")
        if to_last and ended.get("exitCode") and container.get("restartCount"):
            times = f"after {container['restartCount']} restarts"
            return Verdict(State.Failed, f"container {container.get('name')} ended with {ended['exitCode']} {times}")
    return None


def _ending(status: Body) -> str:
    """Why a Pod failed, in the words of whoever has some."""
    if status.get("message") or status.get("reason"):
        return str(status.get("message") or status["reason"])
    for container in _containers(status):
        ended = section(container, "state", "terminated")
        if ended.get("exitCode") or ended.get("message"):
            why = ended.get("message") or ended.get("reason") or "Error"
            return f"container {container.get('name')}: {why} (exit code {ended.get('exitCode', 0)})"
    return "failed"


def _short(have: int, wanted: int, what: str) -> Verdict | None:
    return Verdict(State.InProgress, f"{have} of {wanted} {what}") if have < wanted else None


def _surplus(have: int, wanted: int) -> Verdict | None:
    return Verdict(State.InProgress, f"{have - wanted} old replicas still ending") if have > wanted else None
