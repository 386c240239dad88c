"""Which Alerts an event is for, and what is told with it."""

import re
from typing import Any

import pytest

from tests.notify.ground import alert, event
from trimtab.notify.matching import Rule, Subject, admits, told

NOBODY = Subject({}, {})


def why(changes: dict[str, Any], *, subject: Subject = NOBODY, across: bool = False, **of_event: Any) -> str:
    return admits(Rule.of(alert(**changes)), event(**of_event), subject, across=across)


def source(**changes: Any) -> dict[str, Any]:
    return {"eventSources": [{"kind": "Kustomization", "name": "*", **changes}]}


@pytest.mark.parametrize(
    ("changes", "of_event", "words"),
    [
        ({}, {}, ""),
        ({"suspend": True}, {}, "suspended"),
        ({}, {"severity": "trace"}, "trace"),
        ({"eventSeverity": "error"}, {}, "errors only"),
        ({"eventSeverity": "error"}, {"severity": "error"}, ""),
        (source(kind="HelmRelease"), {}, "none of spec.eventSources"),
        (source(name="shop"), {}, ""),
        (source(name="shop"), {"name": "shop-2"}, "none of spec.eventSources"),
        (source(namespace="apps"), {}, ""),
        (source(namespace="other"), {}, "none of spec.eventSources"),
        ({"inclusionList": ["^fail", "ed$"]}, {"message": "it failed"}, ""),
        ({"inclusionList": ["^fail"]}, {"message": "it failed"}, "inclusionList"),
        ({"exclusionList": ["wait.*"]}, {"message": "it waits"}, "exclusionList"),
        ({"inclusionList": ["a"], "exclusionList": ["b"]}, {"message": "ab"}, "exclusionList"),
        ({"inclusionList": ["("]}, {}, r"spec.inclusionList\[0\]"),
        ({"exclusionList": ["(?=a)"]}, {}, r"spec.exclusionList\[0\]"),
        ({"inclusionList": ["a" * 1025]}, {}, "1025 characters"),
    ],
    ids=str,
)
def test_an_alert_tells_of_what_it_names(changes: dict[str, Any], of_event: dict[str, Any], words: str) -> None:
    found = why(changes, **of_event)
    assert re.search(words, found) if words else found == ""


def test_an_expression_made_to_be_slow_is_not() -> None:
    assert "inclusionList" in why({"inclusionList": ["^(a+)+$"]}, message="a" * 39_000 + "b")


def test_labels_are_those_of_the_object_and_unknown_ones_match_nothing() -> None:
    changes = source(matchLabels={"team": "shop"})
    assert why(changes, subject=Subject({"team": "shop", "more": "x"}, {})) == ""
    assert "none of spec.eventSources" in why(changes, subject=Subject({"team": "other"}, {}))
    assert "none of spec.eventSources" in why(changes, subject=Subject(None, {}))


def test_another_namespace_is_heard_of_only_where_that_is_allowed() -> None:
    changes = source(namespace="other")
    rule = Rule.of(alert(**changes))
    foreign = event(namespace="other")
    assert "may not hear" in admits(rule, foreign, NOBODY, across=False)
    assert admits(rule, foreign, NOBODY, across=True) == ""


def test_the_controller_knows_best_then_the_alert_then_the_object() -> None:
    one = alert(eventMetadata={"a": "alert", "b": "alert", "revision": "alert"}, summary="of the alert")
    metadata = {
        "kustomize.toolkit.fluxcd.io/revision": "r",
        "event.toolkit.fluxcd.io/c": "carried",
        "kustomize.toolkit.fluxcd.io/token": "t",
        "foreign.example/x": "no",
    }
    annotations = {
        "event.toolkit.fluxcd.io/a": "object",
        "event.toolkit.fluxcd.io/d": "object",
        "event.toolkit.fluxcd.io/summary": "of the object",
        "other.example/e": "no",
    }
    found = told(one, event(metadata=metadata), annotations)
    assert found.fields == {"a": "alert", "b": "alert", "c": "carried", "d": "object", "revision": "r"}
    assert found.summary == "of the alert"
    assert len(found.overridden) == 3
    assert told(alert(), event(), annotations).summary == "of the object"
