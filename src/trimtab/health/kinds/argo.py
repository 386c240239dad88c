"""Argo Rollouts, Workflows and Events."""

from typing import Final

from trimtab.health.context import Context
from trimtab.health.kinds.contract import NO_STATUS, KindRule, Rules, phases
from trimtab.health.shape import condition, conditions, explained, number, says, section
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body

_WORKLOAD_GENERATION: Final = "rollout.argoproj.io/workload-generation"


def rollout(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """A Deployment with steps: since 1.0 it sums itself up in a phase, before that its conditions and counters tell.

    Before 1.0 `observedGeneration` was a hash, and some hashes look like numbers.
    """
    spec, status = section(body, "spec"), section(body, "status")
    if not status:
        return NO_STATUS
    late = _rollout_behind(body)
    if late is not None:
        return late
    phase = status.get("phase")
    if isinstance(phase, str) and phase:
        state = {"Healthy": State.Current, "Degraded": State.Failed, "Paused": State.Suspended}
        return Verdict(
            state.get(phase, State.InProgress), f"phase is {phase}: {status.get('message') or ''}".rstrip(": ")
        )
    for item in conditions(status):
        if item["type"] == "InvalidSpec" or item.get("reason") in ("RolloutAborted", "ProgressDeadlineExceeded"):
            return Verdict(State.Failed, explained(item))
    if spec.get("paused") is True or status.get("controllerPause") is True or status.get("pauseConditions"):
        return Verdict(State.Suspended, "the rollout is paused")
    return _rollout_counted(spec, status)


def _rollout_behind(body: Body) -> Verdict | None:
    generation, observed = (
        section(body, "metadata").get("generation"),
        section(body, "status").get("observedGeneration"),
    )
    # Only what can be a generation is compared: a hash of digits is far beyond any.
    if isinstance(generation, int) and isinstance(observed, str) and observed.isdigit() and int(observed) < generation:
        return Verdict(State.InProgress, f"generation {generation} not observed yet, at {observed}")
    wanted = section(body, "metadata", "annotations").get(_WORKLOAD_GENERATION)
    seen = section(body, "status").get("workloadObservedGeneration")
    if section(body, "spec", "workloadRef") and wanted is not None and seen is not None and str(wanted) != str(seen):
        return Verdict(State.InProgress, f"generation {wanted} of the workload not observed yet, at {seen}")
    return None


def _rollout_counted(spec: Body, status: Body) -> Verdict:
    wanted = number(spec, "replicas", 1)
    updated, replicas = number(status, "updatedReplicas"), number(status, "replicas")
    if updated < wanted:
        return Verdict(State.InProgress, f"{updated} of {wanted} replicas updated")
    if number(status, "availableReplicas") < updated:
        return Verdict(State.InProgress, f"{number(status, 'availableReplicas')} of {updated} replicas available")
    if "canary" in section(spec, "strategy") and replicas > updated:
        return Verdict(State.InProgress, f"{replicas - updated} old replicas still ending")
    stable = section(status, "canary").get("stableRS") or status.get("stableRS")
    current = status.get("currentPodHash")
    active = section(status, "blueGreen").get("activeSelector") or status.get("activeSelector")
    if section(spec, "strategy", "blueGreen") and active and active != current:
        return Verdict(State.InProgress, "the active Service does not serve the new replicas yet")
    if section(spec, "strategy", "canary") and stable and stable != current:
        return Verdict(State.InProgress, "the new replicas are not the stable ones yet")
    return Verdict(State.Current, f"{updated} of {wanted} replicas available")


def cron_workflow(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Current as soon as it is there, unless what it is to start cannot be started."""
    if section(body, "spec").get("suspend") is True:
        return Verdict(State.Suspended, "the schedule is suspended")
    for type_ in ("SpecError", "SubmissionError"):
        item = condition(body, type_)
        if item is not None and says(item) == "True":
            return Verdict(State.Failed, explained(item))
    return Verdict(State.Current)


_RUN: Final = {
    "Pending": State.InProgress,
    "Running": State.InProgress,
    "Succeeded": State.Current,
    "Successful": State.Current,
    "Inconclusive": State.Unknown,
    "Failed": State.Failed,
    "Error": State.Failed,
}
_run: Final[KindRule] = phases("phase", _RUN)

RULES: Final[Rules] = {
    ("argoproj.io", "Rollout"): rollout,
    ("argoproj.io", "Workflow"): _run,
    ("argoproj.io", "Experiment"): _run,
    ("argoproj.io", "AnalysisRun"): _run,
    ("argoproj.io", "CronWorkflow"): cron_workflow,
}
