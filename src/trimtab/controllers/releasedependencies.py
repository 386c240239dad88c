"""Which HelmReleases wait for which others."""

from collections.abc import Awaitable, Callable, Mapping

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
_AWAY_S = 5.0
"""How often the releases of other processes are asked for while they are waited for."""
_VARIABLES = ("dep", "self")


async def check(
    hr: HelmRelease,
    others: Mapping[Key, HelmRelease],
    ready: Callable[[Key], bool],
    access: Access,
    abroad: Callable[[Key], Awaitable[HelmRelease | None]] | None = None,
) -> None:
    """Return if everything that `hr` depends on is `ready`. `abroad` asks for those of other processes.

    Raises Waiting that names what is waited for; Terminal for a cycle, a reference that is not allowed, or an
    expression that cannot be compiled. As in Flux, an expression takes the place of the built-in check.
    """
    if cycle := find_cycle(hr.key, others):
        raise Terminal("DependencyCycle", f"spec.dependsOn goes in a circle: {' → '.join(map(str, cycle))}")
    for place, dependency in enumerate(hr.spec.depends_on):
        key = dependency.key_from(hr.metadata.namespace)
        await access.check_dependency(hr.metadata.namespace, key)
        other = others.get(key)
        away = other is None and abroad is not None
        if other is None and abroad is not None:
            other = await abroad(key)
        if other is None or other.metadata.deleted:
            raise _waiting(hr, away, f"dependency {key} {'does not exist' if other is None else 'is being deleted'}")
        if dependency.ready_expr:
            _evaluate(hr, place, dependency, other, away)
        elif not (_said_ready(other) if away else ready(key)):
            condition = other.ready
            why = f": {condition.message}" if condition and condition.status != "True" and condition.message else ""
            raise _waiting(hr, away, f"dependency {key} is not ready{why}")


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


def _evaluate(hr: HelmRelease, place: int, dependency: Dependency, other: HelmRelease, away: bool) -> None:
    named = f"spec.dependsOn[{place}].readyExpr"
    try:
        expression = compile_expression(dependency.ready_expr, _VARIABLES)
        good = expression.evaluate({"self": msgspec.to_builtins(hr), "dep": msgspec.to_builtins(other)})
    except ExpressionError as wrong:
        raise Terminal(Reason.INVALID_CEL_EXPRESSION, f"{named}: {wrong}") from wrong
    except EvaluationError as failure:
        raise _waiting(hr, away, f"{named} has no answer for {other.key}: {failure}") from failure
    if not good:
        raise _waiting(hr, away, f"dependency {other.key} is not ready: {named} is false")


def _said_ready(other: HelmRelease) -> bool:
    current = other.status.observed_generation == other.metadata.generation
    return current and other.ready is not None and other.ready.true


def _waiting(hr: HelmRelease, away: bool, words: str) -> Waiting:
    """Events end the wait, but for what another process looks after."""
    after = max(hr.spec.interval_s, _LEAST_WAIT_S)
    return Waiting(Reason.DEPENDENCY_NOT_READY, words, after=min(after, _AWAY_S) if away else after)
