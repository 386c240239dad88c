"""Drift: confirm it, correct it where that is wanted, and say what differed, who did it and when (ENGINE.md §8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trimtab.base.clock import Clock
from trimtab.diff import fields
from trimtab.diff.compare import Difference
from trimtab.diff.fields import Writer
from trimtab.diff.mask import shown
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, Conflict, Forbidden, UnknownKind, Unreachable
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Key
from trimtab.targets import contract
from trimtab.targets.contract import Drift, Effect, Outcome
from trimtab.targets.kubernetes.apply import apply, read, reclaim, rehearse
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.fights import ROUNDS, Blow, Fight, Fights
from trimtab.targets.kubernetes.ignore import pointer_to
from trimtab.targets.kubernetes.sighting import Sighting, content, sight
from trimtab.targets.kubernetes.tracking import FOUGHT, REWRITES, REWRITTEN, News, Tracked, Tracker

CORRECT, ALERT, IGNORE = "correct", "alert", "ignore"
_HIDDEN = "hidden"
"""In the place of the digest of what was told, where no more could be told."""


class _View(NamedTuple):
    """What the app may see of a live object. `hidden`: it may not read it at all. Else `body` None: it is gone."""

    body: Body | None
    hidden: bool = False

    @property
    def gone(self) -> bool:
        return self.body is None and not self.hidden


class _Found(NamedTuple):
    """A difference, and who made it."""

    difference: Difference
    writer: Writer | None

    @property
    def blow(self) -> Blow:
        return Blow(self.difference.path, self.writer.manager if self.writer else "")


@dataclass(frozen=True, slots=True)
class Settler:
    """Settles what has become of the objects of one app: under its account, and with what is known of its fights.

    `hands_off`: it is only looked at, and not even the record of ownership is written.
    """

    client: Client
    app: Key
    tracker: Tracker
    fights: Fights
    clock: Clock
    force: bool = False
    hands_off: bool = False

    async def settle(self, item: Desired, tracked: Tracked, mode: str) -> Outcome:
        """Look at a suspect, bring it back if that is the mode, and say what differed.

        The difference to report is that between the live object and the server's answer, on the fields of the answer:
        a mere change of ownership, or a value that was changed and changed back, is no drift (D2, D3).
        Never raises for what the server or the network says: a failure is an outcome with their words.
        """
        if mode == IGNORE:
            tracked.leave(IGNORE, item.digest, None if tracked.missing else tracked.seen)
            return _unchanged(item)
        try:
            view = await self._look(item)
            if mode == CORRECT and not self.fights.smoulders(item.ref, self.clock.monotonic()):
                return await self._correct(item, tracked, view)
            return await self._rehearse(item, tracked, view, mode)
        except ApiError as failure:
            return Outcome(item.ref, Effect.FAILED, item.told(failure.message), item.origin, failure.transient)
        except (Unreachable, UnknownKind, StaleGroup) as failure:
            return Outcome(item.ref, Effect.FAILED, str(failure), item.origin)

    async def _look(self, item: Desired) -> _View:
        try:
            return _View(await read(self.client, item))
        except Forbidden:
            return _View(None, hidden=True)

    async def _correct(self, item: Desired, tracked: Tracked, view: _View) -> Outcome:
        before = tracked.baseline if tracked.desired == item.digest else None
        answer = await apply(self.client, item, tracked, self.tracker, self.clock, force=self.force)
        if answer.live is None or answer.sighting is None:
            return answer.outcome
        found = _differences(item, view, answer.live)
        if _is_rewritten(view, answer.live, found, before, answer.sighting):
            tracked.rewrites += 1
        elif not found:
            tracked.rewrites = 0
        if tracked.rewrites >= REWRITES:
            return self._stop(item, tracked, answer.sighting)
        changed = answer.outcome.effect in (Effect.CREATED, Effect.CONFIGURED)
        if not (found or view.gone or (view.hidden and changed)):
            return _unchanged(item)
        self.fights.corrected(item.ref, _blows(found, view), self.clock.monotonic())
        told = self._told(item, view, found, contract.Answer.CORRECTED)
        return told._replace(before=answer.outcome.before, after=answer.outcome.after)

    async def _rehearse(self, item: Desired, tracked: Tracked, view: _View, mode: str) -> Outcome:
        """What a correction would do. It is done only if nothing is written by it but the record of ownership."""
        resource = await self.client.discovery.find(item.gvk)
        wished = await rehearse(self.client, resource, item)
        found = _differences(item, view, wished)
        if mode == CORRECT:
            lost = self.fights.lost(item.ref, _blows(found, view), self.clock.monotonic())
            if not lost:
                return await self._correct(item, tracked, view)
            return self._give_up(item, tracked, view, wished, found, lost)
        if view.hidden:
            if not tracked.missing and tracked.baseline is not None and _same(tracked.seen, tracked.baseline):
                tracked.suspect = False  # nothing that we may know of tells that it differs
                return _unchanged(item)
            tracked.leave(ALERT, item.digest, None if tracked.missing else tracked.seen)
            tracked.told = _HIDDEN
            return self._told(item, view, (), contract.Answer.REPORTED)
        if found or view.body is None:
            words = codec.digest([list(each.difference) for each in found])
            known = tracked.left == ALERT and tracked.told == words
            tracked.told = words
            tracked.leave(ALERT, item.digest, self._sight(item, view.body))
            if tracked.suspect:
                self.tracker.report(tracked, News.DISTURBED)
            return _unchanged(item) if known else self._told(item, view, found, contract.Answer.REPORTED)
        returned = tracked.left == ALERT and bool(tracked.told)
        if self.hands_off:
            # left, and not found right: who is in charge again looks again, for fields may not be ours any more (D3)
            tracked.leave(ALERT, item.digest, self._sight(item, view.body))
            tracked.told = ""
            return self._told(item, view, (), contract.Answer.RETURNED) if returned else _unchanged(item)
        try:
            await reclaim(self.client, item, view.body, tracked, self.tracker, self.clock)
        except Conflict:
            # it moved while we looked: look again
            self.tracker.report(tracked, News.DISTURBED)
            return _unchanged(item)
        return self._told(item, view, (), contract.Answer.RETURNED) if returned else _unchanged(item)

    def _give_up(
        self, item: Desired, tracked: Tracked, view: _View, wished: Body, found: Sequence[_Found], lost: list[Blow]
    ) -> Outcome:
        """Yield: the paths where that can be done, else the whole object as it is."""
        kinds = {each.difference.path: each.difference.kind for each in found}
        fights = []
        for blow in lost:
            whole = view.body is None or not blow.path or kinds.get(blow.path) == "moved"
            pointer = "" if whole else pointer_to(item, wished, blow.path, item.manager)
            fights.append(Fight(item.ref, blow.path, blow.manager, pointer, item.manager))
        apart = all(fight.pointer for fight in fights)
        if not apart:
            fights = [fight._replace(pointer="") for fight in fights]
        self.fights.give_up(self.app, fights)
        if apart:
            # without these paths it is another wish, which the next pass applies
            self.tracker.report(tracked, News.DISTURBED)
        else:
            tracked.leave(FOUGHT, item.digest, self._sight(item, view.body))
        paths = {fight.path for fight in fights}
        disputed = [each for each in found if each.difference.path in paths]
        return self._told(item, view, disputed, contract.Answer.YIELDED, note=str(fights[0]))

    def _stop(self, item: Desired, tracked: Tracked, sighting: Sighting) -> Outcome:
        tracked.leave(REWRITTEN, item.digest, sighting)
        words = (
            f"{item.ref} is rewritten at admission: {ROUNDS} applies in a row of the same wish changed it. A mutating "
            "webhook or policy does not come to rest; the object is left as it is until the next revision or request"
        )
        return Outcome(item.ref, Effect.DRIFTED, words, item.origin)

    def _told(
        self, item: Desired, view: _View, found: Sequence[_Found], answer: contract.Answer, *, note: str = ""
    ) -> Outcome:
        writers = [each.writer for each in found if each.writer is not None]
        newest = max(writers, key=lambda writer: writer.time, default=None)
        told = shown(item.ref.kind, [each.difference for each in found], secret=item.secret)
        drift = Drift(item.ref, told, newest, self.clock.now(), answer, gone=view.gone, hidden=view.hidden, note=note)
        effect = Effect.CORRECTED if answer is contract.Answer.CORRECTED else Effect.DRIFTED
        return Outcome(item.ref, effect, str(drift), item.origin, drift=drift)

    def _sight(self, item: Desired, live: Body | None) -> Sighting | None:
        return None if live is None else sight(live, self.clock.now(), item.manager, self.tracker.judge, closely=True)


def _unchanged(item: Desired) -> Outcome:
    return Outcome(item.ref, Effect.UNCHANGED, origin=item.origin)


def _same(seen: Sighting | None, baseline: Sighting) -> bool:
    return seen is not None and seen.undisturbed(baseline)


def _differences(item: Desired, view: _View, wished: Body) -> list[_Found]:
    entry = fields.owned_entry(wished, item.manager)
    if view.body is None or entry is None:
        return []
    live = view.body
    return [
        _Found(difference, fields.who_changed(live, difference.path, manager=item.manager))
        for difference in fields.changes(live, wished, entry)
    ]


def _blows(found: Sequence[_Found], view: _View) -> list[Blow]:
    return [Blow("", "")] if view.gone else [each.blow for each in found]


def _is_rewritten(view: _View, answer: Body, found: Sequence[_Found], before: Sighting | None, after: Sighting) -> bool:
    """Whether admission made something of the apply that was not there before, and is not what was wished (D9)."""
    if view.body is None or before is None or before.uid != after.uid or before.owned != after.owned:
        return False
    if found:
        return after.projection != before.projection
    return content(view.body) != content(answer)
