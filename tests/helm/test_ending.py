"""What is read from the status of a hook's object, and what of it is told."""

from datetime import UTC, datetime

import pytest

from trimtab.health.context import Context
from trimtab.health.verdict import State
from trimtab.helm.ending import containers, ending, ends

NOW = Context(datetime(2026, 1, 1, tzinfo=UTC))
CANARY = "hunter2-canary"


def pod(**status):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": status}


def job(said="", status="True", spec=None, **more):
    conditions = [{"type": said, "status": status, "reason": "R", "message": "in its words"}] if said else []
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec or {}}
    return body | {"status": {"conditions": conditions} | more}


def container(name="app", **state):
    return {"name": name, "state": state}


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (pod(), State.InProgress),
        (pod(phase="Pending"), State.InProgress),
        (pod(phase="Running"), State.InProgress),
        (pod(phase="Running", conditions=[{"type": "Ready", "status": "True"}]), State.InProgress),
        (pod(phase="Succeeded"), State.Current),
        (pod(phase="Failed"), State.Failed),
        (pod(phase="Pending", containerStatuses=[container(waiting={"reason": "ErrImagePull"})]), State.InProgress),
        (job(), State.InProgress),
        (job("Complete"), State.Current),
        (job("Complete", "False"), State.InProgress),
        (job("Failed"), State.Failed),
        (job("SuccessCriteriaMet"), State.InProgress),
        (job("Suspended", spec={"suspend": True}), State.InProgress),
        ({"apiVersion": "v1", "kind": "ConfigMap"}, State.Current),
        ({"apiVersion": "apps/v1", "kind": "Deployment", "status": {}}, State.Current),
        ({"apiVersion": "example.com/v1", "kind": "Job"}, State.Current),
        ({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}, State.InProgress),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_jobs_and_pods_run_to_their_end_definitions_are_established_and_the_rest_is_done(body, state):
    assert ending(body, NOW).state is state
    assert ends(body) == (body["kind"] in ("Job", "Pod") and body["apiVersion"] in ("v1", "batch/v1"))


def test_a_failed_job_is_told_in_its_words():
    assert ending(job("Failed"), NOW).message == "in its words"


def test_what_containers_wrote_is_never_told():
    ended = {"exitCode": 3, "reason": "Error", "message": f"password is {CANARY}"}
    body = pod(
        phase="Failed",
        initContainerStatuses=[container("init", terminated=ended | {"exitCode": 0})],
        containerStatuses=[container(terminated=ended), container("side", running={})],
    )
    assert ending(body, NOW).message == "container app ended with exit code 3 (Error)"
    waiting = {"reason": "RunContainerError", "message": f"exec {CANARY}: not found"}
    body = pod(phase="Pending", containerStatuses=[container(waiting=waiting) | {"lastState": {"terminated": ended}}])
    assert containers(body) == "container app waits for RunContainerError, and before ended with exit code 3 (Error)"


def test_an_image_that_cannot_be_had_a_missing_node_and_an_eviction_are_told():
    image = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x:1"'}
    assert containers(pod(containerStatuses=[container(waiting=image)])) == (
        'container app waits for ImagePullBackOff: Back-off pulling image "x:1"'
    )
    lost = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}
    assert containers(pod(conditions=[lost])) == "it has no node: 0/1 nodes are available"
    assert ending(pod(phase="Failed", reason="Evicted", message="low on memory"), NOW).message == "low on memory"
    assert containers(pod(containerStatuses=[container(terminated={"exitCode": 0, "signal": 9})])) == (
        "container app ended with signal 9"
    )


@pytest.mark.parametrize("odd", [{}, {"containerStatuses": "x"}, {"containerStatuses": [{"state": 1}, None]}], ids=str)
def test_odd_shapes_are_read_as_missing(odd):
    assert ending(pod(**odd), NOW).state is State.InProgress
    assert containers(pod(**odd)) == ""


def test_long_words_are_cut():
    image = {"reason": "ErrImagePull", "message": "x" * 5000}
    assert len(containers(pod(containerStatuses=[container(waiting=image)]))) < 400
