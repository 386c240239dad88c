"""Each app's rules are asked about its own objects, and about those that did not change when the rules do."""

from datetime import UTC, datetime

import pytest

from trimtab.api.kustomize import HealthExpr
from trimtab.health.expressions import ExpressionError
from trimtab.health.verdict import State
from trimtab.manifests.refs import Gvk, Key
from trimtab.targets.kubernetes.judging import Judges
from trimtab.targets.kubernetes.sighting import sight

NOW = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
WIDGET = Gvk("example.com", "v1", "Widget")
NEVER = HealthExpr(api_version="example.com/v1", kind="Widget", current="false")


def live(app="shop", **more):
    labels = {"kustomize.toolkit.fluxcd.io/name": app, "kustomize.toolkit.fluxcd.io/namespace": "ns"}
    metadata = {"name": "w", "namespace": "ns", "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": metadata,
        "status": {"phase": "Ready"},
        **more,
    }


def test_the_rules_of_an_app_hold_for_its_own_objects():
    judges = Judges()
    judges.set(Key("ns", "shop"), (NEVER,))
    assert sight(live(), NOW, judge=judges.assess).verdict.state is State.InProgress
    assert sight(live("other"), NOW, judge=judges.assess).verdict.state is State.Current
    judges.forget(Key("ns", "shop"))
    assert sight(live(), NOW, judge=judges.assess).verdict.state is State.Current


def test_a_change_of_rules_is_remembered_until_the_objects_were_looked_at():
    judges, app = Judges(), Key("ns", "shop")
    judges.set(app, (NEVER,))
    assert judges.changed(app, WIDGET)
    assert not judges.changed(app, Gvk("example.com", "v1", "Gadget"))
    judges.settled(app)
    judges.set(app, (NEVER,))
    assert not judges.changed(app, WIDGET), "the same rules are no change"
    judges.set(app, ())
    assert judges.changed(app, WIDGET), "rules that are gone are a change too"


def test_rules_that_do_not_compile_leave_the_old_ones_in_force():
    judges, app = Judges(), Key("ns", "shop")
    judges.set(app, (NEVER,))
    with pytest.raises(ExpressionError):
        judges.set(app, (HealthExpr(api_version="v1", current="1 +"),))
    assert sight(live(), NOW, judge=judges.assess).verdict.state is State.InProgress


def test_a_sighting_knows_when_its_verdict_is_due():
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1"},
    }
    seen = sight(service, NOW)
    assert seen.verdict.state is State.InProgress
    assert seen.due == datetime(2026, 1, 1, 0, 1, 0, tzinfo=UTC)
    assert sight(service, seen.due).verdict.state is State.Current


@pytest.mark.parametrize(
    ("ttl", "complete", "spent"), [(60, "True", True), (None, "True", False), (60, "False", False)]
)
def test_a_complete_job_with_a_time_to_live_may_go(ttl, complete, spent):
    spec = {} if ttl is None else {"ttlSecondsAfterFinished": ttl}
    status = {"conditions": [{"type": "Complete", "status": complete}]}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec, "status": status}
    assert sight(body, NOW).spent is spent
