"""CEL in a Kustomization: health of its objects, and when a dependency is ready. Pure."""

import msgspec

from trimtab.api import names
from trimtab.api.kustomize import Dependency, Kustomization
from trimtab.base.errors import Terminal, Waiting
from trimtab.health.expressions import EvaluationError, Expression, ExpressionError
from trimtab.health.expressions import compile as compile_expression
from trimtab.targets.kubernetes.judging import Judges

_VARIABLES = ("dep", "self")


def adopt(ks: Kustomization, judges: Judges) -> None:
    """Judge the objects of `ks` by its `healthCheckExprs`, and see that its other expressions compile.

    Raises Terminal (InvalidCELExpression) that names the expression by its place.
    """
    try:
        judges.set(ks.key, ks.spec.health_check_exprs)
    except ExpressionError as wrong:
        raise _invalid(f"spec.healthCheckExprs{wrong}") from wrong
    for place, dependency in enumerate(ks.spec.depends_on):
        if dependency.ready_expr:
            _compile(place, dependency)


def check_dependency(ks: Kustomization, place: int, dependency: Dependency, other: Kustomization) -> None:
    """Return if the expression of `dependency`, the one at `place`, says that `other` is ready. Raises Waiting."""
    expression = _compile(place, dependency)
    try:
        ready = expression.evaluate({"self": msgspec.to_builtins(ks), "dep": msgspec.to_builtins(other)})
    except EvaluationError as failure:
        words = f"spec.dependsOn[{place}].readyExpr has no answer for {other.key}: {failure}"
        raise Waiting(names.Reason.DEPENDENCY_NOT_READY, words) from failure
    if not ready:
        words = f"dependency {other.key} is not ready: spec.dependsOn[{place}].readyExpr is false"
        raise Waiting(names.Reason.DEPENDENCY_NOT_READY, words)


def _compile(place: int, dependency: Dependency) -> Expression:
    try:
        return compile_expression(dependency.ready_expr, _VARIABLES)
    except ExpressionError as wrong:
        raise _invalid(f"spec.dependsOn[{place}].readyExpr: {wrong}") from wrong


def _invalid(message: str) -> Terminal:
    return Terminal(names.Reason.INVALID_CEL_EXPRESSION, message)
