"""Objects that are ours and in no inventory: reported, never deleted (ENGINE.md, P9)."""

import logging
from collections.abc import Callable, Iterable, Mapping

from trimtab.api.kustomize import Kustomization
from trimtab.base.clock import Clock
from trimtab.controllers.app import App
from trimtab.controllers.claims import Spot
from trimtab.controllers.place import Place
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes.sighting import Sighting

log = logging.getLogger(__name__)

LOOK_S = 10.0
"""How often what the watches hold is compared with the inventories; costs no request."""
_SHOWN = 20


class Orphans:
    """Looks for ever. `tell` writes the warning of an app that still exists; of others only the log can speak.

    `shared`: other processes look after other apps, and an app that is not here may be one of theirs.
    """

    def __init__(
        self,
        places: Iterable[Place],
        objects: Mapping[Key, Kustomization],
        apps: Mapping[Key, App],
        tell: Callable[[Kustomization, str], None],
        clock: Clock,
        *,
        shared: bool = False,
    ) -> None:
        self._shared = shared
        self._places = places
        self._objects = objects
        self._apps = apps
        self._tell = tell
        self._clock = clock
        self._suspected: dict[Spot, Key] = {}
        self._told: dict[Key, frozenset[Ref]] = {}

    async def run(self) -> None:
        """Compare, at the pace."""
        while True:
            await self._clock.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """One comparison. What is found twice in a row is told once: the first time it may be on its way."""
        found = self.find()
        certain: dict[Key, set[Ref]] = {}
        for spot in found.keys() & self._suspected.keys():
            certain.setdefault(found[spot], set()).add(spot.ref)
        self._suspected = found
        for key, refs in certain.items():
            if self._told.get(key, frozenset()) != frozenset(refs):
                self._report(key, sorted(refs))
        self._told = {key: frozenset(refs) for key, refs in certain.items()}

    def find(self) -> dict[Spot, Key]:
        """Every orphan, with the app whose labels it carries."""
        found: dict[Spot, Key] = {}
        for place in self._places:
            recorded: set[Ref] = set()
            for app in self._apps.values():
                if app.place is None or app.place.cluster == place.cluster:
                    recorded.update(app.inventory)
            for sighting in place.target.watches.sightings():
                key = sighting.owner.key if sighting.owner is not None else None
                if key is None or sighting.ref in recorded or not self._ours(sighting, key):
                    continue
                if place.home or self._goes_to(key, place):
                    found[Spot(place.cluster, sighting.ref)] = key
        return found

    def _goes_to(self, key: Key, place: Place) -> bool:
        """In another cluster, another controller may have an app of the same name."""
        app = self._apps.get(key)
        return app is not None and app.place is place

    def _ours(self, sighting: Sighting, key: Key) -> bool:
        """Labels alone mean nothing: we applied it, and nobody else controls it. An app not read yet may know it."""
        if self._shared and key not in self._objects:
            return False
        unread = key in self._objects and (key not in self._apps or bool(self._apps[key].problem))
        return bool(sighting.owned) and not sighting.controlled and not unread

    def _report(self, key: Key, refs: list[Ref]) -> None:
        more = f" and {len(refs) - _SHOWN} more" if len(refs) > _SHOWN else ""
        listed = ", ".join(map(str, refs[:_SHOWN])) + more
        message = f"in no inventory and never deleted by us: {listed}. Delete them, or declare them again"
        if (ks := self._objects.get(key)) is not None:
            self._tell(ks, message)
        else:
            log.warning("Kustomization %s, which is gone: %s", key, message)
