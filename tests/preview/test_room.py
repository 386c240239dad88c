"""Whether there is room, and what happens to Pods."""

from typing import Any

import pytest

from tests.preview.conftest import deployment
from trimtab.manifests.refs import Ref
from trimtab.preview.disruption import disruption, unevictable
from trimtab.preview.room import Defaults, defaults_of, exceeded, growth, too_large

REF = Ref("apps", "Deployment", "shop", "web")
NONE = Defaults()


def asking(replicas: int, **resources: Any) -> dict[str, Any]:
    return deployment(replicas, container={"resources": resources})


def quota(hard: dict[str, Any], used: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    status = {"hard": hard, "used": used or dict.fromkeys(hard, "0")}
    return {"metadata": {"name": "tight"}, "spec": {"hard": hard, **spec}, "status": status}


def words(quotas: list[Any], *grown: Any) -> list[str]:
    return [judgement.message for _, judgement in exceeded(quotas, [one for one in grown if one is not None])]


def test_what_grows_beyond_what_a_quota_leaves_is_told_and_what_shrinks_is_not() -> None:
    half, more = asking(2, requests={"cpu": "500m"}), asking(5, requests={"cpu": "500m"})
    tight = quota({"cpu": "2"}, {"cpu": "1"})
    assert words([tight], growth(REF, half, more, NONE)) == [
        "1.5 more requests.cpu, and the quota tight has 1 left of 2"
    ]
    assert words([tight], growth(REF, more, half, NONE)) == []
    assert words([tight], growth(REF, half, asking(4, requests={"cpu": "500m"}), NONE)) == []
    assert words([quota({"pods": "3"})], growth(REF, None, more, NONE)) == [
        "5 more pods, and the quota tight has 3 left of 3"
    ]
    assert words([quota({"pods": "3"}, scopes=["BestEffort"])], growth(REF, None, more, NONE)) == []


def test_what_others_of_the_same_change_want_and_free_counts() -> None:
    grown = growth(REF, None, asking(2, requests={"memory": "2Gi"}), NONE)
    other = REF._replace(name="other")
    [first, second] = words([quota({"requests.memory": "6Gi"})], grown, grown._replace(ref=other))
    assert first == second
    assert first.endswith("has 6Gi left of 6Gi, for 8Gi that all changes of the namespace want")
    freed = growth(other, asking(1, requests={"memory": "4Gi"}), None, NONE)
    assert words([quota({"requests.memory": "6Gi"}, {"requests.memory": "4Gi"})], grown, freed) == []


def test_a_quota_wants_to_be_told_and_the_defaults_of_the_namespace_tell_it() -> None:
    silent = growth(REF, None, asking(1), NONE)
    assert words([quota({"limits.cpu": "9"})], silent) == [
        "the quota tight wants every container to say limits.cpu, and one of its does not"
    ]
    limits = {"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"memory": "1Gi"}}]}}
    filled = growth(REF, None, asking(1), defaults_of([limits]))
    assert words([quota({"limits.cpu": "9", "requests.cpu": "9", "requests.memory": "9Gi"})], filled) == []


def test_initial_containers_count_one_after_the_other_and_a_limit_is_a_request() -> None:
    body = deployment(
        1,
        container={"resources": {"limits": {"cpu": "1"}}},
        initContainers=[{"resources": {"requests": {"cpu": cpu}}} for cpu in ("3", "2")],
        overhead={"cpu": "250m"},
    )
    grown = growth(REF, None, body, NONE)
    assert grown is not None
    assert grown.amounts["requests.cpu"] == 3.25
    nodes = [{"status": {"allocatable": {"cpu": cpu}}} for cpu in ("2", "3")]
    assert [one.message for one in too_large(body, nodes, NONE)] == [
        "a Pod of it wants 3.25 cpu, and the largest node has 3"
    ]
    assert too_large(body, [], NONE) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"replicas": 1}, ["2 Pods end"]),
        (
            {"template": {"metadata": {"labels": {"app": "web"}}, "spec": {}}},
            ["3 Pods are replaced: the template changes"],
        ),
        (
            {"template": {}, "strategy": {"type": "Recreate"}},
            ["3 Pods end before new ones begin (Recreate): the template changes"],
        ),
        (
            {"template": {}, "updateStrategy": {"type": "OnDelete"}},
            ["3 Pods stay as they are until deleted by hand (OnDelete)"],
        ),
    ],
    ids=["nothing", "fewer", "another template", "recreate", "on delete"],
)
def test_what_happens_to_pods_is_told(change: dict[str, Any], told: list[str]) -> None:
    live = deployment(3)
    after = {**live, "spec": {**live["spec"], **change}}
    assert [one.message for one in disruption(live, after)] == told


def test_pods_end_with_what_makes_them_and_new_ones_disturb_nobody() -> None:
    assert [one.message for one in disruption(deployment(1), None)] == ["1 Pod ends: the Deployment is deleted"]
    assert disruption(None, deployment(3)) == []
    assert disruption({"kind": "ConfigMap"}, None) == []


@pytest.mark.parametrize(
    ("selector", "allowed", "told"),
    [
        ({"matchLabels": {"app": "web"}}, 0, 1),
        ({"matchLabels": {"app": "web"}}, 1, 0),
        ({"matchLabels": {"app": "db"}}, 0, 0),
        ({}, 0, 1),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}, 0, 1),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, 0, 0),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, 0, 1),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, 0, 0),
        (None, 0, 0),
    ],
)
def test_a_budget_that_allows_nothing_is_told_where_it_is_about_these_pods(selector, allowed, told) -> None:
    budget = {"metadata": {"name": "b"}, "spec": {"selector": selector}, "status": {"disruptionsAllowed": allowed}}
    assert len(unevictable(deployment(), [budget])) == told
