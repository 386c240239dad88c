"""Conditions change when something changed, and only then."""

from datetime import UTC, datetime, timedelta

from trimtab.manifests import codec
from trimtab.manifests.conditions import Condition, find, shorten, with_condition, without_condition

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)


def ready(status="True", **fields):
    return Condition(type="Ready", status=status, **{"reason": "Succeeded", "message": "done", **fields})


def test_a_new_condition_is_stamped_and_put_at_the_end():
    first = with_condition((), Condition(type="Healthy", status="True"), NOON)
    both = with_condition(first, ready(), LATER)
    assert [item.type for item in both] == ["Healthy", "Ready"]
    assert both[1].last_transition_time == "2026-01-01T12:05:00Z"


def test_the_transition_time_moves_with_the_status_only():
    before = with_condition((), ready(), NOON)
    again = with_condition(before, ready(message="still done"), LATER)
    assert again[0].last_transition_time == "2026-01-01T12:00:00Z"
    assert again[0].message == "still done"
    assert with_condition(before, ready(), LATER) == before
    turned = with_condition(before, ready("False"), LATER)
    assert turned[0].last_transition_time == "2026-01-01T12:05:00Z"


def test_a_condition_takes_the_place_of_its_predecessor():
    conditions = (Condition(type="A", status="True"), ready(), Condition(type="B", status="True"))
    replaced = with_condition(conditions, ready("False"), NOON)
    assert [item.type for item in replaced] == ["A", "Ready", "B"]
    assert replaced[0] is conditions[0]


def test_find_and_without():
    conditions = with_condition((), ready(), NOON)
    assert find(conditions, "Ready").true
    assert find(conditions, "Stalled") is None
    assert without_condition(conditions, "Ready") == ()
    assert without_condition(conditions, "Stalled") == conditions


def test_long_messages_are_cut_and_stay_different():
    one, other = shorten("x" * 5000), shorten("x" * 4999 + "y")
    assert len(one) == len(other) == 1024
    assert one != other
    assert "5000 characters" in one
    assert shorten("y" * 1024) == "y" * 1024
    assert len(with_condition((), ready(message="x" * 5000), NOON)[0].message) == 1024


def test_it_is_written_as_kubernetes_writes_it():
    condition = with_condition((), ready(observed_generation=3), NOON)[0]
    assert codec.decode(codec.encode(condition)) == {
        "type": "Ready",
        "status": "True",
        "observedGeneration": 3,
        "lastTransitionTime": "2026-01-01T12:00:00Z",
        "reason": "Succeeded",
        "message": "done",
    }
