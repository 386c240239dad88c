"""Operators with a small contract of their own: 3scale, Astra, Flink, Grafana, KEDA, Keptn, Rook and others."""

from typing import Final

from trimtab.health.context import Context
from trimtab.health.generic import behind
from trimtab.health.kinds.contract import NO_STATUS, Rules, phases
from trimtab.health.shape import condition, conditions, explained, number, says, section
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body


def three_scale(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """An orphan refers to what is not there; waiting is for a person's approval."""
    for type_, state in (("Orphan", State.Failed), ("Waiting", State.Suspended)):
        item = condition(body, type_)
        if item is not None and says(item) == "True":
            return Verdict(state, explained(item))
    if section(body, "status").get("conditions") == []:
        return Verdict(State.InProgress, "no condition yet")
    return None


def astra(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Done with the word Completed, whatever steps for the case of failure say that were never taken."""
    status = section(body, "status")
    if body.get("kind") == "Schedule":
        return Verdict(State.Current)
    word, error = status.get("state"), status.get("error")
    if error or word in ("Failed", "Error"):
        return Verdict(State.Failed, str(error or f"state is {word}"))
    if word == "Completed":
        return Verdict(State.Current, "completed")
    return Verdict(State.InProgress, f"state is {word}" if word else NO_STATUS.message)


_FLINK: Final = phases(
    "jobManagerDeploymentStatus",
    {
        "READY": State.Current,
        "DEPLOYED_NOT_READY": State.InProgress,
        "DEPLOYING": State.InProgress,
        "MISSING": State.InProgress,
        "ERROR": State.Failed,
    },
)


def flink(body: Body, context: Context) -> Verdict | None:
    """Suspended has no job manager and is as wished; an upgrade under way is not done."""
    status = section(body, "status")
    if section(status, "reconciliationStatus").get("error") or status.get("error"):
        return Verdict(State.Failed, str(status.get("error") or section(status, "reconciliationStatus")["error"]))
    if section(body, "spec", "job").get("state") == "suspended" and str(section(status, "jobStatus").get("state")) in (
        "SUSPENDED",
        "FINISHED",
    ):
        return Verdict(State.Current, "suspended, as wished")
    if section(status, "reconciliationStatus").get("state") == "UPGRADING":
        return Verdict(State.InProgress, "upgrading")
    if section(status, "jobStatus").get("state") == "FAILED":
        return Verdict(State.Failed, "the job has failed")
    return _FLINK(body, context)


def grafana(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """It is built in stages; success of an early one is not success."""
    status = section(body, "status")
    stage, result = status.get("stage"), status.get("stageStatus")
    if not stage:
        return None
    if result == "failed":
        return Verdict(State.Failed, str(status.get("lastMessage") or f"stage {stage} has failed"))
    done = stage == "complete" and result == "success"
    return Verdict(State.Current if done else State.InProgress, f"stage {stage}: {result}")


def scaled_job(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """KEDA: triggers that do not work, also only some of them, are broken."""
    ready = condition(body, "Ready")
    if ready is None and conditions(section(body, "status")):
        return Verdict(State.InProgress, "no condition Ready yet")
    if ready is not None and says(ready) != "True" and str(ready.get("reason") or "").endswith("Error"):
        return Verdict(State.Failed, explained(ready))
    return None


def keptn_analysis(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Completed says that it was done; `pass` and `warning` how it came out."""
    status = section(body, "status")
    if status.get("state") != "Completed":
        return Verdict(State.InProgress, f"state is {status.get('state') or 'not known yet'}")
    passed = status.get("pass") is True or status.get("warning") is True
    return Verdict(State.Current if passed else State.Failed, "passed" if passed else "the objectives were not met")


def collector(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """OpenTelemetry: ready replicas of all, in one text. None of several is a collector that does not collect."""
    text = section(body, "status", "scale").get("statusReplicas")
    have, _, wanted = str(text or "").partition("/")
    if not (have.isdigit() and wanted.isdigit()):
        return None
    if have == wanted:
        return Verdict(State.Current, f"{text} replicas ready")
    return Verdict(State.Failed if have == "0" else State.InProgress, f"{text} replicas ready")


def spin_app(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Spin hands on the conditions of its Deployment, Progressing turned False when it is over."""
    late = behind(body)
    if late is not None:
        return late
    progressing, available = condition(body, "Progressing"), condition(body, "Available")
    if progressing is None or available is None:
        return NO_STATUS
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Verdict(State.Failed, explained(progressing))
    if says(progressing) == "True":
        return Verdict(State.InProgress, explained(progressing))
    return Verdict(State.Current if says(available) == "True" else State.Failed, explained(available))


def victoria(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """VictoriaMetrics: the phase, and `expanding` while it changes."""
    late = behind(body)
    if late is not None or not section(body, "status"):
        return late or NO_STATUS
    status = section(body, "status")
    phase = str(status.get("updateStatus") or "")
    state = {
        "operational": State.Current,
        "expanding": State.InProgress,
        "failed": State.Failed,
        "paused": State.Suspended,
    }.get(phase)
    return Verdict(state, str(status.get("reason") or f"updateStatus is {phase}")) if state else None


def iam_role(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Every state but Ready comes with what is wrong."""
    status = section(body, "status")
    state = status.get("state")
    if not state:
        return NO_STATUS
    if state == "Ready":
        return Verdict(State.Current)
    return Verdict(State.Failed, str(status.get("errorDescription") or f"state is {state}"))


def racks(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Rook's Cassandra counts members by rack."""
    counted = section(body, "status", "racks")
    if not counted:
        return NO_STATUS
    for name in counted:
        rack = section(counted, name)
        if number(rack, "readyMembers") < number(rack, "members"):
            return Verdict(
                State.InProgress, f"rack {name}: {number(rack, 'readyMembers')} of {number(rack, 'members')} ready"
            )
    return Verdict(State.Current)


def ceph_cluster(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Ceph's own health. A warning is a cluster that serves, and heals or not; it is told, and not yet done."""
    status = section(body, "status")
    health = section(status, "ceph").get("health")
    if health == "HEALTH_ERR":
        return Verdict(State.Failed, str(status.get("message") or health))
    if health == "HEALTH_WARN":
        details = section(status, "ceph", "details")
        words = "; ".join(str(section(details, name).get("message") or name) for name in details)
        return Verdict(State.InProgress, words or str(health))
    if health == "HEALTH_OK":
        return Verdict(State.Current, str(health))
    return None


RULES: Final[Rules] = {
    ("capabilities.3scale.net", "*"): three_scale,
    ("astra.netapp.io", "*"): astra,
    ("flink.apache.org", "FlinkDeployment"): flink,
    ("grafana.integreatly.org", "Grafana"): grafana,
    ("keda.sh", "*"): scaled_job,
    ("metrics.keptn.sh", "Analysis"): keptn_analysis,
    ("opentelemetry.io", "OpenTelemetryCollector"): collector,
    ("core.spinkube.dev", "SpinApp"): spin_app,
    ("operator.victoriametrics.com", "*"): victoria,
    ("iammanager.keikoproj.io", "Iamrole"): iam_role,
    ("cassandra.rook.io", "Cluster"): racks,
    ("ceph.rook.io", "CephCluster"): ceph_cluster,
}
