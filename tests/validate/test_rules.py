"""Rules that definitions have in CEL."""

from typing import Any

import pytest

from tests.validate.conftest import Validate
from trimtab.validate.rules import Rules

RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: a, namespace: b}
spec:
  interval: 1m
  chartRef: {kind: OCIRepository, name: a}
"""


def schema(rule: str, **inner: Any) -> dict[str, Any]:
    one = {"type": "object", "x-kubernetes-validations": [{"rule": rule, "message": "no"}], "properties": inner}
    return {"type": "object", "properties": {"spec": {"type": "array", "items": one}}}


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ("self.a < 5", ["spec[1]"]),
        ("self.kind == 'one'", []),  # a default
        ("oldSelf.hasValue() || self.a < 5", ["spec[1]"]),  # for new objects
        ("self.a == oldSelf.a", []),  # for changes
        ("isURL(self.kind)", []),  # for a server
        ("self.missing", []),
    ],
    ids=["broken", "default", "creation", "transition", "other function", "no answer"],
)
def test_a_rule_is_judged_where_it_stands_as_for_a_new_object(rule: str, broken: list[str]) -> None:
    rules = Rules(schema(rule, a={"type": "integer"}, kind={"type": "string", "default": "one"}))
    body = {"spec": [{"a": 1}, {"a": 9}]}
    assert [path for path, _ in rules.broken(body)] == broken
    assert body == {"spec": [{"a": 1}, {"a": 9}]}


def test_the_rules_of_our_kinds_are_judged(validate: Validate) -> None:
    files = {"r.yaml": RELEASE + "  chart: {spec: {chart: a, sourceRef: {kind: HelmRepository, name: a}}}\n"}
    found = [one for one in validate(files).body["findings"] if one["level"] == "error"]
    assert [(one["rule"], one["line"], one["path"]) for one in found] == [("schema", 4, "spec")]
