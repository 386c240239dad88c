"""Admission webhooks that deny, time out or rewrite: told in their words, no loop, no false drift, others go on."""

import json
import threading

import pytest

from tests.e2e.reviewer import Webhook, allow, deny, patch
from tests.e2e.test_main_job import config, settings
from tests.e2e.test_ownership import writes
from tests.e2e.world import APPS, condition, until


@pytest.fixture
def pair(world, ns):
    """Two good apps of one repository."""
    repo = world.repo(ns)
    repo.commit({"bad/settings.yaml": config("victim"), "good/a.yaml": config("witness")})
    world.source(ns, repo.url)
    world.app(ns, "bad", "./bad")
    world.app(ns, "good", "./good")
    world.ready(ns, "bad")
    world.ready(ns, "good")
    return repo


@pytest.fixture
def webhook(world, ns, tmp_path):
    with Webhook(world, ns, tmp_path).served() as webhook:
        yield webhook


def only(names, decide):
    """`decide` about objects of these names, let all others pass."""
    return lambda request: (decide if request["name"] in names else allow)(request)


def mapped(name, **data):
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})


def drift_events(world, ns):
    events = world.api.get(f"/api/v1/namespaces/{ns}/events?limit=500")["items"]
    return [event["message"] for event in events if event["reason"] == "DriftDetected"]


def another_pass(world, ns, name="bad"):
    """Ask for a pass and wait until it has gone through."""
    moment = world.poke_app(ns, name)
    until(lambda: world.get_app(ns, name)["status"].get("lastHandledReconcileAt") == moment, "it was handled")


def test_a_denial_is_told_in_its_words_nothing_is_written_and_it_heals_by_itself(world, ns, pair, webhook):
    webhook.decide = only(["blocked"], deny("not on Fridays"))
    webhook.configure("Validating")
    commit = pair.commit(
        {
            "bad/blocked.yaml": config("blocked"),
            "bad/settings.yaml": config("victim", "blue"),
            "good/more.yaml": config("more"),
        }
    )
    world.poke(ns)
    message = world.failed(ns, "bad", "ValidationFailed", "not on Fridays")
    assert f"ConfigMap/{ns}/blocked (bad/blocked.yaml:1)" in message
    assert 'admission webhook "validating.example.org" denied the request' in message
    assert "nothing was applied" in message
    assert settings(world, ns, "victim")["data"] == {"colour": "red"}
    world.ready(ns, "good", commit)
    webhook.decide = allow
    world.ready(ns, "bad", commit)
    assert settings(world, ns, "blocked")


def test_what_the_gate_did_not_see_is_an_outcome_of_its_own_and_only_the_remainder_is_tried_again(
    world, ns, pair, webhook, plane
):
    """A webhook that lets dry-runs pass: the others are written, once."""
    webhook.decide = lambda request: (
        deny("not for real")(request) if request["name"] == "late" and not request["dryRun"] else allow(request)
    )
    webhook.configure("Validating")
    mark = plane.audit_log.stat().st_size
    commit = pair.commit({"bad/late.yaml": config("late"), "bad/other.yaml": config("other")})
    world.poke(ns)
    message = world.failed(ns, "bad", "ReconciliationFailed", "not for real")
    assert f"ConfigMap/{ns}/late (bad/late.yaml:1)" in message
    until(lambda: len(writes(plane, mark, ns, "late")) >= 3, "it is tried again")
    assert len(writes(plane, mark, ns, "other")) == 1
    webhook.decide = allow
    world.ready(ns, "bad", commit)
    assert len(writes(plane, mark, ns, "other")) == 1
    assert len(writes(plane, mark, ns, "victim")) == 0


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
def test_a_webhook_that_times_out_is_told_or_passed_over_as_its_policy_says(world, ns, pair, webhook, policy):
    answered = threading.Event()

    def slow(request):
        answered.wait(30)
        return allow(request)

    webhook.configure("Validating", policy=policy, timeout_s=1)
    webhook.decide = only(["slow"], slow)
    commit = pair.commit({"bad/slow.yaml": config("slow"), "good/more.yaml": config("more")})
    world.poke(ns)
    if policy == "Fail":
        message = world.failed(ns, "bad", "ValidationFailed", 'failed calling webhook "validating.example.org"')
        assert f"ConfigMap/{ns}/slow (bad/slow.yaml:1)" in message
        world.ready(ns, "good", commit)
        assert settings(world, ns, "slow") is None
        webhook.decide = allow
    world.ready(ns, "bad", commit)
    assert settings(world, ns, "slow")
    answered.set()


def grey(body):
    """Always the same: a value of git's replaced, one removed, one added."""
    data = {name: value for name, value in body["data"].items() if name != "dropped"}
    return [{"op": "replace", "path": "/data", "value": {**data, "colour": "grey", "injected": "yes"}}]


def test_what_is_rewritten_the_same_way_every_time_is_written_once_and_is_no_drift(world, ns, pair, webhook, plane):
    webhook.decide = only(["victim"], patch(grey))
    webhook.configure("Mutating")
    mark = plane.audit_log.stat().st_size
    commit = pair.commit({"bad/settings.yaml": mapped("victim", colour="blue", dropped="x", size="1")})
    world.poke(ns)
    world.ready(ns, "bad", commit)
    assert settings(world, ns, "victim")["data"] == {"colour": "grey", "injected": "yes", "size": "1"}
    for _ in range(3):
        another_pass(world, ns)
    assert len(writes(plane, mark, ns, "victim")) == 1
    assert drift_events(world, ns) == []
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/victim", {"data": {"size": "2"}})
    until(lambda: settings(world, ns, "victim")["data"]["size"] == "1", "real drift is still corrected")
    [told] = until(lambda: drift_events(world, ns), "and told")
    assert "data.size" in told
    assert "colour" not in told


def test_what_is_rewritten_anew_at_every_write_makes_no_loop(world, ns, pair, webhook, plane):
    webhook.decide = only(
        ["victim"],
        patch(lambda body: [{"op": "add", "path": "/data/serial", "value": str(webhook.asked)}]),
    )
    webhook.configure("Mutating")
    mark = plane.audit_log.stat().st_size
    commit = pair.commit({"bad/settings.yaml": mapped("victim", colour="blue", serial="x")})
    world.poke(ns)
    world.ready(ns, "bad", commit)
    for _ in range(3):
        another_pass(world, ns)
    assert len(writes(plane, mark, ns, "victim")) == 1
    assert drift_events(world, ns) == []
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/victim", {"data": {"colour": "green"}})
    until(lambda: settings(world, ns, "victim")["data"]["colour"] == "blue", "real drift is still corrected")
    for _ in range(3):
        another_pass(world, ns)
    assert len(writes(plane, mark, ns, "victim")) == 3, "ours, the other one's, and one correction"


def test_a_denied_deletion_stays_on_record_and_goes_through_when_it_may(world, ns, pair, webhook):
    pair.commit({"bad/extra.yaml": config("extra")})
    world.poke(ns)
    until(lambda: settings(world, ns, "extra"), "it is there")
    world.ready(ns, "bad")
    webhook.decide = only(["extra"], deny("keep it"))
    webhook.configure("Validating", operations=("CREATE", "DELETE"))
    commit = pair.commit({"bad/extra.yaml": None})
    world.poke(ns)
    message = world.failed(ns, "bad", "PruneFailed", "keep it")
    assert f"ConfigMap/{ns}/extra" in message
    entries = world.api.get(f"{APPS}/namespaces/{ns}/kustomizations/bad")["status"]["inventory"]["entries"]
    assert f"{ns}_extra__ConfigMap" in [entry["id"] for entry in entries]
    webhook.decide = allow
    world.ready(ns, "bad", commit)
    assert settings(world, ns, "extra") is None
    assert condition(world.get_app(ns, "bad"), "Ready")["status"] == "True"
