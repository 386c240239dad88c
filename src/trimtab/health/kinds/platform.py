"""Platforms: OpenShift and its operators, Open Cluster Management, Gardener, KubeVirt, Karpenter, Knative, Humio."""

from typing import Final

from trimtab.health.context import Context
from trimtab.health.generic import behind
from trimtab.health.kinds.contract import NO_STATUS, Rules, phases
from trimtab.health.shape import condition, conditions, explained, is_number, number, says, section, sections
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body


def deployment_config(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """A Deployment's forebear: rolled out once Progressing says so; too few are broken, unless none is wanted."""
    spec, status = section(body, "spec"), section(body, "status")
    if not status:
        return NO_STATUS
    late = behind(body)
    if late is not None:
        return late
    available = condition(body, "Available")
    if spec.get("paused") is True:
        return Verdict(State.Suspended, "the rollout is paused")
    # An idle one has been scaled to nothing beside its specification.
    if number(status, "replicas") and available is not None and says(available) == "False":
        return Verdict(State.Failed, explained(available))
    progressing = condition(body, "Progressing")
    if progressing is not None and says(progressing) == "False":
        return Verdict(State.Failed, explained(progressing))
    if progressing is not None and progressing.get("reason") != "NewReplicationControllerAvailable":
        return Verdict(State.InProgress, explained(progressing))
    return Verdict(State.Current)


def route(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Admitted by every router that reports."""
    ingresses = sections(section(body, "status"), "ingress")
    if not ingresses:
        return Verdict(State.InProgress, "no router has reported on it yet")
    for ingress in ingresses:
        for item in conditions(ingress):
            if item["type"] == "Admitted" and says(item) != "True":
                refused = says(item) == "False"
                return Verdict(State.Failed if refused else State.InProgress, explained(item))
    return Verdict(State.Current, "admitted")


def subscription(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """What is installed and waits for approval of an upgrade is as wished; catalogs it cannot use are not."""
    status = section(body, "status")
    for type_ in ("InstallPlanFailed", "CatalogSourcesUnhealthy", "ResolutionFailed"):
        item = condition(body, type_)
        if item is not None and says(item) == "True":
            return Verdict(State.Failed, explained(item))
    for type_ in ("InstallPlanPending",):
        item = condition(body, type_)
        if item is not None and says(item) == "True":
            manual = item.get("reason") == "RequiresApproval" and status.get("installedCSV")
            return Verdict(State.Current if manual else State.InProgress, explained(item))
    if status.get("installedCSV") and status.get("state") in ("AtLatestKnown", "UpgradePending", "UpgradeAvailable"):
        return Verdict(State.Current, f"{status['installedCSV']} is installed")
    return Verdict(
        State.InProgress, f"state is {status['state']}" if status.get("state") else "nothing is installed yet"
    )


def policy(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Compliance, once the newest generation has been evaluated."""
    status = section(body, "status")
    generation, seen = section(body, "metadata").get("generation"), status.get("lastEvaluatedGeneration")
    if is_number(generation) and is_number(seen) and seen != generation:
        return Verdict(State.InProgress, f"generation {generation} not evaluated yet, at {seen}")
    late = behind(body)
    if late is not None:
        return late
    item = condition(body, "Compliant")
    if body.get("kind") == "OperatorPolicy" and item is None:
        return Verdict(State.InProgress, "not evaluated yet")
    compliant = status.get("compliant")
    state = {"Compliant": State.Current, "NonCompliant": State.Failed}.get(str(compliant), State.InProgress)
    return Verdict(state, explained(item) if item is not None else str(compliant or "not evaluated yet"))


def shoot(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Gardener: every component's condition; a part that Gardener itself cannot judge makes the whole unknown."""
    told = conditions(section(body, "status"))
    if section(body, "spec", "hibernation").get("enabled") is True:
        return Verdict(State.Suspended, "hibernated")
    operation = section(body, "status", "lastOperation")
    if not told:
        state = State.Failed if operation.get("state") in ("Succeeded", "Failed", "Error") else State.InProgress
        return Verdict(state, "no component is reported on")
    if operation.get("state") in ("Failed", "Error", "Aborted"):
        return Verdict(State.Failed, str(operation.get("description") or operation["state"]))
    for item in told:
        if says(item) != "True":
            return Verdict(State.InProgress, f"{item['type']}: {explained(item)}")
    return None


def virtual_machine(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """KubeVirt: stopped and paused are wished for."""
    status = section(body, "status")
    phase = status.get("printableStatus")
    if phase in ("Paused", "Stopped"):
        return Verdict(State.Suspended, f"the machine is {str(phase).lower()}")
    if not phase:
        return Verdict(State.InProgress, "the machine is not reported on yet")
    return None


def data_volume(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """KubeVirt's importer: a transfer that stands still with an error is retried, without end."""
    running = condition(body, "Running")
    if running is not None and running.get("reason") == "Error":
        return Verdict(State.Failed, explained(running))
    return None


def node_claim(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Karpenter: a node on its way out is not waited for; on its way in it is."""
    leaving = condition(body, "Disrupting")
    if leaving is not None and says(leaving) == "True":
        return Verdict(State.Suspended, explained(leaving))
    ready = condition(body, "Ready")
    if ready is not None and says(ready) == "False":
        return Verdict(State.Failed, explained(ready))
    return None


_KNATIVE: Final = frozenset({"True", "False", "Unknown"})


def knative(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """A condition that fails is a failure unless its message speaks of waiting; Ready is the sum."""
    late = behind(body)
    if late is not None:
        return late
    told = conditions(section(body, "status"))
    if not told:
        return NO_STATUS
    for item in told:
        if says(item) == "False":
            return None
    ready = condition(body, "Ready")
    if ready is not None and says(ready) not in _KNATIVE:
        return Verdict(State.Failed, explained(ready))
    return None


RULES: Final[Rules] = {
    ("apps.openshift.io", "DeploymentConfig"): deployment_config,
    ("route.openshift.io", "Route"): route,
    ("operators.coreos.com", "Subscription"): subscription,
    ("policy.open-cluster-management.io", "*"): policy,
    ("core.gardener.cloud", "Shoot"): shoot,
    ("kubevirt.io", "VirtualMachine"): virtual_machine,
    ("cdi.kubevirt.io", "DataVolume"): data_volume,
    ("karpenter.sh", "NodeClaim"): node_claim,
    ("karpenter.sh", "NodePool"): node_claim,
    ("operator.knative.dev", "*"): knative,
    ("core.humio.com", "*"): phases(
        "state",
        {
            "Exists": State.Current,
            "Running": State.Current,
            "NotFound": State.NotFound,
            "ConfigError": State.Failed,
            "Unknown": State.Unknown,
            "Pending": State.InProgress,
            "Restarting": State.InProgress,
            "Upgrading": State.InProgress,
        },
    ),
}
