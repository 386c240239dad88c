"""One run of an automation against its repository: what was undone is left alone, the rest becomes commits.

Nothing here knows of status or events. A run may be repeated at any time: what is on the branch already is not written
again, so that a run that was cut off after a push makes no second commit.
"""

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from trimtab.base.errors import Transient
from trimtab.commits import Already, Logged, Message, Nothing, Order, Person, Push, Signer, Writer, Written
from trimtab.controllers import bumping
from trimtab.controllers.automation import Automation
from trimtab.controllers.bumping import Bumped, Bumping, Place, Undoing
from trimtab.images.message import DEFAULT
from trimtab.images.reference import Image
from trimtab.manifests.refs import Key

LOOKBACK: Final = 50
"""So many commits are looked through for what was written, and undone, before."""
_FURTHEST: Final = 1000
"""So many, where more were made since the last run: somebody may have rolled back in the meantime."""
OWN: Final = "trimtab/"
"""Branches below this are made anew from the branch that is edited."""


class Pushed(NamedTuple):
    """A commit that is on a branch now."""

    written: Written
    message: Message


class Proposal(NamedTuple):
    """A branch whose changes wait to be merged, and what they are."""

    branch: str
    message: Message


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run. `before` is the last commit of this automation that was there already.

    `newest` is the last commit that was looked through; `remembered` is what was undone before that run already, and
    the newest commit of when it was found.
    """

    head: str
    pushed: tuple[Pushed, ...]
    proposals: tuple[Proposal, ...]
    undone: Mapping[Place, str]
    bumped: Bumped | None
    before: Logged | None
    newest: str
    remembered: Mapping[Place, str]


@dataclass(frozen=True, slots=True)
class Run:
    """`spared` is what was undone before, and the newest commit of when that was found.

    `released` are policies of which that does not count: up to a commit, or ever where none is said.
    `observed` is the commit of the branch that the last run saw, empty if that is not known.
    """

    key: Key
    automation: Automation
    writer: Writer
    signer: Signer | None
    within: str
    images: Mapping[Key, Image]
    spared: Mapping[Place, str]
    released: Mapping[Key, str]
    observed: str = ""

    async def carry_out(self) -> Ran:
        """Look, leave alone, write. Raises what writers raise; commits that were pushed before stay."""
        log = await self._log()
        undone = await self._undone(log)
        batches = await self._batches(undone)
        own = self.writer.branch
        head = "" if any(branch == own for branch, _ in batches) else await self.writer.head()
        pushed: list[Pushed] = []
        proposals: list[Proposal] = []
        last: Bumped | None = None
        for branch, images in batches:
            bump = self._bumping(images, undone)
            outcome = await self.writer.write(bump, self._order(bump, branch))
            last = bump.last
            message = last.message if last is not None else None
            match outcome:
                case Written(commit):
                    head = commit if branch == own else head
                    pushed += [Pushed(outcome, message)] if message is not None else []
                case Nothing(at) | Already(_, at) if branch == own:
                    head = at
            if branch != own and message is not None:
                proposals.append(Proposal(branch, message))
        if len(batches) != 1 or batches[0][1].keys() != self.images.keys():
            last = await self._looked(self._bumping(self.images, undone))
        before = bumping.by(self.key, log) if self.automation.push_branch in ("", own) else None
        newest = log[0].commit if log else ""
        return Ran(head, tuple(pushed), tuple(proposals), undone, last, before, newest, self._remembered(log))

    async def _log(self) -> list[Logged]:
        """The last commits, the last one first, and as far back as the last run where there are more since."""
        log = (await self._logs([""]))[""]
        known = {one.commit for one in log}
        if not self.observed or self.observed in known or len(log) < LOOKBACK:
            return log
        return [*log, *(one for one in await self.writer.further(_FURTHEST) if one.commit not in known)]

    async def _logs(self, paths: Collection[str]) -> dict[str, list[Logged]]:
        """The last commits of where it is written to, and of where that comes from, the last one first, by path."""
        target = self.automation.push_branch
        logs: Mapping[str, list[Logged]] = {}
        if target and target != self.writer.branch and not target.startswith(OWN):
            with contextlib.suppress(Transient):  # not made yet; if it is anything else, the next request says so
                logs = await self.writer.touching(paths, LOOKBACK, target)
        found: dict[str, list[Logged]] = {}
        for path, behind in (await self.writer.touching(paths, LOOKBACK)).items():
            log = logs.get(path, [])
            known = {one.commit for one in log}
            found[path] = [*log, *(one for one in behind if one.commit not in known)]
        return found

    async def _undone(self, log: list[Logged]) -> dict[Place, str]:
        """Where an image that we wrote is not there any more, and by whom that was."""
        remembered = self._remembered(log)
        again = {place.policy: self.images[place.policy] for place in remembered}
        back: dict[Key, str] = {}
        for after, images in self._by_release().items():
            counts = log if after is None else bumping.since(after, log)
            again |= bumping.repeated(images, counts)
            back |= bumping.rolled_back(images, counts)
        again |= {policy: self.images[policy] for policy in back}
        looked = await self._looked(self._bumping(again, ())) if again else None
        found: dict[Place, str] = {}
        doubtful: dict[Place, Undoing] = {}
        places = looked.places if looked is not None else []
        found |= {place: back[place.policy] for place in places if place.policy in back}
        others = [place for place in places if place not in found]
        logs = await self._logs({place.path for place in others}) if others else {}
        for place in others:
            past = self._counts(place.policy, logs[place.path], log)
            later = bumping.later(place, again[place.policy], past)
            if words := bumping.contested(place, again[place.policy], past):
                found[place] = words
            elif place in remembered:
                found[place] = later.who if later is not None else ""
            elif later is not None:
                doubtful[place] = later
        if doubtful:
            bump = self._bumping(again, ())
            bump.before = {place: one.commit for place, one in doubtful.items()}
            await self._looked(bump)
            found |= {place: doubtful[place].who for place in bump.undone}
        return found

    def _by_release(self) -> dict[str | None, dict[Key, Image]]:
        """The images, by the commit up to which what was undone does not count. Where it never does, there is none."""
        found: dict[str | None, dict[Key, Image]] = {}
        for policy, image in self.images.items():
            if (after := self.released.get(policy)) != "":
                found.setdefault(after, {})[policy] = image
        return found

    def _remembered(self, log: list[Logged]) -> dict[Place, str]:
        """What was undone before, as far as nobody let it go since then."""
        commits = [one.commit for one in log]
        found: dict[Place, str] = {}
        for place, at in self.spared.items():
            after = self.released.get(place.policy)
            if place.policy not in self.images or after == "" or (after is not None and at.startswith(after)):
                continue
            newer = after is None or at in {one.commit for one in bumping.since(after, log)}
            if newer or not any(commit.startswith(after or "") for commit in commits):
                found[place] = at
        return found

    def _counts(self, policy: Key, past: list[Logged], log: list[Logged]) -> list[Logged]:
        """What of the `past` of a file counts for a policy: all, or what came after its owner let the image go."""
        after = self.released.get(policy)
        if after is None:
            return past
        newer = bumping.since(after, log)
        if len(newer) == len(log):  # it is further back than that
            return bumping.since(after, past)
        commits = {one.commit for one in newer}
        return [one for one in past if one.commit in commits]

    async def _batches(self, undone: Mapping[Place, str]) -> list[tuple[str, Mapping[Key, Image]]]:
        """What is written together, and on which branch: all, or one policy after the other."""
        target = self.automation.push_branch or self.writer.branch
        if not self.automation.each_policy:
            return [(target, self.images)]
        looked = await self._looked(self._bumping(self.images, undone))
        asked = list(dict.fromkeys(place.policy for place in looked.places)) if looked is not None else []
        apart = target != self.writer.branch  # a pull request for each, so a branch for each
        return [(f"{target}-{policy.name}" if apart else target, {policy: self.images[policy]}) for policy in asked]

    async def _looked(self, bump: Bumping) -> Bumped | None:
        """What would change, with nothing written."""
        await self.writer.write(bump, self._order(bump, self.writer.branch, dry=True))
        return bump.last

    def _bumping(self, images: Mapping[Key, Image], spared: Iterable[Place]) -> Bumping:
        return Bumping(self.key, self.automation, self.within, images, tuple(spared))

    def _order(self, bump: Bumping, branch: str, *, dry: bool = False) -> Order:
        automation = self.automation
        push = Push(branch if branch != self.writer.branch else "", automation.options, automation.refspec)
        return Order(
            message=Message(DEFAULT),
            author=Person(*automation.author),
            reads=bump.reads,
            signer=self.signer,
            within=self.within,
            push=push,
            past=tuple(dict.fromkeys(bump.before.values())),
            dry=dry,
        )
