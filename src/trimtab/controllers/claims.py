"""Which app desires which object at which revision, as planned by this process. Pure; everything here can be lost.

All apps share one field manager, so the server cannot tell two of them apart: whoever is about to apply or to delete
asks here first (ENGINE.md §6).
"""

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, replace
from typing import NamedTuple

from trimtab.controllers.index import SourceId
from trimtab.manifests.refs import Key, Ref

_NOBODY: frozenset[Key] = frozenset()


class Spot(NamedTuple):
    """An object in one cluster: apps that go to different clusters never meet."""

    cluster: str
    ref: Ref


@dataclass(frozen=True, slots=True)
class Claim:
    """What one app desires. `inputs` names the build; `children` are the apps among them."""

    source: SourceId
    revision: str
    generation: int
    inputs: str
    spots: frozenset[Spot]
    children: frozenset[Key]

    def moved(self, revision: str, generation: int) -> "Claim":
        """The same objects at another revision."""
        return replace(self, revision=revision, generation=generation)


class Claims:
    """The claims of all apps. `wake` gives an app another pass, when what it waits for has happened."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        self.wake = wake
        self._claims: dict[Key, Claim] = {}
        self._by_spot: dict[Spot, set[Key]] = {}
        self._granted: dict[Spot, Key] = {}
        self._contending: dict[Key, set[Key]] = {}
        self._missing: dict[SourceId, set[Key]] = {}
        self._awaiting: dict[SourceId, set[Key]] = {}
        self._parting: dict[Spot, set[Key]] = {}
        self._parted: dict[Key, frozenset[Spot]] = {}

    def get(self, key: Key) -> Claim | None:
        return self._claims.get(key)

    def of_source(self, source: SourceId) -> Iterable[tuple[Key, Claim]]:
        """The claims of all apps fed by `source`."""
        return ((key, claim) for key, claim in self._claims.items() if claim.source == source)

    def claimants(self, spot: Spot) -> Set[Key]:
        """The apps that desire `spot`."""
        return self._by_spot.get(spot, _NOBODY)

    def record(self, key: Key, claim: Claim) -> None:
        """`key` has planned."""
        before = self._claims.get(key)
        if before != claim:
            self._claims[key] = claim
            self._reindex(key, before.spots if before else frozenset(), claim.spots)
            self._arrived(key, claim.source)

    def forget(self, key: Key) -> None:
        """`key` desires nothing any more: it is gone, or going."""
        before = self._claims.pop(key, None)
        if before is not None:
            self._reindex(key, before.spots, frozenset())
        self._release(key)
        self.part(key, ())
        for missing in list(self._missing):
            self._arrived(key, missing)

    def grant(self, spot: Spot, key: Key) -> None:
        """`key` is the one that applies `spot`, until it no longer claims it."""
        self._granted[spot] = key

    def granted(self, spot: Spot) -> Key | None:
        """Who may apply `spot` as long as it claims it."""
        return self._granted.get(spot)

    def contend(self, key: Key, holders: Iterable[Key]) -> None:
        """Wake `key` when one of `holders` changes its mind."""
        for holder in holders:
            self._contending.setdefault(holder, set()).add(key)

    def wait_for(self, key: Key, source: SourceId, missing: Iterable[Key]) -> None:
        """Wake `key` when all of `missing` have planned."""
        self._missing[source] = set(missing)
        self._awaiting.setdefault(source, set()).add(key)

    def part(self, key: Key, spots: Iterable[Spot]) -> None:
        """Wake `key` when another app has applied one of `spots`: it has them on record and desires them no more."""
        for spot in self._parted.pop(key, ()):
            self._parting[spot].discard(key)
            if not self._parting[spot]:
                del self._parting[spot]
        if parted := frozenset(spots):
            self._parted[key] = parted
        for spot in parted:
            self._parting.setdefault(spot, set()).add(key)

    def taken_over(self, me: Key, spot: Spot) -> None:
        """`me` has applied `spot`: who parts from it can let it go."""
        for key in self._parting.get(spot, _NOBODY):
            if key != me:
                self.wake(key)

    def _reindex(self, key: Key, before: frozenset[Spot], after: frozenset[Spot]) -> None:
        for spot in before - after:
            self._by_spot[spot].discard(key)
            if not self._by_spot[spot]:
                del self._by_spot[spot]
            if self._granted.get(spot) == key:
                del self._granted[spot]
        for spot in after - before:
            self._by_spot.setdefault(spot, set()).add(key)
        if before - after:
            self._release(key)

    def _release(self, holder: Key) -> None:
        for key in self._contending.pop(holder, ()):
            self.wake(key)

    def _arrived(self, key: Key, source: SourceId) -> None:
        self._release(key)
        missing = self._missing.get(source)
        if missing is not None:
            missing.discard(key)
            if not missing:
                del self._missing[source]
                for waiting in self._awaiting.pop(source, ()):
                    self.wake(waiting)
