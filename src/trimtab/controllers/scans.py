"""What is known of every ImageRepository: told to whoever chooses from it, the moment it is another."""

from collections.abc import Callable
from typing import NamedTuple

from trimtab.manifests.refs import Key


class Scan(NamedTuple):
    """The result of a look that is in force. The tags themselves are in the store, under `uid`.

    `digest` tells one set of tags from another; what is left out of them is not counted out. `unlisted` are tags that
    policies say they chose, and that were not listed, without it being certain that they are not there.
    """

    uid: str
    image: str
    digest: str
    exclusions: tuple[str, ...]
    unlisted: frozenset[str] = frozenset()


class Scans:
    """By ImageRepository. `on_change` is told of each that is another; `on_loss` of each whose tags were lost."""

    def __init__(self) -> None:
        self._scans: dict[Key, Scan] = {}
        self._listeners: list[Callable[[Key], None]] = []
        self._losses: list[Callable[[Key], None]] = []

    def get(self, key: Key) -> Scan | None:
        """What is in force of `key`."""
        return self._scans.get(key)

    def put(self, key: Key, scan: Scan) -> None:
        """This is in force now."""
        if self._scans.get(key) != scan:
            self._scans[key] = scan
            self._tell(self._listeners, key)

    def drop(self, key: Key) -> None:
        """Nothing is known of it any more."""
        if self._scans.pop(key, None) is not None:
            self._tell(self._listeners, key)

    def lost(self, key: Key) -> None:
        """The tags are not in the store: somebody who wanted to read them has found that."""
        self._scans.pop(key, None)
        self._tell(self._losses, key)

    def on_change(self, listener: Callable[[Key], None]) -> None:
        """Call `listener` with the key of what is another; it has to be quick and must not raise."""
        self._listeners.append(listener)

    def on_loss(self, listener: Callable[[Key], None]) -> None:
        """Call `listener` with the key of what has to be looked at again."""
        self._losses.append(listener)

    @staticmethod
    def _tell(listeners: list[Callable[[Key], None]], key: Key) -> None:
        for listener in listeners:
            listener(key)
