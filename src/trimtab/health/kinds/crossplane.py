"""Crossplane and Upbound: Synced says whether the provider could do as asked, Ready whether the thing is there."""

from typing import Final

from trimtab.health.context import Context
from trimtab.health.generic import behind
from trimtab.health.kinds.contract import NO_STATUS, Rules
from trimtab.health.shape import condition, conditions, explained, says, section
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body

_SILENT: Final = frozenset(
    {"ProviderConfig", "ClusterProviderConfig", "ProviderConfigUsage", "StoreConfig", "Composition",
     "CompositionRevision", "DeploymentRuntimeConfig", "ControllerConfig", "EnvironmentConfig",
     "ManagedResourceActivationPolicy"}
)  # fmt: skip


def managed(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """Paused, refused, then ready; configuration has no status at all."""
    told = conditions(section(body, "status"))
    if not told:
        return Verdict(State.Current) if body.get("kind") in _SILENT else NO_STATUS
    late = behind(body)
    if late is not None:
        return late
    for item in told:
        if item.get("reason") == "ReconcilePaused":
            return Verdict(State.Suspended, explained(item))
    for item in told:
        if item["type"] in ("Synced", "LastAsyncOperation", "Healthy") and says(item) == "False":
            return Verdict(State.Failed, f"{item['type']}: {explained(item)}")
    for type_ in ("Ready", "Healthy", "Offered", "Established"):
        found = condition(body, type_)
        if found is not None:
            state = State.Current if says(found) == "True" else State.InProgress
            return Verdict(state, f"{type_}: {explained(found)}")
    return Verdict(State.InProgress, "synced, not ready yet")


RULES: Final[Rules] = {
    ("*.crossplane.io", "*"): managed,
    ("*.upbound.io", "*"): managed,
}
