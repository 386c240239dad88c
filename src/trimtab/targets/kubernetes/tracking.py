"""What is known about each object an app owns, and what an event about it means. No I/O.

A `Baseline` comes from the answer to one of our own applies, or to a rehearsal that changes nothing, never from a read
or an event: by then a drifted path has already left the set of fields we own (ENGINE.md §8, D4).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from trimtab.health.assess import assess
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes.judging import Judge
from trimtab.targets.kubernetes.sighting import Look, Sighting

UNSEEN = Verdict(State.Unknown, "not seen yet")
SPENT = Verdict(State.Current, "ran to its end, and is removed for that")
GONE = Verdict(State.NotFound, "the object is not there")


FOUGHT = "fight"
REWRITTEN = "admission"
"""Why an object is left as it is in every mode, until the next revision or request."""
REWRITES = 3
"""So many applies in a row that changed an object although the same was wished: there is no end to it (D9)."""


class News(Enum):
    """What an event means for the app that owns the object."""

    NOTHING = auto()
    HEALTH = auto()
    DISTURBED = auto()


@dataclass(slots=True)
class Tracked:
    """One object of one app.

    `seen` is the newest look, `baseline` the answer to our last apply, `foreign` that fields of kubectl are to be taken
    over, whether it was seen yet or not. `left` says why a disturbance stays on purpose (a mode of drift, or what
    overrules it; empty: it does not), `accepted` what the object was then (None: gone), `told` the digest of what was
    said about it.
    `looked_at` is when a kind that cannot be watched was read last, in monotonic seconds.
    """

    ref: Ref
    app: Key
    desired: str = ""
    baseline: Sighting | None = None
    seen: Sighting | None = None
    accepted: Sighting | None = None
    left: str = ""
    missing: bool = False
    suspect: bool = False
    foreign: bool = False
    in_flight: int = 0
    told: str = ""
    rewrites: int = 0
    looked_at: float = 0.0
    _held: list[Sighting | None] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        if self.missing:
            return GONE
        if self.seen is not None and self.seen.spent:
            return SPENT
        return self.seen.verdict if self.seen else UNSEEN

    def as_wished(self, digest: str, mode: str = "correct") -> bool:
        """The last apply was of exactly this wish, and what has disturbed it since, if anything, may stay in `mode`."""
        if self.desired != digest or self.suspect:
            return False
        if self.left:
            return self.left in (mode, FOUGHT, REWRITTEN)
        return self.baseline is not None and not self.missing

    def applied(self, digest: str, answer: Sighting) -> None:
        """Take the answer to an apply as the new baseline."""
        if self.desired != digest:
            self.rewrites = 0
        self.desired, self.baseline = digest, answer
        if self.seen is None or self.seen.older_than(answer) or self.seen.uid != answer.uid:
            self.seen = answer
        self.accepted, self.left, self.told = None, "", ""
        self.suspect = self.missing = self.foreign = False

    def leave(self, why: str, digest: str, found: Sighting | None) -> None:
        """The object stays as it was found, None for gone: that is no news until it changes again, or goes back."""
        self.desired, self.left, self.accepted = digest, why, found
        # what was seen meanwhile may be another change, which nobody has looked at
        self.suspect = found is not None and self.seen is not None and not self.seen.older_than(found)
        self.missing = found is None
        if found is not None and (self.seen is None or self.seen.older_than(found) or self.seen.uid != found.uid):
            self.seen = found

    def doubt(self) -> bool:
        """Have it looked at in the next pass although nothing tells of a change. Says whether that is news."""
        if self.suspect or self.left or self.baseline is None:
            return False
        self.suspect = True
        return True

    def start_over(self) -> None:
        """Forget every version: the server does not remember them either."""
        self.baseline = self.seen = self.accepted = None
        self.left = ""
        self.suspect, self.missing = True, False

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
        if sighting is None and self.left and self.accepted is None:
            return News.NOTHING
        if sighting is None:
            # a label that was stripped looks the same as a deletion: whoever acts on it asks the server first (D7)
            self.suspect = self.missing = True
            return News.DISTURBED
        if self.seen is not None and sighting.older_than(self.seen):
            if not self.missing or sighting.version != self.seen.version:
                return News.NOTHING
            # the one before it went while it was created, and the answer was here before either event
            self.missing = False
            return News.HEALTH
        resumed = self.seen is not None and self.seen.paused and not sighting.paused
        self.seen, self.missing = sighting, False
        if resumed:
            # what became of it meanwhile was left alone on purpose: now somebody has to look
            self.suspect = True
            return News.DISTURBED
        # What is on its way out is past correcting: when it is gone, it is missing.
        if not self.suspect and not sighting.leaving and self._disturbed(sighting):
            self.suspect = True
            return News.DISTURBED
        return News.HEALTH if self.verdict != before else News.NOTHING

    def look(self, sighting: Sighting) -> News:
        """A read of the object, for what no event tells: a verdict that depends on the time."""
        if self.seen is not None and (sighting.uid, sighting.version) == (self.seen.uid, self.seen.version):
            before, self.seen = self.verdict, sighting
            return News.HEALTH if self.verdict != before else News.NOTHING
        return self.observe(sighting)

    def known(self, look: Look) -> Sighting | None:
        """What was seen of the object at just that version, by an answer or an event, if it holds whatever the time."""
        for sighting in (self.seen, self.baseline, *self._held):
            if sighting is not None and sighting.due is None and sighting.look == look:
                return sighting
        return None

    def _disturbed(self, sighting: Sighting) -> bool:
        """Something is other than it was when that was last found to be right, or to be left."""
        if self.left in (FOUGHT, REWRITTEN):
            return self.accepted is None
        if self.left:
            return self.accepted is None or not sighting.unchanged(self.accepted)
        return self.baseline is not None and not sighting.undisturbed(self.baseline)


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
        self._of: dict[Key, dict[Ref, Tracked]] = {}
        self._tell = tell
        self._last_seen = last_seen

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Tracked]:
        return iter(list(self._objects.values()))

    def get(self, ref: Ref) -> Tracked | None:
        return self._objects.get(ref)

    def of(self, app: Key) -> list[Tracked]:
        """The objects of `app`."""
        return list(self._of.get(app, {}).values())

    def known(self, ref: Ref, look: Look) -> Sighting | None:
        """What was seen of `ref` at just that version: to look at it once more tells nothing."""
        tracked = self._objects.get(ref)
        return tracked.known(look) if tracked is not None and not tracked.left else None

    def closely(self, ref: Ref) -> bool:
        """Whether of `ref` fields matter, too, that are no longer ours."""
        known = self._objects.get(ref)
        return known is not None and bool(known.left)

    def track(self, ref: Ref, app: Key) -> Tracked:
        """The record of `ref` for `app`; an object taken over from another app starts anew."""
        known = self._objects.get(ref)
        if known is None or known.app != app:
            if known is not None:
                self.forget(ref, known.app)
            known = self._objects[ref] = Tracked(ref, app, seen=self._last_seen(ref))
            self._of.setdefault(app, {})[ref] = known
        return known

    def forget(self, ref: Ref, app: Key) -> None:
        """`app` no longer owns `ref`."""
        known = self._objects.get(ref)
        if known is not None and known.app == app:
            del self._objects[ref]
            del self._of[app][ref]
            if not self._of[app]:
                del self._of[app]

    def observe(self, ref: Ref, sighting: Sighting | None) -> None:
        """An event of a shared watch."""
        known = self._objects.get(ref)
        if known is not None:
            self.report(known, known.observe(sighting))

    def report(self, tracked: Tracked, news: News) -> None:
        """Pass on what matters."""
        if news is not News.NOTHING:
            self._tell(tracked.app, news)
