"""Which HelmReleases wait for which others."""

from collections.abc import Callable, Mapping

import msgspec

from trimtab.api.helmrelease import HelmRelease
from trimtab.api.kustomize import Dependency
from trimtab.api.names import Reason
from trimtab.base.errors import Terminal, Waiting
from trimtab.controllers.access import Access
from trimtab.health.expressions import EvaluationError, ExpressionError
from trimtab.health.expressions import compile as compile_expression
from trimtab.manifests.refs import Key

_LEAST_WAIT_S = 1.0
_VARIABLES = ("dep", "self")


async def check(
    hr: HelmRelease, others: Mapping[Key, HelmRelease], ready: Callable[[Key], bool], access: Access
) -> None:
    """Return if everything that `hr` depends on is `ready`.

    Raises Waiting that names what is waited for; Terminal for a cycle, a reference that is not allowed, or an
    expression that cannot be compiled. As in Flux, an expression takes the place of the built-in check.
    """
    if cycle := find_cycle(hr.key, others):
        raise Terminal("DependencyCycle", f"spec.dependsOn goes in a circle: {' → '.join(map(str, cycle))}")
    for place, dependency in enumerate(hr.spec.depends_on):
        key = dependency.key_from(hr.metadata.namespace)
        await access.check_dependency(hr.metadata.namespace, key)
        other = others.get(key)
        if other is None or other.metadata.deleted:
            raise _waiting(hr, f"dependency {key} {'does not exist' if other is None else 'is being deleted'}")
        if dependency.ready_expr:
            _evaluate(hr, place, dependency, other)
        elif not ready(key):
            condition = other.ready
            why = f": {condition.message}" if condition and condition.status != "True" and condition.message else ""
            raise _waiting(hr, f"dependency {key} is not ready{why}")


def find_cycle(start: Key, others: Mapping[Key, HelmRelease]) -> list[Key]:
    """The circle that `start` is part of, first and last the same; empty if there is none."""
    stack: list[tuple[Key, list[Key]]] = [(start, [start])]
    seen: set[Key] = set()
    while stack:
        key, path = stack.pop()
        for needed in needs(others[key]) if key in others else ():
            if needed == start:
                return [*path, start]
            if needed not in seen:
                seen.add(needed)
                stack.append((needed, [*path, needed]))
    return []


def needs(hr: HelmRelease) -> list[Key]:
    """What `hr` depends on."""
    return [dependency.key_from(hr.metadata.namespace) for dependency in hr.spec.depends_on]


def _evaluate(hr: HelmRelease, place: int, dependency: Dependency, other: HelmRelease) -> None:
    named = f"spec.dependsOn[{place}].readyExpr"
    try:
        expression = compile_expression(dependency.ready_expr, _VARIABLES)
        good = expression.evaluate({"self": msgspec.to_builtins(hr), "dep": msgspec.to_builtins(other)})
    except ExpressionError as wrong:
        raise Terminal(Reason.INVALID_CEL_EXPRESSION, f"{named}: {wrong}") from wrong
    except EvaluationError as failure:
        raise _waiting(hr, f"{named} has no answer for {other.key}: {failure}") from failure
    if not good:
        raise _waiting(hr, f"dependency {other.key} is not ready: {named} is false")


def _waiting(hr: HelmRelease, words: str) -> Waiting:
    return Waiting(Reason.DEPENDENCY_NOT_READY, words, after=max(hr.spec.interval_s, _LEAST_WAIT_S))
