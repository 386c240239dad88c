"""Apps that are deleted together go one after the other: first those that depend on others (ENGINE.md §10)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from trimtab.api.kustomize import Kustomization
from trimtab.base.clock import Clock
from trimtab.controllers import dependencies
from trimtab.controllers.handover import Wait
from trimtab.controllers.ripple import Ripple
from trimtab.manifests.refs import Key

TOGETHER_S = 3.0
"""Who deletes several apps does so one by one: so long an app waits for those that depend on it to be deleted too."""
_LOOK_S = 0.5
_SHOWN = 5


@dataclass(slots=True)
class _Leave:
    """`since` is in monotonic seconds; once an app has `begun` to delete, it does not stop again."""

    uid: str
    since: float
    begun: bool = False
    overdue: bool = False


@dataclass(slots=True)
class Retreat:
    """The order in which apps leave. `objects` are all Kustomizations, by key. What it remembers can be lost."""

    objects: Mapping[Key, Kustomization]
    ripple: Ripple
    clock: Clock
    _leaves: dict[Key, _Leave] = field(default_factory=dict)

    def wait(self, ks: Kustomization) -> Wait | None:
        """What `ks` has to wait for before it deletes what it owns; None if it may go on.

        The wait for dependents that are being deleted is bounded by the timeout of `ks`.
        """
        leave = self._leave(ks)
        if leave.begun:
            return None
        going, staying = self._dependents(ks)
        waited, bound = self.clock.monotonic() - leave.since, ks.spec.timeout_s
        if going and waited < bound:
            words = f"what it owns is deleted when {_list(going)}, which depend on it, are gone; {bound:g} s at most"
            return Wait(words, bound - waited, quiet=False)
        if staying and waited < TOGETHER_S:
            return Wait("", min(_LOOK_S, TOGETHER_S - waited), quiet=True)
        return None

    def begin(self, ks: Kustomization) -> str:
        """`ks` begins to delete: what has to be said about that, once; nothing if nobody depends on it."""
        leave = self._leave(ks)
        if leave.begun:
            return ""
        leave.begun, leave.since = True, self.clock.monotonic()
        going, staying = self._dependents(ks)
        said = [f"{_list(staying)} still depend on it and stay"] if staying else []
        if going:
            said.append(f"{_list(going)}, which depend on it, are not gone after {ks.spec.timeout_s:g} s")
        return f"what it owns is deleted although {' and '.join(said)}" if said else ""

    def late(self, ks: Kustomization) -> bool:
        """Whether what `ks` owns has been on its way out for longer than its timeout."""
        return self.clock.monotonic() - self._leave(ks).since >= ks.spec.timeout_s

    def overdue(self, ks: Kustomization) -> bool:
        """The same, but only the first time that it is so."""
        leave, late = self._leave(ks), self.late(ks)
        first, leave.overdue = late and not leave.overdue, late
        return first

    def forget(self, key: Key) -> None:
        """The app is gone."""
        self._leaves.pop(key, None)

    def _leave(self, ks: Kustomization) -> _Leave:
        leave = self._leaves.get(ks.key)
        if leave is None or leave.uid != ks.metadata.uid:
            leave = self._leaves[ks.key] = _Leave(ks.metadata.uid, self.clock.monotonic())
        return leave

    def _dependents(self, ks: Kustomization) -> tuple[list[Key], list[Key]]:
        """Who depends on `ks`: those that are being deleted, and those that stay. In a circle nobody waits."""
        circle = set(dependencies.find_cycle(ks.key, self.objects))
        found = {key for key in self.ripple.dependents(ks.key) if key in self.objects} - circle - {ks.key}
        going = {key for key in found if self.objects[key].metadata.deleted}
        return sorted(going), sorted(found - going)


def _list(keys: list[Key]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(map(str, keys[:_SHOWN])) + more
