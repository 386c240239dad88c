"""Whom a change of one of our objects concerns beside itself. Synchronous, and an index of what the objects say.

A dependent is told by event and never asks on its own: when what it depends on comes, goes, fails or moves. That a
Kustomization became ready is known in memory, before its status says so, and is told from there.
"""

from collections.abc import Set
from typing import TypeVar

from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.controllers import dependencies
from trimtab.controllers.dependencies import Node
from trimtab.controllers.offering import Offering, current
from trimtab.kube.informer import Applied, Event
from trimtab.manifests.conditions import find
from trimtab.manifests.refs import Key

T = TypeVar("T", bound=Offering | Kustomization)

_NOBODY: frozenset[Key] = frozenset()


class Ripple:
    """Who depends on what, as the events told so far. Feed it every event of a Kustomization."""

    def __init__(self) -> None:
        self._needing: dict[Node, set[Key]] = {}
        self._reading: dict[Key, set[Key]] = {}

    def dependents(self, key: Key, kind: str = KUSTOMIZATION.kind) -> Set[Key]:
        """The Kustomizations that depend on the object `key` of `kind`."""
        return self._needing.get(Node(kind, key), _NOBODY)

    def app(self, event: Event[Kustomization]) -> set[Key]:
        """Take in what happened to a Kustomization, and tell who may have to wait for something else now."""
        if event.old is not None:
            self._drop(event.old)
        if isinstance(event, Applied):
            self._add(event.new)
        key = event.new.key if isinstance(event, Applied) else event.old.key
        # expressions read the whole object, so that each change of it may matter to them
        found = set(self._reading.get(key, _NOBODY))
        if _changed(event):
            found |= self.dependents(key)
        if not isinstance(event, Applied):
            # what it depended on may be waiting for just this, to go as well
            found.update(node.key for node in dependencies.needs(event.old) if node.kind == KUSTOMIZATION.kind)
        return found

    def source(self, kind: str, event: Event[Offering]) -> Set[Key]:
        """Who names the source as a dependency and has news of it now."""
        key = event.new.key if isinstance(event, Applied) else event.old.key
        before = event.old.status.artifact if event.old else None
        moved = isinstance(event, Applied) and event.new.status.artifact != before
        return self.dependents(key, kind) if moved or _changed(event) else _NOBODY

    def _add(self, ks: Kustomization) -> None:
        for node in dependencies.needs(ks):
            self._needing.setdefault(node, set()).add(ks.key)
        for key in dependencies.read_by_expression(ks):
            self._reading.setdefault(key, set()).add(ks.key)

    def _drop(self, ks: Kustomization) -> None:
        for node in dependencies.needs(ks):
            _remove(self._needing, node, ks.key)
        for key in dependencies.read_by_expression(ks):
            _remove(self._reading, key, ks.key)


N = TypeVar("N", Node, Key)


def _remove(index: dict[N, set[Key]], at: N, key: Key) -> None:
    if (keys := index.get(at)) is not None:
        keys.discard(key)
        if not keys:
            del index[at]


def _changed(event: Event[T]) -> bool:
    """Whether the object came, went, or is in another state than before."""
    if not isinstance(event, Applied) or event.old is None:
        return True
    old, new = event.old, event.new
    return _state(old) != _state(new) or old.metadata.deleted != new.metadata.deleted


def _state(item: Offering | Kustomization) -> tuple[object, ...]:
    condition = find(item.status.conditions, "Ready")
    return (condition.status, condition.reason, current(item)) if condition else (None, None, current(item))
