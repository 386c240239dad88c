"""Charts come back when their source moved, and not only at their interval."""

from typing import Any

from trimtab.api.gvk import HELM_CHART, HELM_REPOSITORY
from trimtab.api.helm import HelmChart, HelmRepository
from trimtab.controllers.index import SourceId, SourceIndex
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests.refs import Gvk, Key
from trimtab.runtime.controller import Controller


class ChartWaker:
    """Knows the HelmCharts of this process, and queues those of a source that published, came, went or was changed.

    The kinds may be installed in any order, and late.
    """

    def __init__(self, index: SourceIndex) -> None:
        self._objects: Informer[HelmChart] | None = None
        self._controller: Controller[Key] | None = None
        index.on_change(self._wake)

    def follow(self, gvk: Gvk, objects: Informer[Any], controller: Controller[Key]) -> None:
        """Take notice of the objects of one kind of source; those of most kinds do not matter."""
        if gvk == HELM_CHART:
            self._objects, self._controller = objects, controller
        elif gvk == HELM_REPOSITORY:
            objects.add_handler(self._hear)

    def _hear(self, event: Event[HelmRepository]) -> None:
        if not isinstance(event, Applied):
            self._wake(SourceId(HELM_REPOSITORY.kind, event.old.key))
        elif event.old is None or _asks(event.old) != _asks(event.new):
            self._wake(SourceId(HELM_REPOSITORY.kind, event.new.key))

    def _wake(self, source: SourceId) -> None:
        if self._objects is None or self._controller is None:
            return
        for chart in self._objects.store.values():
            if (chart.spec.source_ref.kind, chart.source_key) == source:
                self._controller.queue.forget(chart.key)
                self._controller.queue.add(chart.key)


def _asks(repository: HelmRepository) -> tuple[object, ...]:
    """What a person may change of it; a reconcile is asked for by an annotation."""
    return repository.metadata.generation, repository.metadata.annotations
