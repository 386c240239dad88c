"""The other kinds of Kubernetes itself: jobs, network, storage, policy and the API's own."""

from typing import Final

from trimtab.health.context import Context
from trimtab.health.shape import condition, explained, number, says, section
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body, Ref

ADDRESS_S: Final = 60.0
"""How long an address is waited for: many clusters never hand one out."""
WAIT_FOR_ADDRESS: Final = "trimtab.dev/wait-for-address"


def job(body: Body, context: Context) -> Verdict:  # noqa: ARG001 - a rule's signature
    """Complete or failed; a running one is at work, whatever kstatus says, since its effect is what is waited for."""
    spec, status = section(body, "spec"), section(body, "status")
    for kind, state in (("Failed", State.Failed), ("Complete", State.Current)):
        item = condition(body, kind)
        if item is not None and says(item) == "True":
            return Verdict(state, explained(item))
    halted = condition(body, "Suspended")
    is_halted = halted is not None and says(halted) == "True"
    if spec.get("suspend") is True and is_halted:
        return Verdict(State.Suspended, "the job is suspended")
    if spec.get("suspend") is True or is_halted:
        return Verdict(State.InProgress, "being suspended" if spec.get("suspend") else "being resumed")
    done, wanted = number(status, "succeeded"), number(spec, "completions", 1)
    if not status.get("startTime"):
        return Verdict(State.InProgress, "not started yet")
    return Verdict(State.InProgress, f"{done} of {wanted} completions, {number(status, 'active')} active")


def spent(body: Body) -> bool:
    """Whether it is a Job that is complete and is to be removed for that: one that is gone then has done its work."""
    if body.get("kind") != "Job" or not str(body.get("apiVersion", "")).startswith("batch/"):
        return False
    return "ttlSecondsAfterFinished" in section(body, "spec") and says(condition(body, "Complete")) == "True"


def cron_job(body: Body, context: Context) -> Verdict:  # noqa: ARG001
    """Current as soon as it is there; how its last run went is told, not judged."""
    spec, status = section(body, "spec"), section(body, "status")
    if spec.get("suspend") is True:
        return Verdict(State.Suspended, "the schedule is suspended")
    scheduled, succeeded = status.get("lastScheduleTime"), status.get("lastSuccessfulTime")
    if scheduled and not status.get("active") and (not succeeded or str(succeeded) < str(scheduled)):
        return Verdict(State.Current, f"the run of {scheduled} has not succeeded")
    return Verdict(State.Current)


def service(body: Body, context: Context) -> Verdict:
    """Current, except that a load balancer is given some time to get its address."""
    spec = section(body, "spec")
    if spec.get("type") != "LoadBalancer":
        return Verdict(State.Current)
    if not spec.get("clusterIP"):
        return Verdict(State.InProgress, "no cluster IP yet")
    return _address(body, context)


def ingress(body: Body, context: Context) -> Verdict:
    """Current once it has an address, or after some time without."""
    return _address(body, context)


def _address(body: Body, context: Context) -> Verdict:
    if section(body, "status", "loadBalancer").get("ingress"):
        return Verdict(State.Current)
    if strict(body):
        return Verdict(State.InProgress, f"no address yet, and {WAIT_FOR_ADDRESS} asks to wait for one")
    age = context.age(body)
    if age is not None and age < ADDRESS_S:
        return Verdict(State.InProgress, "no address yet")
    return Verdict(State.Current, "no address; the cluster may not hand any out")


def strict(body: Body) -> bool:
    """Whether the object asks to be waited for until it has an address."""
    return str(section(body, "metadata", "annotations").get(WAIT_FOR_ADDRESS, "")).lower() == "true"


def volume_claim(body: Body, context: Context) -> Verdict:
    """Bound, or pending by design: a class may bind only when a Pod first asks for the volume."""
    phase = section(body, "status").get("phase")
    if phase == "Bound":
        return Verdict(State.Current, "bound")
    if phase == "Lost":
        return Verdict(State.Failed, "the volume is lost")
    name = section(body, "spec").get("storageClassName")
    if context.lookup is not None and isinstance(name, str) and name:
        storage_class = context.lookup(Ref("storage.k8s.io", "StorageClass", "", name))
        if storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer":
            return Verdict(State.Current, f"the class {name} binds when a Pod first uses the claim")
    return Verdict(State.InProgress, "not bound yet")


def autoscaler(body: Body, context: Context) -> Verdict:  # noqa: ARG001
    """Advisory: a new one reports missing metrics for its first minutes, and some clusters have none at all."""
    for kind in ("AbleToScale", "ScalingActive"):
        item = condition(body, kind)
        if item is not None and says(item) == "False":
            return Verdict(State.Current, explained(item))
    return Verdict(State.Current)


def disruption_budget(body: Body, context: Context) -> Verdict:  # noqa: ARG001
    """Advisory: a budget that allows no disruption is doing its work."""
    item = condition(body, "DisruptionAllowed")
    blocked = item is not None and says(item) == "False"
    return Verdict(State.Current, explained(item) if item is not None and blocked else "")


def api_service(body: Body, context: Context) -> Verdict:  # noqa: ARG001
    """Available."""
    item = condition(body, "Available")
    if item is not None and says(item) == "True":
        return Verdict(State.Current)
    return Verdict(State.InProgress, explained(item) if item else "availability not known yet")


def resource_definition(body: Body, context: Context) -> Verdict:  # noqa: ARG001
    """Established; refused names and a schema that is not structural do not heal by themselves."""
    names, established = condition(body, "NamesAccepted"), condition(body, "Established")
    if names is not None and says(names) == "False":
        return Verdict(State.Failed, explained(names))
    schema = condition(body, "NonStructuralSchema")
    if schema is not None and says(schema) == "True":
        return Verdict(State.Failed, explained(schema))
    if established is None:
        return Verdict(State.InProgress, "not established yet")
    if says(established) == "True":
        return Verdict(State.Current, "established")
    installing = says(established) != "False" or established.get("reason") == "Installing"
    return Verdict(State.InProgress if installing else State.Failed, explained(established))


def namespace(body: Body, context: Context) -> Verdict:  # noqa: ARG001
    """Active."""
    phase = section(body, "status").get("phase", "Active")
    if phase == "Terminating":
        return Verdict(State.Terminating, "being deleted with all it holds")
    return Verdict(State.Current if phase == "Active" else State.InProgress, f"phase is {phase}")
