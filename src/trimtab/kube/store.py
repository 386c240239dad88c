"""The objects that a watch keeps, decoded, and what changes mean to those who listen. No I/O."""

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from trimtab.kube import watch
from trimtab.manifests.refs import Key

log = logging.getLogger(__name__)

_LONGEST_WORDS = 300

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Applied(Generic[T]):
    """An object exists like `new`; `old` is what was known before, None if nothing was."""

    old: T | None
    new: T


@dataclass(frozen=True, slots=True)
class Deleted(Generic[T]):
    """An object is gone from the watch. `final` is its last state, None where its absence was found by a list."""

    old: T
    final: bytes | None = None


Event: TypeAlias = Applied[T] | Deleted[T]


class Store(Generic[T]):
    """What is known of the objects of one watch.

    A list is exchanged for what was known in one go, at its end. An object that cannot be decoded is neither new nor
    gone: what was known of it stays, and `unreadable` says why.
    """

    def __init__(self, decode: Callable[[bytes], T], key_of: Callable[[T], Hashable] | None) -> None:
        self.items: dict[Any, T] = {}
        self.unreadable: dict[Key, str] = {}
        self._decode = decode
        self._key_of = key_of
        self._names: dict[Key, Hashable] = {}  # identity to key in `items`
        self._candidates: dict[Key, T | None] | None = None  # None: seen, but unreadable

    def take(self, event: watch.Event) -> list[Event[T]]:
        """Take over what the watch says, and return what that means to listeners."""
        match event:
            case watch.Init():
                self._candidates = {}
                return []
            case watch.InitDone():
                return self._exchange()
            case watch.Apply(thing):
                new = self._read(thing)
                if self._candidates is not None:
                    self._candidates[thing.key] = new
                    return []
                return [] if new is None else [Applied(self._put(thing.key, new), new)]
            case watch.Delete(thing):
                self.unreadable.pop(thing.key, None)
                if self._candidates is not None:
                    self._candidates.pop(thing.key, None)
                    return []
                old = self._drop(thing.key)
                return [] if old is None else [Deleted(old, thing.raw)]

    def _exchange(self) -> list[Event[T]]:
        candidates, self._candidates = self._candidates or {}, None
        events: list[Event[T]] = []
        for key in [key for key in self._names if key not in candidates]:
            old = self._drop(key)
            if old is not None:
                events.append(Deleted(old))
        self.unreadable = {key: why for key, why in self.unreadable.items() if key in candidates}
        for key, new in candidates.items():
            if new is None:
                continue
            old = self._put(key, new)
            if old is None or old != new:
                events.append(Applied(old, new))
        return events

    def _read(self, thing: watch.Object) -> T | None:
        try:
            new = self._decode(thing.raw)
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError) as failure:
            why = f"{type(failure).__name__}: {failure}"[:_LONGEST_WORDS]
            if self.unreadable.get(thing.key) != why:
                log.warning("%s cannot be read and is left as it was known: %s", thing.key, why)
            self.unreadable[thing.key] = why
            return None
        self.unreadable.pop(thing.key, None)
        return new

    def _put(self, key: Key, new: T) -> T | None:
        name = self._key_of(new) if self._key_of is not None else key
        old = self._drop(key)
        self._names[key] = name
        self.items[name] = new
        return old

    def _drop(self, key: Key) -> T | None:
        if key not in self._names:
            return None
        return self.items.pop(self._names.pop(key), None)
