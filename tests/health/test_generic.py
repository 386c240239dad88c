"""What is read into the words of kinds nobody has a rule for."""

import pytest

from trimtab.health.generic import assess_generic
from trimtab.health.verdict import State, Verdict


def widget(**status):
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"generation": 2}, "status": status}


def told(*conditions):
    return widget(
        conditions=[dict(zip(("type", "status", "reason", "message"), each, strict=False)) for each in conditions]
    )


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        ("Running", State.Current),
        ("ClusterRunning", State.Current),
        ("READY", State.Current),
        ("NotReady", State.InProgress),
        ("NonCompliant", State.InProgress),
        ("Pending", State.InProgress),
        ("ImportInProgress", State.InProgress),
        ("Upgrading", State.InProgress),
        ("Provisioned", State.Current),
        ("Initialized", State.Current),
        ("NotInitialized", State.InProgress),
        ("Failed", State.Failed),
        ("ConfigError", State.Failed),
        ("CrashLoopBackOff", State.Failed),
        ("Paused", State.Suspended),
        ("Unknown", State.Unknown),
        ("Blue", State.Current),
        ("", State.Current),
    ],
)
def test_phases(phase, state):
    assert assess_generic(widget(phase=phase)).state is state


@pytest.mark.parametrize(
    ("conditions", "state", "message"),
    [
        ([("Ready", "True", "", "fine")], State.Current, "fine"),
        ([("Ready", "False", "NotReadyYet")], State.InProgress, "Ready: NotReadyYet"),
        ([("Ready", "False", "Progressing", "0 errors")], State.InProgress, "Ready: 0 errors"),
        ([("Ready", "False", "InstallFailed", "no")], State.Failed, "Ready: no"),
        ([("Ready", "False", "", "access denied")], State.Failed, "Ready: access denied"),
        ([("Ready", "Unknown", "", "m")], State.InProgress, "Ready: m"),
        ([("Ready", "False", "ReconcilePaused")], State.Suspended, "Ready: ReconcilePaused"),
        ([("Ready", "True"), ("Synced", "False", "ReconcileError", "no")], State.Failed, "Synced: no"),
        ([("Ready", "True"), ("ReplicasReady", "False", "x", "y")], State.Current, ""),
        ([("Accepted", "True"), ("Programmed", "False", "Pending", "p")], State.InProgress, "Programmed: p"),
        ([("ReplicasReady", "True"), ("ClusterAvailable", "True")], State.Current, ""),
        ([("Degraded", "True", "", "d"), ("Ready", "True")], State.Failed, "Degraded: d"),
        ([("Degraded", "False"), ("Available", "True")], State.Current, ""),
        ([("FetchFailed", "True", "", "f")], State.Failed, "FetchFailed: f"),
        ([("NotReady", "True", "TimeoutException", "t")], State.Failed, "NotReady: t"),
        ([("Warning", "True", "", "w"), ("Ready", "True")], State.Current, ""),
        ([("Stalled", "True", "", "s"), ("Ready", "True")], State.Failed, "s"),
        ([("Reconciling", "True", "", "r"), ("Ready", "True")], State.InProgress, "r"),
        ([("HasErrors", "True", "", "e"), ("Ready", "True")], State.Failed, "HasErrors: e"),
        ([("SomethingElse", "False", "Failed")], State.Current, ""),
        ([("Ready", True)], State.Current, ""),
    ],
)
def test_conditions(conditions, state, message):
    assert assess_generic(told(*conditions)) == Verdict(state, message)


def test_a_generation_that_was_not_observed_comes_first():
    ready = [{"type": "Ready", "status": "True", "observedGeneration": 1}]
    assert assess_generic(widget(observedGeneration=1, conditions=ready)).state is State.InProgress
    assert assess_generic(widget(conditions=ready)).state is State.InProgress
    assert assess_generic(widget(observedGeneration="5d8f", conditions=[])).good, "some keep a hash there"
    assert assess_generic(widget(observedGeneration=3)).good


def test_conditions_per_parent_count():
    parents = [{"conditions": [{"type": "Accepted", "status": "False", "reason": "InvalidConfiguration"}]}]
    assert assess_generic(widget(parents=parents)).bad


def test_a_ready_object_with_another_phase_is_not_done():
    body = widget(phase="Upgrading", conditions=[{"type": "Ready", "status": "True"}])
    assert assess_generic(body) == Verdict(State.InProgress, "phase is Upgrading")


def test_failure_messages_and_counters():
    assert assess_generic(widget(failureMessage="no such image")).bad
    body = {**widget(readyReplicas=1), "spec": {"replicas": 2}}
    assert assess_generic(body) == Verdict(State.InProgress, "1 of 2 replicas ready")


def test_states_that_speak_of_something_else_are_left_out():
    assert assess_generic(widget(desiredState="Failed", previousPhase="Failed")).good


def test_an_annotation_or_a_pause_in_the_strategy_suspends():
    body = widget(conditions=[{"type": "Ready", "status": "False"}])
    body["metadata"]["annotations"] = {"example.com/paused": "true"}
    assert assess_generic(body).state is State.Suspended
    paused = {**widget(), "spec": {"updateStrategy": {"rollingUpdate": {"paused": True}}}}
    assert assess_generic(paused).state is State.Suspended


def test_what_the_status_of_a_fresh_object_lacks_is_awaited():
    assert assess_generic(widget(conditions=[]), fresh=True).state is State.InProgress
    assert assess_generic(told(("Scheduled", "True")), fresh=True).state is State.InProgress
    assert assess_generic(told(("Scheduled", "True"))).good
    assert assess_generic(told(("Completed", "True")), fresh=True).good


def test_parts_are_counted():
    assert assess_generic(widget(racks={"a": {"members": 3, "readyMembers": 1}})).state is State.InProgress
    assert assess_generic(widget(scale={"statusReplicas": "1/3"})).state is State.InProgress
    assert assess_generic(widget(scale={"statusReplicas": "3/3"})).good


@pytest.mark.parametrize(
    ("says", "reason", "state"),
    [
        ("True", "NewReplicaSetAvailable", State.Current),
        ("True", "ReplicaSetUpdated", State.InProgress),
        ("Unknown", "", State.InProgress),
        ("False", "ProgressDeadlineExceeded", State.Failed),
        ("False", "Completed", State.Current),
    ],
)
def test_a_rollout_tells_by_its_reason_how_it_is_over(says, reason, state):
    assert assess_generic(told(("Available", "True"), ("Progressing", says, reason))).state is state
