"""kstatus' own cases, and Argo CD's: what we say of them, and where we decided otherwise."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import ClassVar

from yaml import CSafeLoader

from trimtab.health.assess import RULES, Context, assess
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

# Argo CD says the first of its own rules' kinds, we say the second.
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


def test_argo_cases_of_the_kinds_we_have_rules_for(conformance):
    wrong = {}
    for case, body in cases(conformance / "health"):
        if (case["group"], case["kind"]) not in RULES or case["id"] in DECIDED_ARGO:
            continue
        verdict = assess(body, Context(now=NOW, first_seen=NOW))
        if verdict.state not in ARGO[case["expected"]]:
            wrong[case["id"]] = (case["expected"], verdict)
    assert wrong == {}


def generic(body, *, fresh):
    if body.get("metadata", {}).get("deletionTimestamp"):
        return Verdict(State.Terminating)
    return assess_generic(body, fresh=fresh)


def test_the_generic_rule_alone_reads_most_kinds_right(conformance, record_property):
    """A floor under what was reached, judged as if each object had just been seen, as Argo's rules judge."""
    hits, all_of_them, false_alarms = 0, 0, Counter()
    for case, body in cases(conformance / "health"):
        all_of_them += 1
        verdict = generic(body, fresh=True)
        hits += verdict.state in ARGO[case["expected"]]
        if verdict.bad and case["expected"] == "Healthy":
            false_alarms[case["id"]] += 1
    record_property("generic_hit_rate", hits / all_of_them)
    assert hits / all_of_them >= 0.75
    assert len(false_alarms) <= 4, "a healthy object called Failed ends a wait that would have been answered"
