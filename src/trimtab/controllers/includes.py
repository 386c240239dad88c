"""GitRepositories that go into others (`spec.include`): what is there of them now, and whom it concerns when they move.

A dependent is told by event: when what it includes publishes, comes or goes, or ends a loop.
"""

from collections.abc import Callable, Iterable, Mapping

from trimtab.api.gvk import GIT_REPOSITORY
from trimtab.api.names import Reason
from trimtab.api.source import Artifact, GitRepository
from trimtab.artifacts.publish import Publisher
from trimtab.artifacts.snapshot import Snapshot
from trimtab.base.errors import Terminal
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.controllers.producing import IncludeUnavailable
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests.refs import Key
from trimtab.runtime.controller import LEAST_INTERVAL_S
from trimtab.sources.compose import Overlay, compose, inside

MOST = 100


class Includes:
    """Looks up, composes and tells. Before `follow` there is nothing to include."""

    def __init__(self, index: SourceIndex, publisher: Publisher) -> None:
        self._index = index
        self._publisher = publisher
        self._objects: Mapping[Key, GitRepository] = {}
        self._elsewhere: Callable[[Key], bool] = lambda _key: False
        self._including: dict[Key, set[Key]] = {}

    def follow(
        self,
        objects: Informer[GitRepository],
        wake: Callable[[Key], object],
        elsewhere: Callable[[Key], bool] = lambda _key: False,
    ) -> None:
        """Know the repositories of `objects`, and `wake` those that have to be looked at again.

        `elsewhere` tells those that another process looks after.
        """
        self._objects, self._elsewhere = objects.store, elsewhere

        def hear(event: Event[GitRepository]) -> None:
            for key in self.concerned(event):
                wake(key)

        def moved(source: SourceId) -> None:
            if source.kind == GIT_REPOSITORY.kind:
                for key in sorted(self._including.get(source.key, ())):
                    wake(key)

        objects.add_handler(hear)
        self._index.on_change(moved)

    def check(self, item: GitRepository) -> None:
        """Raise Terminal for paths that lead out of the artifact, and for what includes itself."""
        if len(item.spec.include) > MOST:
            raise Terminal(
                Reason.VALIDATION_FAILED,
                f"spec.include names {len(item.spec.include)} repositories; the limit is {MOST}",
            )
        for number, include in enumerate(item.spec.include):
            inside(include.from_path, f"spec.include[{number}].fromPath")
            inside(include.destination, f"spec.include[{number}].toPath")
        if loop := find_loop(item, self._objects):
            shown = " includes ".join(key.name for key in loop)
            raise Terminal(
                Reason.VALIDATION_FAILED, f"spec.include goes round in a circle: {shown}. Take one of them out"
            )

    def collect(self, item: GitRepository) -> tuple[Published, ...]:
        """What `item` includes, in its order, as it is published now. Raises IncludeUnavailable."""
        return tuple(self._published(item, include.repository.name) for include in item.spec.include)

    def lay(self, item: GitRepository, own: Snapshot, included: Iterable[Published]) -> Snapshot:
        """`own` with all that it includes; blocks shortly. Raises Transient where they do not fit together."""
        overlays = [
            Overlay(
                include.repository.name,
                published.snapshot,
                inside(include.from_path, "fromPath"),
                inside(include.destination, "toPath"),
            )
            for include, published in zip(item.spec.include, included, strict=True)
        ]
        return compose(own, overlays, item.spec.ignore) if overlays else own

    def concerned(self, event: Event[GitRepository]) -> set[Key]:
        """Take in what happened to a repository, and tell who has to be looked at again."""
        old, new = event.old, event.new if isinstance(event, Applied) else None
        if old is not None:
            for key in _included(old):
                self._drop(key, old.key)
        if new is not None:
            for key in _included(new):
                self._including.setdefault(key, set()).add(new.key)
        if old is not None and new is not None:
            # Whoever is above it may have been in a circle with it.
            return self._above(new.key) if _included(old) != _included(new) else set()
        return set().union(*(self._including.get(item.key, ()) for item in (old, new) if item is not None))

    def _drop(self, key: Key, including: Key) -> None:
        if (keys := self._including.get(key)) is not None:
            keys.discard(including)
            if not keys:
                del self._including[key]

    def _above(self, key: Key) -> set[Key]:
        found: set[Key] = set()
        ahead = [key]
        while ahead:
            for other in self._including.get(ahead.pop(), ()):
                if other not in found:
                    found.add(other)
                    ahead.append(other)
        return found - {key}

    def _published(self, item: GitRepository, name: str) -> Published:
        key = Key(item.metadata.namespace, name)
        after = max(item.spec.interval_s, LEAST_INTERVAL_S)
        other = self._objects.get(key)
        if (
            other is None
            and self._elsewhere(key)
            and (published := self._index.get(SourceId(GIT_REPOSITORY.kind, key)))
        ):
            return published
        if other is None:
            raise IncludeUnavailable(
                Reason.NOT_FOUND,
                f"spec.include names the GitRepository {key}, which does not exist: create it, or take it out",
                after=after,
            )
        if published := self._index.get(SourceId(GIT_REPOSITORY.kind, key)):
            return published
        # After a restart it may not have been looked at yet, and its last artifact is on the disk.
        artifact = other.status.artifact
        snapshot = self._publisher.restore(GIT_REPOSITORY.kind, key, artifact) if artifact else None
        if artifact is not None and snapshot is not None:
            return Published(artifact, snapshot)
        raise IncludeUnavailable(
            Reason.NO_ARTIFACT, f"spec.include names the GitRepository {key}, which has no artifact yet", after=after
        )


def differ(before: Iterable[Artifact], now: Iterable[Published]) -> bool:
    """Whether other contents go in than before."""
    was = [(artifact.revision, artifact.digest) for artifact in before]
    return was != [(one.artifact.revision, one.artifact.digest) for one in now]


def find_loop(item: GitRepository, others: Mapping[Key, GitRepository]) -> list[Key]:
    """The circle that `item` is part of, first and last the same; empty if there is none."""
    ahead: list[tuple[GitRepository, list[Key]]] = [(item, [item.key])]
    seen: set[Key] = set()
    while ahead:
        current, way = ahead.pop()
        for key in _included(current):
            if key == item.key:
                return [*way, key]
            if key not in seen and (other := others.get(key)) is not None:
                seen.add(key)
                ahead.append((other, [*way, key]))
    return []


def _included(item: GitRepository) -> list[Key]:
    return [Key(item.metadata.namespace, include.repository.name) for include in item.spec.include]
