"""The artifacts that sources have published, as the controllers of one process hand them to each other."""

from collections.abc import Callable
from typing import NamedTuple

from trimtab.api.source import Artifact
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.tree import touched
from trimtab.manifests.refs import Key


class SourceId(NamedTuple):
    """A source of any kind."""

    kind: str
    key: Key

    def __str__(self) -> str:
        return f"{self.kind}/{self.key}"


class Published(NamedTuple):
    """What a source last published, and how to read it."""

    artifact: Artifact
    snapshot: Snapshot


class SourceIndex:
    """Who published what. Listeners are told of every new revision; they must be quick."""

    def __init__(self) -> None:
        self._published: dict[SourceId, Published] = {}
        self._touched: dict[SourceId, frozenset[str] | None] = {}
        self._problems: dict[SourceId, tuple[Artifact, str]] = {}
        self._listeners: list[Callable[[SourceId], None]] = []
        self._seekers: list[Callable[[SourceId], None]] = []

    def on_demand(self, seeker: Callable[[SourceId], None]) -> None:
        """Tell `seeker` when a source is asked for that has nothing here: it may be published elsewhere."""
        self._seekers.append(seeker)

    def on_change(self, listener: Callable[[SourceId], None]) -> None:
        self._listeners.append(listener)

    def get(self, source: SourceId) -> Published | None:
        found = self._published.get(source)
        if found is None:
            self._seek(source)
        return found

    def known(self, source: SourceId) -> Published | None:
        """The same, for who looks after it: nobody else is asked for it."""
        return self._published.get(source)

    def touched(self, source: SourceId) -> frozenset[str] | None:
        """The directories in or below which the last publication differs from the one before; None: from nothing."""
        return self._touched.get(source)

    def trees(self) -> set[str]:
        """The digests of all trees that are on offer: as long as they are, their contents are needed."""
        return {published.snapshot.tree.digest for published in self._published.values()}

    def put(self, source: SourceId, published: Published) -> None:
        """Record a publication and tell everybody, unless it is what was there."""
        before = self._published.get(source)
        self._published[source] = published
        self._problems.pop(source, None)
        if (
            before is None
            or before.artifact.digest != published.artifact.digest
            or (before.artifact.revision != published.artifact.revision)
        ):
            self._touched[source] = touched(before.snapshot.tree, published.snapshot.tree) if before else None
            self._tell(source)

    def blame(self, source: SourceId, artifact: Artifact, words: str) -> bool:
        """Record why `artifact` cannot be had; whether that is news. Who waits for a first one is told."""
        before = self._problems.get(source)
        self._problems[source] = (artifact, words)
        news = before is None or before[0] != artifact
        if news and source not in self._published:
            self._tell(source)
        return news

    def problem(self, source: SourceId) -> str:
        """Why the newest artifact of `source` cannot be had, as far as it is known."""
        return self._problems.get(source, (None, ""))[1]

    def drop(self, source: SourceId) -> None:
        """The source is gone. What was applied from it stays."""
        self._problems.pop(source, None)
        self._touched.pop(source, None)
        if self._published.pop(source, None) is not None:
            self._seek(source)  # it may only have come into other hands

    def _seek(self, source: SourceId) -> None:
        for seeker in self._seekers:
            seeker(source)

    def _tell(self, source: SourceId) -> None:
        for listener in self._listeners:
            listener(source)
