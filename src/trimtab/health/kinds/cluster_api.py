"""Cluster API: conditions carry a severity, and a failure message is final."""

from typing import Final

from trimtab.health.context import Context
from trimtab.health.generic import behind
from trimtab.health.kinds.contract import Rules
from trimtab.health.shape import condition, conditions, explained, says, section
from trimtab.health.verdict import State, Verdict
from trimtab.health.words import words
from trimtab.manifests.refs import Body


def infrastructure(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """Failed with a failure message or an error of the summary; at work while a condition says that it updates."""
    status = section(body, "status")
    late = behind(body)
    if late is not None:
        return late
    failure = status.get("failureMessage") or status.get("failureReason")
    if failure:
        return Verdict(State.Failed, str(failure))
    ready = condition(body, "Ready")
    if ready is not None and says(ready) == "False" and ready.get("severity") == "Error":
        return Verdict(State.Failed, explained(ready))
    for item in conditions(status):
        if says(item) == "True" and words(item["type"])[-1:] in (["updating"], ["creating"], ["upgrading"]):
            return Verdict(State.InProgress, f"{item['type']}: {explained(item)}")
    return None


RULES: Final[Rules] = {("*.cluster.x-k8s.io", "*"): infrastructure, ("cluster.x-k8s.io", "*"): infrastructure}
