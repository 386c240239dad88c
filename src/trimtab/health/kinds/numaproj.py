"""Numaflow and Numaplane: a child that is not healthy is a failure unless its reason says that it is at work."""

from typing import Final

from trimtab.health.context import Context
from trimtab.health.generic import behind
from trimtab.health.kinds.contract import NO_STATUS, Rules
from trimtab.health.shape import conditions, explained, says, section
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body

_PROMOTION: Final = "numaplane.numaproj.io/progressive-result-state"
_HALTS: Final = frozenset({"PipelinePausingOrPaused", "PausingPipelines", "MonoVertexPausingOrPaused"})


def pipeline(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """The gears themselves. One that is paused does as it was told; one that failed its trial is of no use."""
    status = section(body, "status")
    if not status:
        return NO_STATUS
    late = behind(body)
    if late is not None:
        return late
    if section(body, "metadata", "labels").get(_PROMOTION) == "failed":
        return Verdict(State.Failed, "its progressive upgrade has failed")
    if status.get("phase") in ("Failed", "Unknown"):
        failed = status["phase"] == "Failed"
        return Verdict(
            State.Failed if failed else State.Unknown, str(status.get("message") or f"phase is {status['phase']}")
        )
    unwell = _unwell(status)
    return unwell or Verdict(State.Current, f"phase is {status.get('phase')}")


def _unwell(status: Body) -> Verdict | None:
    for item in conditions(status):
        if says(item) != "False" or item["type"] in _HALTS:
            continue
        return Verdict(State.Failed, f"{item['type']}: {explained(item)}")
    return None


def rollout(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """What puts gears into service: deployed, not upgrading, children healthy."""
    status = section(body, "status")
    if not status:
        return NO_STATUS
    late = behind(body)
    if late is not None:
        return late
    if status.get("upgradeInProgress") or status.get("phase") == "Pending":
        return Verdict(State.InProgress, f"upgrading ({status.get('upgradeInProgress') or 'pending'})")
    if status.get("phase") == "Failed":
        return Verdict(State.Failed, str(status.get("message") or "phase is Failed"))
    for item in conditions(status):
        if item.get("reason") == "Progressing" and says(item) == "False":
            return Verdict(State.InProgress, f"{item['type']}: {explained(item)}")
    return _unwell(status) or Verdict(State.Current, f"phase is {status.get('phase')}")


RULES: Final[Rules] = {("numaflow.numaproj.io", "*"): pipeline, ("numaplane.numaproj.io", "*"): rollout}
