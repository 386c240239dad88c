"""What is known about each object an app owns, and what an event about it means. No I/O.

A `Baseline` comes from the answer to one of our own applies, never from a read or an event: by then a drifted path has
already left the set of fields we own (ENGINE.md §8, D4).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from trimtab.health.assess import assess
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes.judging import Judge
from trimtab.targets.kubernetes.sighting import Sighting

CORRECTIONS = 30.0
CORRECTION_S = 2.0
"""So many corrections of one object in a row, then one every so many seconds: a fight must not become a hot loop."""

UNSEEN = Verdict(State.Unknown, "not seen yet")
SPENT = Verdict(State.Current, "ran to its end, and is removed for that")
GONE = Verdict(State.NotFound, "the object is not there")


class News(Enum):
    """What an event means for the app that owns the object."""

    NOTHING = auto()
    HEALTH = auto()
    DISTURBED = auto()


@dataclass(slots=True)
class Tracked:
    """One object of one app.

    `seen` is the newest look, `baseline` the answer to our last apply, `accepted` a disturbance that was reported and
    is left alone on purpose, `foreign` that fields of kubectl are to be taken over, whether it was seen yet or not.
    """

    ref: Ref
    app: Key
    desired: str = ""
    baseline: Sighting | None = None
    seen: Sighting | None = None
    accepted: Sighting | None = None
    missing: bool = False
    suspect: bool = False
    foreign: bool = False
    in_flight: int = 0
    _held: list[Sighting | None] = field(default_factory=list)
    _corrections: float = CORRECTIONS
    _corrected_at: float = 0.0

    @property
    def verdict(self) -> Verdict:
        if self.missing:
            return GONE
        if self.seen is not None and self.seen.spent:
            return SPENT
        return self.seen.verdict if self.seen else UNSEEN

    def as_wished(self, digest: str) -> bool:
        """The last apply was of exactly this wish, and nothing has disturbed it since."""
        return self.desired == digest and self.baseline is not None and not self.suspect and not self.missing

    def applied(self, digest: str, answer: Sighting) -> None:
        """Take the answer to an apply as the new baseline."""
        self.desired, self.baseline = digest, answer
        if self.seen is None or self.seen.older_than(answer) or self.seen.uid != answer.uid:
            self.seen = answer
        self.accepted = None
        self.suspect = self.missing = self.foreign = False

    def accept(self) -> None:
        """The disturbance has been reported and is not to be corrected: it is no news until it changes."""
        self.accepted, self.suspect = self.seen, False

    def may_correct(self, now: float) -> bool:
        """Whether a correction may go ahead at `now` (monotonic seconds); it is counted."""
        refilled = self._corrections + (now - self._corrected_at) / CORRECTION_S
        self._corrections, self._corrected_at = min(CORRECTIONS, refilled), now
        if self._corrections < 1:
            return False
        self._corrections -= 1
        return True

    def hold(self) -> None:
        """An apply is on its way: its own event may overtake its answer, so events are kept until `release`."""
        self.in_flight += 1

    def release(self) -> News:
        """The answer is here: look at what was held."""
        self.in_flight -= 1
        news = News.NOTHING
        if self.in_flight == 0:
            held, self._held = self._held, []
            for sighting in held:
                news = max(news, self.observe(sighting), key=lambda item: item.value)
        return news

    def observe(self, sighting: Sighting | None) -> News:
        """An event: the object as it is now, or None when the watch says it is gone."""
        if self.in_flight:
            self._held.append(sighting)
            return News.NOTHING
        before = self.verdict
        if sighting is None and self.seen is not None and self.seen.spent:
            return News.NOTHING
        if sighting is None:
            # a label that was stripped looks the same as a deletion: whoever acts on it asks the server first (D7)
            self.suspect = self.missing = True
            return News.DISTURBED
        if self.seen is not None and sighting.older_than(self.seen):
            return News.NOTHING
        resumed = self.seen is not None and self.seen.paused and not sighting.paused
        self.seen, self.missing = sighting, False
        if resumed:
            # what became of it meanwhile was left alone on purpose: now somebody has to look
            self.suspect = True
            return News.DISTURBED
        if self.baseline is not None and not self.suspect and not self._as_known(sighting, self.baseline):
            self.suspect = True
            return News.DISTURBED
        return News.HEALTH if self.verdict != before else News.NOTHING

    def look(self, sighting: Sighting) -> News:
        """A read of the object, for what no event tells: a verdict that depends on the time."""
        if self.seen is not None and (sighting.uid, sighting.version) == (self.seen.uid, self.seen.version):
            before, self.seen = self.verdict, sighting
            return News.HEALTH if self.verdict != before else News.NOTHING
        return self.observe(sighting)

    def _as_known(self, sighting: Sighting, baseline: Sighting) -> bool:
        return sighting.undisturbed(baseline) or (self.accepted is not None and sighting.undisturbed(self.accepted))


class Tracker:
    """All tracked objects of one cluster, by identity.

    `tell` hears what an event means for an app; `last_seen` knows what a watch last showed of an object; `judge` says
    how an object is doing.
    """

    def __init__(
        self, tell: Callable[[Key, News], None], last_seen: Callable[[Ref], Sighting | None], judge: Judge = assess
    ) -> None:
        self.judge = judge
        self._objects: dict[Ref, Tracked] = {}
        self._tell = tell
        self._last_seen = last_seen

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, ref: Ref) -> Tracked | None:
        return self._objects.get(ref)

    def track(self, ref: Ref, app: Key) -> Tracked:
        """The record of `ref` for `app`; an object taken over from another app starts anew."""
        known = self._objects.get(ref)
        if known is None or known.app != app:
            known = self._objects[ref] = Tracked(ref, app, seen=self._last_seen(ref))
        return known

    def forget(self, ref: Ref, app: Key) -> None:
        """`app` no longer owns `ref`."""
        known = self._objects.get(ref)
        if known is not None and known.app == app:
            del self._objects[ref]

    def observe(self, ref: Ref, sighting: Sighting | None) -> None:
        """An event of a shared watch."""
        known = self._objects.get(ref)
        if known is not None:
            self.report(known, known.observe(sighting))

    def report(self, tracked: Tracked, news: News) -> None:
        """Pass on what matters."""
        if news is not News.NOTHING:
            self._tell(tracked.app, news)
