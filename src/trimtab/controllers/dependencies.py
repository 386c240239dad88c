"""Which Kustomizations wait for what: `spec.dependsOn`, and the annotation that names any kind of ours. Pure."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

from trimtab.api import names
from trimtab.api.gvk import BUCKET, EXTERNAL_ARTIFACT, GIT_REPOSITORY, KUSTOMIZATION, OCI_REPOSITORY
from trimtab.api.kustomize import Kustomization
from trimtab.base.errors import Terminal, Waiting
from trimtab.controllers import expressions
from trimtab.controllers.offering import Offering, current
from trimtab.controllers.standing import Stores
from trimtab.manifests.conditions import find
from trimtab.manifests.refs import Key

MOST = 256
"""So many dependencies one annotation may name."""
LEAST_WAIT_S: Final = 1.0
_APP = KUSTOMIZATION.kind
_SERVED = (_APP, GIT_REPOSITORY.kind, OCI_REPOSITORY.kind, BUCKET.kind, EXTERNAL_ARTIFACT.kind)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)
_SHOWN = 80

T = TypeVar("T", bound=Offering | Kustomization)


class Node(NamedTuple):
    """One object that others may depend on."""

    kind: str
    key: Key

    def __str__(self) -> str:
        return str(self.key) if self.kind == _APP else f"{self.kind}/{self.key}"


def check(
    ks: Kustomization,
    others: Mapping[Key, Kustomization],
    revision: str,
    at_revision: Callable[[Key], str | None],
    sources: Stores | None = None,
) -> None:
    """Return if everything `ks` depends on is ready, for a common source at `revision`.

    `at_revision` tells the revision a Kustomization is at, from memory; None where it is not ready. Raises Waiting that
    names what is waited for, Terminal for a cycle, for an annotation that makes no sense, or an expression that cannot
    be compiled. As in Flux, an expression takes the place of the built-in check.
    """
    further = _annotated(ks)
    if cycle := find_cycle(ks.key, others):
        raise Terminal(
            "DependencyCycle",
            f"spec.dependsOn and {names.Annotation.DEPENDS_ON} go in a circle: {' → '.join(map(str, cycle))}",
        )
    for place, dependency in enumerate(ks.spec.depends_on):
        key = dependency.key_from(ks.metadata.namespace)
        other = _found(ks, Node(_APP, key), others)
        if dependency.ready_expr:
            expressions.check_dependency(ks, place, dependency, other)
        else:
            _check_app(ks, other, revision, at_revision)
    for node in further:
        if node.kind == _APP:
            _check_app(ks, _found(ks, node, others), revision, at_revision)
        else:
            _check_source(ks, node, _found(ks, node, (sources or {}).get(node.kind, {})), revision)


def _found(ks: Kustomization, node: Node, others: Mapping[Key, T]) -> T:
    other = others.get(node.key)
    if other is None:
        raise _waiting(ks, f"dependency {node} does not exist")
    if other.metadata.deleted:
        raise _waiting(ks, f"dependency {node} is being deleted")
    return other


def _check_app(
    ks: Kustomization, other: Kustomization, revision: str, at_revision: Callable[[Key], str | None]
) -> None:
    reached = at_revision(other.key)
    if reached is None:
        condition = other.ready
        why = f": {condition.message}" if condition and condition.status != "True" and condition.message else ""
        raise _waiting(ks, f"dependency {other.key} is not ready{why}")
    same_source = (other.spec.source_ref.kind, other.source_key) == (ks.spec.source_ref.kind, ks.source_key)
    if same_source and reached != revision:
        raise _waiting(ks, f"dependency {other.key} is not at revision {revision} yet")


def _check_source(ks: Kustomization, node: Node, other: Offering, revision: str) -> None:
    condition = find(other.status.conditions, names.ConditionType.READY)
    if condition is None or not condition.true or not current(other):
        why = f": {condition.message}" if condition and condition.status != "True" and condition.message else ""
        raise _waiting(ks, f"dependency {node} is not ready{why}")
    reached = other.status.artifact.revision if other.status.artifact else ""
    if (ks.spec.source_ref.kind, ks.source_key) == node and reached != revision:
        raise _waiting(ks, f"dependency {node} is not at revision {revision} yet")


def _waiting(ks: Kustomization, words: str) -> Waiting:
    """Events end the wait; the interval is for what no event tells."""
    return Waiting(names.Reason.DEPENDENCY_NOT_READY, words, after=max(ks.spec.interval_s, LEAST_WAIT_S))


# --- the annotation


def _annotated(ks: Kustomization) -> tuple[Node, ...]:
    """What the annotation names. Raises Terminal for one that makes no sense."""
    found = _parse(ks.metadata.annotations.get(names.Annotation.DEPENDS_ON, ""))
    if isinstance(found, str):
        words = f"the annotation {names.Annotation.DEPENDS_ON}: {found}. Correct it, or remove it"
        raise Terminal(names.Reason.VALIDATION_FAILED, words)
    return found


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Node, ...] | str:
    """The objects that `text` names, or what is wrong with it."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if len(parts) > MOST:
        return f"it names {len(parts)} objects; the limit is {MOST}"
    nodes: dict[Node, None] = {}
    for part in parts:
        fields = part.split("/")
        shown = ascii(part[:_SHOWN])
        if len(fields) != 3 or not _NAME.fullmatch(fields[1]) or not _NAME.fullmatch(fields[2]):
            return f"{shown} is not of the form Kind/namespace/name"
        if fields[0] not in _SERVED:
            return f"{shown} is of a kind that this version does not serve; it knows {', '.join(_SERVED)}"
        nodes[Node(fields[0], Key(fields[1], fields[2]))] = None
    return tuple(nodes)


# --- the graph


def needs(ks: Kustomization) -> tuple[Node, ...]:
    """Everything that `ks` depends on, in the order of its declaration; nothing of an annotation without sense."""
    if not ks.spec.depends_on and names.Annotation.DEPENDS_ON not in ks.metadata.annotations:
        return ()
    declared = (Node(_APP, dependency.key_from(ks.metadata.namespace)) for dependency in ks.spec.depends_on)
    further = _parse(ks.metadata.annotations.get(names.Annotation.DEPENDS_ON, ""))
    return (*declared, *(further if isinstance(further, tuple) else ()))


def find_cycle(start: Key, others: Mapping[Key, Kustomization]) -> list[Key]:
    """The circle that `start` is part of, first and last the same; empty if there is none."""
    stack: list[tuple[Key, list[Key]]] = [(start, [start])]
    seen: set[Key] = set()
    while stack:
        key, path = stack.pop()
        ks = others.get(key)
        for node in needs(ks) if ks else ():
            if node.kind != _APP:
                continue  # what is not an app depends on nothing
            if node.key == start:
                return [*path, start]
            if node.key not in seen:
                seen.add(node.key)
                stack.append((node.key, [*path, node.key]))
    return []


def read_by_expression(ks: Kustomization) -> list[Key]:
    """The Kustomizations that the expressions of `ks` read."""
    return [item.key_from(ks.metadata.namespace) for item in ks.spec.depends_on if item.ready_expr]
