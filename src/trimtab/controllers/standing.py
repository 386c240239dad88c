"""The sources of all kinds as the cluster shows them, for those that depend on them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from trimtab.controllers.offering import Offered, Offering
from trimtab.kube.informer import Event, Informer
from trimtab.manifests.refs import Key

Stores: TypeAlias = Mapping[str, Mapping[Key, Offering]]
"""Kind, then key."""


class Standing:
    """Kinds may join at any time; the one listener is told of the events of all of them."""

    def __init__(self) -> None:
        self.stores: dict[str, Mapping[Key, Offering]] = {}
        self.listener: Callable[[str, Event[Any]], None] = lambda _kind, _event: None

    def follow(self, kind: str, informer: Informer[Offered]) -> None:
        """Let the objects of `informer`, all of one kind, be known here."""
        self.stores[kind] = informer.store
        informer.add_handler(partial(self._heard, kind))

    def _heard(self, kind: str, event: Event[Any]) -> None:
        self.listener(kind, event)
