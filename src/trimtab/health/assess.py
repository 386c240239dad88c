"""The verdict on an object: deletion first, then what all kinds have in common, then the rule of its kind."""

from typing import Final

from trimtab.health import builtin, workloads
from trimtab.health.context import Context, Rule
from trimtab.health.generic import assess_generic, behind, custom
from trimtab.health.kinds import secrets
from trimtab.health.kinds.table import find
from trimtab.health.shape import section
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body

__all__ = ["FIRST_STATUS_S", "RULES", "Context", "assess", "deleted", "recheck_after"]

RULES: Final[dict[tuple[str, str], Rule]] = {
    ("apps", "Deployment"): workloads.deployment,
    ("apps", "StatefulSet"): workloads.stateful_set,
    ("apps", "DaemonSet"): workloads.daemon_set,
    ("apps", "ReplicaSet"): workloads.replica_set,
    ("", "Pod"): workloads.pod,
    ("batch", "Job"): builtin.job,
    ("batch", "CronJob"): builtin.cron_job,
    ("", "Service"): builtin.service,
    ("", "Namespace"): builtin.namespace,
    ("", "PersistentVolumeClaim"): builtin.volume_claim,
    ("networking.k8s.io", "Ingress"): builtin.ingress,
    ("autoscaling", "HorizontalPodAutoscaler"): builtin.autoscaler,
    ("policy", "PodDisruptionBudget"): builtin.disruption_budget,
    ("apiregistration.k8s.io", "APIService"): builtin.api_service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): builtin.resource_definition,
}

FIRST_STATUS_S: Final = 5.0
"""How long a controller is given to write a first status, where the caller says since when it knows the object."""

_OWN_GROUPS: Final = frozenset({"", "apps", "batch", "autoscaling", "policy"})
_CUSTOM_DESPITE_NAME: Final = frozenset(
    {"snapshot.storage.k8s.io", "gateway.networking.k8s.io", "metrics.k8s.io", "certmanager.k8s.io"}
)


def assess(body: Body, context: Context) -> Verdict:
    """The verdict on `body`. Never raises on what a server may hold; odd shapes are read as missing."""
    gone = deleted(body)
    if gone is not None:
        return gone
    group, kind = body.get("apiVersion", "").rpartition("/")[0], body.get("kind", "")
    rule = RULES.get((group, kind))
    if rule is None:
        special = find(group, kind)
        verdict = special(body, context) if special is not None else None
        return verdict or assess_generic(body, fresh=_fresh(group, context))
    if kind == "Deployment" and section(body, "spec").get("paused") is True:
        # A paused Deployment still observes its generation, but need not: nobody waits for it.
        return rule(body, context)
    return behind(body) or custom(body) or rule(body, context)


def deleted(body: Body) -> Verdict | None:
    """That the object is on its way out, and what holds it; this comes before everything."""
    metadata = section(body, "metadata")
    if not metadata.get("deletionTimestamp"):
        return None
    held = metadata.get("finalizers")
    names = ", ".join(map(str, held)) if isinstance(held, list) else ""
    return Verdict(State.Terminating, f"waits for {names}" if names else "being deleted")


def recheck_after(body: Body, context: Context) -> float | None:
    """Seconds until the verdict may change by the mere passing of time; None where only an event can change it.

    Verdicts are computed on events, and these wait for none: an address, a first status, a first try, a place to run.
    """
    age = context.age(body)
    if age is None or assess(body, context).state in (State.Current, State.Suspended, State.Terminating):
        return None
    group, kind = body.get("apiVersion", "").rpartition("/")[0], body.get("kind", "")
    limits: list[float] = []
    if kind in ("Service", "Ingress") and not builtin.strict(body):
        limits.append(builtin.ADDRESS_S)
    elif (group, kind) == ("", "Pod"):
        limits.append(workloads.UNSCHEDULABLE_S)
    elif find(group, kind) in secrets.PATIENT:
        limits.append(secrets.FIRST_TRY_S)
    elif _fresh(group, context):
        limits.append(FIRST_STATUS_S)
    due = [limit - age for limit in limits if limit > age]
    return min(due) if due else None


def _fresh(group: str, context: Context) -> bool:
    """Whether a custom object was first seen only just now. The server's own kinds without a rule need no status."""
    own = group in _OWN_GROUPS or (group.endswith(".k8s.io") and group not in _CUSTOM_DESPITE_NAME)
    if own or context.first_seen is None:
        return False
    return (context.now - context.first_seen).total_seconds() < FIRST_STATUS_S
