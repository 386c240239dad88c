"""The edit that writes images into a commit, what it says of itself, and what was undone by somebody before. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final, NamedTuple

from trimtab.api import names
from trimtab.base.errors import Terminal, Transient
from trimtab.commits import Changes, Logged, Message, Snapshot, trailers_of
from trimtab.controllers.automation import Automation
from trimtab.images.editing import Change, Kind, Wish, edit
from trimtab.images.reference import Image
from trimtab.images.sweep import Sweep, may_be_edited, sweep
from trimtab.images.templates.errors import TemplateError
from trimtab.manifests.refs import Key

AUTOMATION: Final = "Trimtab-Automation"
POLICY: Final = "Trimtab-Policy"
"""Trailers: which automation made a commit, and for each policy which image it wrote, and in the place of what."""
HELD: Final = "Trimtab-Held"
"""Trailer of rollbacks: a policy, and the value that was undone and is not to be written again."""
_MOST_OLD: Final = 200
_SHOWN: Final = 10
_MOST_TIMES: Final = 3


class Place(NamedTuple):
    """A policy's image in one file."""

    policy: Key
    path: str


class Bumped(NamedTuple):
    """What one edit found."""

    sweep: Sweep
    message: Message | None

    @property
    def places(self) -> list[Place]:
        """Where something changes."""
        return list(dict.fromkeys(Place(policy_of(change), path) for path, change in self.sweep.changes))


@dataclass(slots=True)
class Bumping:
    """An edit to hand to a writer. It may be called several times; `last` is what it found then.

    `before` are commits of the past in which an image was at its place, to be compared with; `undone` are the places
    of those where a value that was there is another one now.
    """

    key: Key
    automation: Automation
    within: str
    images: Mapping[Key, Image]
    spared: Collection[Place] = ()
    before: Mapping[Place, str] = field(default_factory=dict)
    last: Bumped | None = field(default=None, init=False)
    undone: set[Place] = field(default_factory=set, init=False)

    def reads(self, path: str) -> bool:
        """Whether the content of a file is needed."""
        return may_be_edited(path) and (not self.within or path.startswith(f"{self.within}/") or path == self.within)

    def __call__(self, snapshot: Snapshot) -> Changes:
        """What changes in `snapshot`. Raises Transient where there is no such directory, and Terminal."""
        paths = snapshot.under(self.within)
        if self.within and not paths:
            raise Transient(
                names.Reason.UPDATE_FAILED,
                f"there is no directory {self.within} in commit {snapshot.commit[:12]}: see spec.update.path",
                hopeless=True,
            )
        files = ((path, snapshot.contents[path]) for path in paths if path in snapshot.contents)
        spared: dict[str, set[Wish]] = {}
        for place in self.spared:
            spared.setdefault(place.path, set()).add(place.policy)
        wishes = dict[Wish, Image](self.images.items())
        found = sweep(files, wishes, spared)
        self.undone = {place for place in self.before if self._is_undone(place, found.changes, snapshot)}
        message = self._message(found.changes) if found.changes else None
        self.last = Bumped(found, message)
        return Changes(contents=found.changed, message=message)

    def _is_undone(self, place: Place, changes: list[tuple[str, Change]], snapshot: Snapshot) -> bool:
        """Whether one of the values that would change had the new one in the commit before: it is no new marker."""
        past = snapshot.past.get(self.before[place])
        content = past.contents.get(place.path) if past is not None else None
        if content is None:
            return False
        had = {
            (one.object, one.path): one.value for one in edit(content, {place.policy: self.images[place.policy]}).before
        }
        ours = [change for path, change in changes if Place(policy_of(change), path) == place]
        return any(had.get((change.object, change.path)) == change.new for change in ours)

    def _message(self, changes: list[tuple[str, Change]]) -> Message:
        try:
            text = self.automation.message.written(self.key, changes, self.automation.values)
        except TemplateError as problem:
            words = f"spec.git.commit.messageTemplate, {problem}"
            raise Terminal(names.Reason.UPDATE_FAILED, words) from problem
        olds: dict[Key, dict[str, None]] = {}
        for _, change in changes:
            olds.setdefault(policy_of(change), {})[change.old] = None
        told = [(POLICY, _told(policy, self.images[policy], old)) for policy, old in olds.items()]
        return Message(self.automation.finished(text), (*told, (AUTOMATION, str(self.key))))


def policy_of(change: Change) -> Key:
    """Whose marker asked for a change."""
    namespace, _, rest = change.setter.partition(":")
    return Key(namespace, rest.partition(":")[0])


def _told(policy: Key, image: Image, old: Iterable[str]) -> str:
    return f"{policy} {image} (was {', '.join(one or 'nothing' for one in old)[:_MOST_OLD]})"


def written(message: str) -> dict[Key, str]:
    """The images that a commit of ours says it wrote, by policy."""
    found: dict[Key, str] = {}
    for key, value in trailers_of(message):
        words = value.split(" ")
        if key == POLICY and len(words) > 1 and "/" in words[0]:
            namespace, _, name = words[0].partition("/")
            found[Key(namespace, name)] = words[1]
    return found


def by(key: Key, log: Iterable[Logged]) -> Logged | None:
    """The last commit that the automation `key` made."""
    return next((one for one in log if (AUTOMATION, str(key)) in trailers_of(one.message)), None)


def repeated(images: Mapping[Key, Image], log: Iterable[Logged]) -> dict[Key, Image]:
    """Those of `images` that were written once already: if they are not there, somebody may have undone that."""
    before = {(policy, image) for one in log for policy, image in written(one.message).items()}
    return {policy: image for policy, image in images.items() if (policy, str(image)) in before}


def rolled_back(images: Mapping[Key, Image], log: Iterable[Logged]) -> dict[Key, str]:
    """Those of `images` that a rollback took back, and by which commit that was. `log` has the last commit first."""
    settled: set[Key] = set()
    found: dict[Key, str] = {}
    for one in log:
        settled |= written(one.message).keys()
        for key, value in trailers_of(one.message):
            name, _, said = value.partition(" ")
            policy = Key(*name.partition("/")[::2]) if key == HELD else None
            if policy is None or policy in settled or policy not in images:
                continue
            image = images[policy]
            forms = {str(image), f"{image.name}:{image.tag}", image.version, image.tag, image.digest}
            if said and said in forms:
                found.setdefault(policy, f"by commit {one.commit[:7]} of {one.author}")
    return found


def since(commit: str, log: Iterable[Logged]) -> list[Logged]:
    """What was made after `commit`; all where it is not in `log`, which has the last commit first."""
    return list(takewhile(lambda one: not one.commit.startswith(commit), log))


class Undoing(NamedTuple):
    """Our last word at a place, and who touched the file last after it, and may have undone it."""

    commit: str
    who: str


def later(place: Place, image: Image, log: Iterable[Logged]) -> Undoing | None:
    """Who may have undone it, if `image` was what we wrote last at `place`, by the commits that touched the file.

    `log` has the last commit first. Where we wrote something else after it, it is the policy that went back.
    """
    who = ""
    for one in log:
        said = written(one.message).get(place.policy)
        if said is not None:
            return Undoing(one.commit, who) if said == str(image) and who else None
        who = who or f"by commit {one.commit[:7]} of {one.author}"
    return None


def contested(place: Place, image: Image, log: Iterable[Logged]) -> str:
    """That somebody writes another image there each time, if that is so: two automations would go on for ever."""
    times = sum(written(one.message).get(place.policy) == str(image) for one in log)
    return f"each of the {times} times it was written" if times >= _MOST_TIMES else ""


def paused(bumped: Bumped) -> list[str]:
    """What is kept as it is by what its own object says in git, in words."""
    return [f"{path}:{note.line}: {note.text}" for path, note in bumped.sweep.notes(Kind.PAUSED)][:_SHOWN]


def unmatched(bumped: Bumped, images: Mapping[Key, Image], quiet: Collection[Key]) -> str:
    """Markers and policies that have nothing to do with each other, in words; nothing if all is well.

    `quiet` are the policies that are left out on purpose.
    """
    notes = bumped.sweep.notes(Kind.UNKNOWN, Kind.BROKEN, Kind.REFUSED, Kind.SKIPPED)
    known = {*images, *quiet}
    told = [
        f"{path}:{note.line}: {note.text}" if note.line else f"{path}: {note.text}"
        for path, note in notes
        if note.kind is not Kind.UNKNOWN or not any(note.text.endswith(f" {key}") for key in known)
    ]
    told += [f"no marker names the policy {wish}" for wish in bumped.sweep.unused]
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return "; ".join(told[:_SHOWN]) + more
