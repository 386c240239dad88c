"""Databases and search: CloudNativePG, Percona, Atlas, Cassandra and Elastic."""

from typing import Final

from trimtab.health.context import Context
from trimtab.health.generic import behind
from trimtab.health.kinds.contract import NO_STATUS, KindRule, Rules, phases
from trimtab.health.shape import condition, explained, is_number, says, section
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body

_LOST: Final = ("fail", "unrecoverable", "error", "not enough disk", "unable", "waiting for user")


def postgres_cluster(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """CloudNativePG: halted by annotation, else Ready, and where it is not the phase says which way it goes."""
    notes = section(body, "metadata", "annotations")
    if notes.get("cnpg.io/hibernation") == "on":
        return Verdict(State.Suspended, "hibernated")
    if notes.get("cnpg.io/reconciliationLoop") == "disabled":
        return Verdict(State.Suspended, "reconciliation is disabled")
    late = behind(body)
    if late is not None:
        return late
    status, ready = section(body, "status"), condition(body, "Ready")
    if ready is not None and says(ready) == "True":
        return Verdict(State.Current, explained(ready))
    phase = str(status.get("phase") or "")
    failed = any(word in phase.lower() for word in _LOST)
    words = f"{phase}: {status['phaseReason']}" if status.get("phaseReason") else phase
    return Verdict(State.Failed if failed else State.InProgress, words or NO_STATUS.message)


def atlas(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """Ready is also False while a migration is planned; with an error in the message it stays so."""
    ready = condition(body, "Ready")
    if ready is None:
        return NO_STATUS
    if says(ready) == "False" and "error" in explained(ready).lower():
        return Verdict(State.Failed, explained(ready))
    return None


_PERCONA: Final = {
    "initializing": State.InProgress,
    "ready": State.Current,
    "error": State.Failed,
    "stopping": State.InProgress,
    "paused": State.Suspended,
}

_HEALTHS: Final = {"green": State.Current, "yellow": State.InProgress, "red": State.Failed}
_elastic_health: Final[KindRule] = phases("health", _HEALTHS, empty=State.InProgress)


def elastic(body: Body, context: Context) -> Verdict | None:
    """Elastic's own: the colour, once the operator has said which phase the cluster is in and all nodes are there."""
    status = section(body, "status")
    if not status:
        return Verdict(State.Unknown, "the operator has not reported on it")
    late = behind(body)
    if late is not None:
        return late
    if status.get("phase") == "Invalid":
        return Verdict(State.Failed, "the specification is invalid")
    if status.get("phase") in ("ApplyingChanges", "MigratingData", "Stalled"):
        return Verdict(State.InProgress, f"phase is {status['phase']}")
    verdict = _elastic_health(body, context)
    expected, there = status.get("expectedNodes"), status.get("availableNodes")
    if verdict is not None and verdict.good and is_number(expected) and expected != (there or 0):
        return Verdict(State.InProgress, f"{there or 0} of {expected} nodes available")
    wanted, counted = section(body, "spec").get("nodeSets"), status.get("availableNodes")
    if verdict is not None and verdict.good and isinstance(wanted, list) and is_number(counted):
        total = sum(each.get("count", 0) for each in wanted if isinstance(each, dict) and is_number(each.get("count")))
        if counted < total:
            return Verdict(State.InProgress, f"{counted} of {total} nodes available")
    return verdict


RULES: Final[Rules] = {
    ("postgresql.cnpg.io", "Cluster"): postgres_cluster,
    ("db.atlasgo.io", "AtlasSchema"): atlas,
    ("db.atlasgo.io", "AtlasMigration"): atlas,
    ("psmdb.percona.com", "PerconaServerMongoDB"): phases("state", _PERCONA, empty=State.Unknown),
    ("pxc.percona.com", "PerconaXtraDBCluster"): phases("state", _PERCONA, empty=State.Unknown),
    ("*.k8s.elastic.co", "*"): elastic,
}
