"""The sources of all kinds as the cluster shows them, for those that depend on them."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

from trimtab.controllers.offering import Offered, Offering
from trimtab.kube.informer import Event, Informer
from trimtab.manifests.refs import Key

Stores: TypeAlias = Mapping[str, Mapping[Key, Offering]]
"""Kind, then key."""


class _Both(Mapping[Key, Offering]):
    """What two watches of a kind show, each with objects of its own."""

    def __init__(self, one: Mapping[Key, Offering], other: Mapping[Key, Offering]) -> None:
        self._parts = (one, other)

    def __getitem__(self, key: Key) -> Offering:
        one, other = self._parts
        return one[key] if key in one else other[key]

    def __iter__(self) -> Iterator[Key]:
        one, other = self._parts
        yield from one
        yield from (key for key in other if key not in one)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Standing:
    """Kinds may join at any time; listeners are told of the events of all of them."""

    def __init__(self) -> None:
        self.stores: dict[str, Mapping[Key, Offering]] = {}
        self._listeners: list[Callable[[str, Event[Any]], None]] = []

    def follow(self, kind: str, informer: Informer[Offered]) -> None:
        """Let the objects of `informer`, all of one kind, be known here, beside those of the kind that are already."""
        before = self.stores.get(kind)
        self.stores[kind] = informer.store if before is None else _Both(informer.store, before)
        informer.add_handler(partial(self._heard, kind))

    def on_event(self, listener: Callable[[str, Event[Any]], None]) -> None:
        """Call `listener` with every event and its kind; it must be quick."""
        self._listeners.append(listener)

    def _heard(self, kind: str, event: Event[Any]) -> None:
        for listener in self._listeners:
            listener(kind, event)
