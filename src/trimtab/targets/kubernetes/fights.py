"""Fights: two writers that undo each other. Whoever goes on correcting for ever only makes load. No I/O.

After three corrections of one path in ten minutes that the same other manager undid, we yield to it until the next
revision or request (ENGINE.md §8). A single path leaves what we apply, where that is possible; the order of a list or
the existence of an object cannot, so then the whole object is left as it is.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from trimtab.manifests import codec
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes.desired import MANAGER, Desired

ROUNDS = 3
WINDOW_S = 600.0
MOST_ROUNDS = 60
"""So many corrections of one object in the window are a fight, whatever the paths and whoever the others are."""
_MOST_PATHS = 100
_SHOWN = 5


class Blow(NamedTuple):
    """One change of a field of ours: where, and who made it (empty: who removes a field leaves no name)."""

    path: str
    manager: str


class Fight(NamedTuple):
    """What has been yielded. `pointer` is the part of the object that is left out; empty: the object as a whole.

    `ours` is the field manager that fought for us.
    """

    ref: Ref
    path: str
    manager: str
    pointer: str = ""
    ours: str = MANAGER

    def __str__(self) -> str:
        other = self.manager or "another writer"
        what = f"{self.ref} {self.path}" if self.path else f"{self.ref}, which is deleted again and again"
        scope = "it" if self.pointer or not self.path else "the object"
        return (
            f"{what}: {self.ours} and {other} undid each other's change {ROUNDS} times in {WINDOW_S / 60:g} minutes; "
            f"{scope} is left to {other} until the next revision or request"
        )


class Fights:
    """The corrections of one cluster, as far as they are recent, and what was yielded. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._rounds: dict[Ref, dict[Blow, list[float]]] = {}
        self._open: dict[Key, dict[Ref, tuple[Fight, ...]]] = {}

    def corrected(self, ref: Ref, blows: Iterable[Blow], now: float) -> None:
        """Each of `blows` has been undone by us."""
        rounds = self._rounds.setdefault(ref, {})
        for blow in blows:
            if blow in rounds or len(rounds) < _MOST_PATHS:
                rounds.setdefault(blow, []).append(now)

    def smoulders(self, ref: Ref, now: float) -> bool:
        """Whether one more correction of `ref` may be one too many, so that the next has to be looked at first."""
        self._cool(ref, now)
        rounds = self._rounds.get(ref, {})
        return any(len(times) >= ROUNDS for times in rounds.values()) or self._many(rounds)

    def lost(self, ref: Ref, blows: Sequence[Blow], now: float) -> list[Blow]:
        """Those of `blows` that are not to be answered by another correction."""
        self._cool(ref, now)
        rounds = self._rounds.get(ref, {})
        if self._many(rounds):
            return list(blows)
        return [blow for blow in blows if len(rounds.get(blow, ())) >= ROUNDS]

    def give_up(self, app: Key, fights: Sequence[Fight]) -> None:
        """From now on, and until `forgive`, what `fights` name is the others'."""
        for fight in fights:
            known = self._open.setdefault(app, {})
            others = tuple(each for each in known.get(fight.ref, ()) if each.path != fight.path)
            known[fight.ref] = (*others, fight)

    def open(self, app: Key) -> list[Fight]:
        """What `app` has yielded."""
        return [fight for fights in self._open.get(app, {}).values() for fight in fights]

    def forgive(self, app: Key) -> list[Ref]:
        """Start anew; the objects of which something had been yielded."""
        refs = list(self._open.pop(app, ()))
        for ref in refs:
            self._rounds.pop(ref, None)
        return refs

    def keep(self, app: Key, refs: Collection[Ref]) -> None:
        """`app` desires `refs` and nothing else any more."""
        known = self._open.get(app)
        if known is None:
            return
        for ref in [ref for ref in known if ref not in refs]:
            del known[ref]
            self._rounds.pop(ref, None)
        if not known:
            del self._open[app]

    def pointers(self, app: Key, ref: Ref) -> set[str]:
        """The parts of `ref` that are left out of what is applied."""
        if app not in self._open:
            return set()
        return {fight.pointer for fight in self._open.get(app, {}).get(ref, ()) if fight.pointer}

    def words(self, app: Key) -> str:
        """What has been yielded, for the status; empty for nothing."""
        fights = self.open(app)
        more = [f"and {len(fights) - _SHOWN} more"] if len(fights) > _SHOWN else []
        return "; ".join([*map(str, fights[:_SHOWN]), *more])

    def _cool(self, ref: Ref, now: float) -> None:
        rounds = self._rounds.get(ref)
        if rounds is None:
            return
        for blow, times in list(rounds.items()):
            recent = [time for time in times if time > now - WINDOW_S]
            if recent:
                rounds[blow] = recent
            else:
                del rounds[blow]
        if not rounds:
            del self._rounds[ref]

    def _many(self, rounds: dict[Blow, list[float]]) -> bool:
        return sum(map(len, rounds.values())) >= MOST_ROUNDS


def without_parts(item: Desired, pointers: Collection[str]) -> Desired:
    """`item` as it is applied while `pointers` are left to others: that is another wish."""
    left = tuple(sorted({*item.ignored, *pointers}))
    if left == item.ignored:
        return item
    return item._replace(ignored=left, digest=codec.digest([item.digest, left]))
