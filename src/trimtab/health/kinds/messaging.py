"""Brokers: RabbitMQ, the Kafkas of Banzai Cloud and Confluent."""

from typing import Final

from trimtab.health.context import Context
from trimtab.health.generic import behind
from trimtab.health.kinds.contract import NO_STATUS, Rules
from trimtab.health.shape import condition, explained, number, says, section
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body


def rabbit_object(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """What the topology operator declares in a broker. Not in sync is told with its reason; nothing told is unknown."""
    item = condition(body, "Ready")
    if item is None:
        return Verdict(State.Unknown, "the topology operator has not reported on it")
    # Its observedGeneration may lag for ever while the object is as wished.
    return Verdict(State.Current if says(item) == "True" else State.Failed, explained(item))


def rabbit_cluster(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Reconciled, then all replicas, then an endpoint."""
    reconciled = condition(body, "ReconcileSuccess")
    if reconciled is not None and says(reconciled) == "False":
        return Verdict(State.Failed, explained(reconciled))
    for type_ in ("AllReplicasReady", "ClusterAvailable"):
        item = condition(body, type_)
        if item is None:
            return Verdict(State.InProgress, f"{type_} is not known yet")
        if says(item) != "True":
            return Verdict(State.InProgress, f"{type_}: {explained(item)}")
    return Verdict(State.Current)


def banzai_cluster(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Running is done only with every broker's configuration in sync and the controller of the topics ready."""
    status = section(body, "status")
    late = behind(body)
    if late is not None or not status:
        return late or NO_STATUS
    state = str(status.get("state") or "")
    if state != "ClusterRunning":
        return Verdict(State.InProgress, f"state is {state or 'not known yet'}")
    brokers = section(status, "brokersState")
    outdated = [name for name in brokers if section(brokers, name).get("configurationState") != "ConfigInSync"]
    if outdated:
        return Verdict(State.Failed, f"running, and brokers {', '.join(outdated)} are not configured as wished")
    if status.get("cruiseControlTopicStatus") not in (None, "CruiseControlTopicReady"):
        return Verdict(State.InProgress, f"cruise control: {status['cruiseControlTopicStatus']}")
    return Verdict(State.Current, "running")


def confluent_connector(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """One failed task is a failed connector."""
    status = section(body, "status")
    if number(status, "failedTasksCount"):
        return Verdict(State.Failed, f"{status['failedTasksCount']} tasks failed, {status.get('tasksReady')} ready")
    return None


RULES: Final[Rules] = {
    ("rabbitmq.com", "*"): rabbit_object,
    ("rabbitmq.com", "RabbitmqCluster"): rabbit_cluster,
    ("kafka.banzaicloud.io", "KafkaCluster"): banzai_cluster,
    ("platform.confluent.io", "Connector"): confluent_connector,
}
