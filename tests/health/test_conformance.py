"""kstatus' own cases, and Argo CD's: what we say of them, and where we decided otherwise."""

import json
from datetime import UTC, datetime
from typing import ClassVar

from yaml import CSafeLoader

from trimtab.health.assess import Context, assess
from trimtab.health.generic import assess_generic
from trimtab.health.verdict import State, Verdict

NOW = datetime(2026, 1, 1, tzinfo=UTC)

# kstatus says the first, we say the second.
DECIDED = {
    "podCompletedFailed": ("Current", State.Failed, "a failed Pod is Failed"),
    "rsReplicaFailure": ("InProgress", State.Failed, "ReplicaFailure is Failed"),
    "jobInProgress": ("Current", State.InProgress, "a running Job is InProgress"),
    "jobSuspended": ("Current", State.Suspended, "a suspended Job is Suspended"),
    "genericOtherConditionsOnly": ("Current", State.InProgress, "Synced=False is read, where kstatus knows only Ready"),
}

ARGO = {
    "Healthy": {State.Current},
    "Progressing": {State.InProgress, State.Terminating},
    "Degraded": {State.Failed},
    "Suspended": {State.Suspended},
    "Unknown": {State.Unknown},
    "Missing": {State.NotFound},
}

# Argo CD says otherwise, by its own rules; we keep to ours, and why.
DECIDED_ARGO = {
    "autoscaling_HorizontalPodAutoscaler_builtin-hpa-v1-degraded": "an HPA is advisory",
    "autoscaling_HorizontalPodAutoscaler_builtin-hpa-v1-degraded-failedgetobjectmetric": "an HPA is advisory",
    "autoscaling_HorizontalPodAutoscaler_builtin-hpa-v1-progressing": "an HPA is advisory",
    "autoscaling_HorizontalPodAutoscaler_builtin-hpa-v1-progressing-with-no-annotations": "an HPA is advisory",
    "autoscaling_HorizontalPodAutoscaler_builtin-hpa-v2-degraded": "an HPA is advisory",
    "autoscaling_HorizontalPodAutoscaler_builtin-hpa-v2-progressing": "an HPA is advisory",
    "core_Pod_builtin-pod-running-restart-never-with-ignore-annotation": "an annotation of Argo CD's own",
    "policy_PodDisruptionBudget_degraded": "a PDB is advisory",
    "policy_PodDisruptionBudget_progressing": "a PDB is advisory",
    "ceph.rook.io_CephCluster_degraded_warn": "a warning serves, and often heals: it must not end a wait",
    "core.gardener.cloud_Shoot_unknown": "a component that is not healthy is awaited, which one it is does not matter",
    "pxc.percona.com_PerconaXtraDBCluster_paused": "what was asked to pause and has paused is suspended",
    "pxc.percona.com_PerconaXtraDBCluster_stopping": "stopping is on the way to paused, not broken",
}


class LastKeyWins(CSafeLoader):
    """Some of the cases hold a key twice, which our own loader refuses."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in CSafeLoader.yaml_implicit_resolvers.items()
    }


def cases(folder):
    for line in (folder / "cases.jsonl").read_text().splitlines():
        case = json.loads(line)
        text = (folder / case["file"]).read_text().replace("@NOW@", NOW.strftime("%Y-%m-%dT%H:%M:%SZ"))
        yield case, LastKeyWins(text).get_single_data()


def test_kstatus_cases_but_for_what_was_decided(conformance):
    wrong = {}
    seen = set()
    for case, body in cases(conformance / "kstatus"):
        verdict = assess(body, Context(now=NOW))
        expected, decided, _ = DECIDED.get(case["id"], (case["expected"], State(case["expected"]), ""))
        seen.add(case["id"])
        assert expected == case["expected"], case["id"]
        if verdict.state is not decided:
            wrong[case["id"]] = (decided, verdict)
    assert wrong == {}
    assert seen >= DECIDED.keys()


def test_generic_and_rules_agree_with_argo_but_for_what_was_decided(conformance, capsys):
    """Judged as if each object had just been seen, as Argo CD's rules judge, which know no time."""
    differs, false_alarms, total = {}, [], 0
    for case, body in cases(conformance / "health"):
        total += 1
        verdict = assess(body, Context(now=NOW, first_seen=NOW))
        if verdict.state not in ARGO[case["expected"]]:
            differs[case["id"]] = (case["expected"], verdict)
        if verdict.bad and case["expected"] == "Healthy":
            false_alarms.append(case["id"])
    rate = 1 - len(differs) / total
    with capsys.disabled():
        print(f"\nhealth: generic and rules agree on {rate:.1%} of {total} cases; differ by decision:")
        for id_ in sorted(differs):
            print(f"  {id_}: {differs[id_][0]}, ours {differs[id_][1].state} ({DECIDED_ARGO.get(id_, 'NOT DECIDED')})")
    assert differs.keys() == DECIDED_ARGO.keys()
    assert false_alarms == [], "a healthy object called Failed ends a wait that would have been answered"
    assert rate >= 0.92


def generic(body, *, fresh):
    if body.get("metadata", {}).get("deletionTimestamp"):
        return Verdict(State.Terminating)
    return assess_generic(body, fresh=fresh)


def test_the_generic_rule_alone_reads_most_kinds_right(conformance, capsys):
    hits, all_of_them, false_alarms = 0, 0, []
    for case, body in cases(conformance / "health"):
        all_of_them += 1
        verdict = generic(body, fresh=True)
        hits += verdict.state in ARGO[case["expected"]]
        if verdict.bad and case["expected"] == "Healthy":
            false_alarms.append(case["id"])
    with capsys.disabled():
        print(f"\nhealth: the generic rule alone agrees on {hits / all_of_them:.1%} of {all_of_them} cases")
    assert hits / all_of_them >= 0.78
    assert false_alarms == [], "a healthy object called Failed ends a wait that would have been answered"
