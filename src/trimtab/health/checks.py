"""Health read by expressions of the user's: `healthCheckExprs`, in Flux's order and meaning."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from trimtab.api.kustomize import HealthExpr
from trimtab.health import expressions
from trimtab.health.assess import assess, deleted
from trimtab.health.context import Context
from trimtab.health.expressions import EvaluationError, Expression, ExpressionError
from trimtab.health.generic import behind
from trimtab.health.shape import section
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body

VARIABLES: Final = ("apiVersion", "data", "kind", "metadata", "spec", "status", "self")
"""What an expression may refer to: the object's own top-level fields, and the object as `self`."""


class Check(NamedTuple):
    """One compiled rule: which objects it is for (`kind` empty: all of the API version), and its expressions."""

    api_version: str
    kind: str
    steps: tuple[tuple[str, State, Expression], ...]

    def meant(self, body: Body) -> bool:
        """Whether the rule is for `body`. The version does not count: an object is the same in each."""
        group = self.api_version.rpartition("/")[0]
        return str(body.get("apiVersion", "")).rpartition("/")[0] == group and self.kind in ("", body.get("kind"))

    def assess(self, body: Body) -> Verdict:
        """In progress, failed, current: the first that is true; none of them is in progress, no answer is unknown."""
        late = behind(body)
        if late is not None:
            return late
        variables = _variables(body)
        for name, state, expression in self.steps:
            try:
                if expression.evaluate(variables):
                    return Verdict(state, f"the expression {name} is true")
            except EvaluationError as failure:
                return Verdict(State.Unknown, f"the expression {name} has no answer: {failure}")
        return Verdict(State.InProgress, "no expression is true yet")


class Checks(NamedTuple):
    """The rules of one app; the first that is meant for an object decides about it."""

    rules: tuple[Check, ...] = ()

    def assess(self, body: Body, context: Context) -> Verdict:
        """The verdict on `body`: being deleted comes first, then these rules, then those of its kind."""
        check = next((check for check in self.rules if check.meant(body)), None)
        return deleted(body) or (check.assess(body) if check is not None else assess(body, context))

    def covers(self, body: Body) -> bool:
        """Whether one of the rules is meant for `body`."""
        return any(check.meant(body) for check in self.rules)


def compiled(rules: Iterable[HealthExpr]) -> Checks:
    """Compile `rules`. Raises ExpressionError, which names the rule by its place and the expression by its name."""
    return Checks(tuple(_check(index, rule) for index, rule in enumerate(rules)))


def _check(index: int, rule: HealthExpr) -> Check:
    steps = []
    for name, state, text in (
        ("inProgress", State.InProgress, rule.in_progress),
        ("failed", State.Failed, rule.failed),
        ("current", State.Current, rule.current),
    ):
        if text:
            try:
                steps.append((name, state, expressions.compile(text, VARIABLES)))
            except ExpressionError as wrong:
                raise ExpressionError(f"[{index}].{name}: {wrong}") from wrong
    return Check(rule.api_version, rule.kind, tuple(steps))


def _variables(body: Body) -> Body:
    """The object as variables. Who manages which field is left out: it is large, and no matter of health."""
    metadata = {name: value for name, value in section(body, "metadata").items() if name != "managedFields"}
    whole = {**body, "metadata": metadata}
    fields = {name: whole.get(name, {}) for name in VARIABLES if name != "self"}
    return {**fields, "self": whole}
