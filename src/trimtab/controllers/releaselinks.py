"""Which releases have their chart from where, and which depend on which: a look-up instead of a walk over all of them.

A thousand releases have a thousand HelmCharts, and each of those moves several times while they are installed.
"""

from collections.abc import Iterable

from trimtab.api.helmrelease import HelmRelease
from trimtab.controllers.charting import source_of
from trimtab.controllers.index import SourceId
from trimtab.controllers.releasedependencies import needs
from trimtab.manifests.refs import Key


class ReleaseLinks:
    """Kept as the objects come, change and go."""

    def __init__(self) -> None:
        self._linked: dict[Key, frozenset[SourceId | Key]] = {}
        self._releases: dict[SourceId | Key, set[Key]] = {}

    def take(self, hr: HelmRelease) -> None:
        """`hr` is there, as it is."""
        self._link(hr.key, frozenset((source_of(hr), *needs(hr))))

    def drop(self, key: Key) -> None:
        """The release `key` is gone."""
        self._link(key, frozenset())

    def of_source(self, source: SourceId) -> Iterable[Key]:
        """The releases whose chart is from `source`."""
        return tuple(self._releases.get(source, ()))

    def dependents(self, key: Key) -> Iterable[Key]:
        """The releases that depend on `key`."""
        return tuple(self._releases.get(key, ()))

    def _link(self, key: Key, wished: frozenset[SourceId | Key]) -> None:
        known = self._linked.pop(key, frozenset())
        for end in known - wished:
            left = self._releases[end]
            left.discard(key)
            if not left:
                del self._releases[end]
        for end in wished - known:
            self._releases.setdefault(end, set()).add(key)
        if wished:
            self._linked[key] = wished
