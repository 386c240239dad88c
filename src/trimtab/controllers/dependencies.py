"""Which Kustomizations wait for which. Pure."""

from collections.abc import Callable, Iterable, Mapping

from trimtab.api.kustomize import Kustomization
from trimtab.base.errors import Terminal, Waiting
from trimtab.controllers import expressions
from trimtab.manifests.refs import Key


def check(
    ks: Kustomization, others: Mapping[Key, Kustomization], revision: str, at_revision: Callable[[Key], str | None]
) -> None:
    """Return if everything `ks` depends on is ready, for a common source at `revision`.

    `at_revision` tells the revision a Kustomization is at, from memory; None where it is not ready. Raises Waiting that
    names what is waited for, Terminal for a cycle or an expression that cannot be compiled. As in Flux, an expression
    takes the place of the built-in check.
    """
    if cycle := find_cycle(ks.key, others):
        raise Terminal("DependencyCycle", f"spec.dependsOn goes in a circle: {' → '.join(map(str, cycle))}")
    for place, dependency in enumerate(ks.spec.depends_on):
        key = dependency.key_from(ks.metadata.namespace)
        other = others.get(key)
        if other is None:
            raise Waiting("DependencyNotReady", f"dependency {key} does not exist")
        if dependency.ready_expr:
            expressions.check_dependency(ks, place, dependency, other)
            continue
        reached = at_revision(key)
        if reached is None:
            condition = other.ready
            why = f": {condition.message}" if condition and condition.status != "True" and condition.message else ""
            raise Waiting("DependencyNotReady", f"dependency {key} is not ready{why}")
        same_source = (other.spec.source_ref.kind, other.source_key) == (ks.spec.source_ref.kind, ks.source_key)
        if same_source and reached != revision:
            raise Waiting("DependencyNotReady", f"dependency {key} is not at revision {revision} yet")


def find_cycle(start: Key, others: Mapping[Key, Kustomization]) -> list[Key]:
    """The circle that `start` is part of, first and last the same; empty if there is none."""
    stack: list[tuple[Key, list[Key]]] = [(start, [start])]
    seen: set[Key] = set()
    while stack:
        key, path = stack.pop()
        ks = others.get(key)
        for dependency in ks.spec.depends_on if ks else ():
            following = dependency.key_from(key.namespace)
            if following == start:
                return [*path, start]
            if following not in seen:
                seen.add(following)
                stack.append((following, [*path, following]))
    return []


def curious(key: Key, others: Iterable[Kustomization]) -> list[Key]:
    """Who reads the object of `key` by an expression, and so waits for any change of it."""
    return [
        other.key
        for other in others
        if any(
            dependency.ready_expr and dependency.key_from(other.metadata.namespace) == key
            for dependency in other.spec.depends_on
        )
    ]


def dependents(key: Key, others: Iterable[Kustomization]) -> list[Key]:
    """Who waits for `key`."""
    return [
        other.key
        for other in others
        if any(dependency.key_from(other.metadata.namespace) == key for dependency in other.spec.depends_on)
    ]
