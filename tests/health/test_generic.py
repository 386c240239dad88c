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
