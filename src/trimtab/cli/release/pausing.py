"""What `trimtab hold`, `unhold`, `lock` and `unlock` do: annotations on objects in git, as one commit."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import click

from trimtab.api.names import Annotation
from trimtab.base.errors import Terminal
from trimtab.cli import output
from trimtab.cli.connect import Code
from trimtab.cli.git.committing import Pen, requester, tell
from trimtab.cli.git.ground import Ground
from trimtab.commits import REQUESTED_BY, Changes, Message, Snapshot, Written
from trimtab.images.named import Named
from trimtab.images.objects import POLICY, Subject, annotated, find
from trimtab.images.pauses import LetGo, unlocking, words_of
from trimtab.images.reaching import Files
from trimtab.images.reference import Image

if TYPE_CHECKING:
    from trimtab.kube.client import Client


Held: TypeAlias = Mapping[str, LetGo]
"""Images that somebody undid, and the newest commit of then, by the namespace and name of their policy."""


@dataclass(frozen=True, slots=True)
class Pausing:
    """One of the four: what it is called, what is told of an object afterwards, and the annotations it is to have.

    `wanted` is given the object, the name of who commits, and the images that somebody undid; None stands for an
    annotation that is to go. `lets_go`: what was undone has to be known for it.
    """

    verb: str
    past: str
    same: str
    names: tuple[Named, ...]
    wanted: Callable[[Subject, str, Held], Mapping[str, str | None]]
    reason: str = ""
    user: str = ""
    lets_go: bool = False

    async def done(self, ground: Ground, pen: Pen, *, quiet: bool) -> Code:
        """Commit it, and return the exit code."""
        told: list[Subject] = []
        held = await _held(ground.client) if ground.client is not None and self.lets_go else {}
        who = self.user or ground.desk.author.name

        def edit(snapshot: Snapshot) -> Changes:
            told.clear()
            contents = dict(snapshot.contents)
            for named in self.names:
                files = Files(contents)
                subject = find(files, named, ground.within)
                made = annotated(files, subject, self.wanted(subject, who, held))
                if made.before:
                    told.append(subject)
                    contents[subject.path] = made.data
            changed = {path: data for path, data in contents.items() if data != snapshot.contents[path]}
            return Changes(contents=changed, message=self.message(told, pen.message or ""))

        outcome = await ground.write(edit, Message(self.verb), dry=pen.dry_run)
        for subject in told if isinstance(outcome, Written) else ():
            output.say("►", f"{subject} {self.past} ({subject.path}:{subject.line})", quiet=quiet)
        return tell(outcome, quiet=quiet, same=f"{', '.join(map(str, self.names))}: {self.same}")

    def message(self, subjects: Iterable[Subject], words: str) -> Message:
        """What the commit says of `subjects`."""
        names = list(dict.fromkeys(map(str, subjects)))
        whom = ", ".join(names) if len(names) <= 3 else f"{len(names)} objects"
        text = f"{self.verb} {whom}" + (f"\n\n{words.strip()}" if words.strip() else "")
        trailers = [(f"Trimtab-{self.verb}", name) for name in names]
        return Message(text, (*trailers, (REQUESTED_BY, requester(self.user))))


def holding(names: Iterable[str], reason: str, user: str) -> Pausing:
    """`trimtab hold`. Raises UsageError, as the others do, before anybody is asked anything."""
    same = "held already, for that reason"
    return _with_reason("Hold", "is held", same, names, Annotation.HOLD, reason, user)


def locking(names: Iterable[str], reason: str, user: str) -> Pausing:
    """`trimtab lock`."""
    same = "locked already, for that reason"
    return _with_reason("Lock", "is locked", same, names, Annotation.LOCK, reason, user)


def unholding(names: Iterable[str], image: str) -> Pausing:
    """`trimtab unhold`; `image` is one that was undone, and may be written again."""
    try:
        again = Image.parse(image) if image else None
    except ValueError as problem:
        raise click.UsageError(f"--image: {problem}") from None

    def wanted(subject: Subject, _: str, held: Held) -> Mapping[str, str | None]:
        if subject.named.kind == POLICY:
            undone = _undone(subject, held)
            if again is not None and (undone is None or undone.image not in (str(again), f"{again.name}:{again.tag}")):
                undone = LetGo(str(again))
            return {Annotation.HOLD: None, **({Annotation.UNHOLD: str(undone)} if undone is not None else {})}
        if again is not None:
            raise Terminal("UpdateFailed", f"--image is of an {POLICY}, whose choice it is, and {subject} is none")
        return {Annotation.HOLD: None}

    same = "it is not held; an image that was undone is named by --image"
    return Pausing("Unhold", "is held no more", same, _named(names), wanted, lets_go=True)


def unlocked(names: Iterable[str]) -> Pausing:
    """`trimtab unlock`."""
    gone: Mapping[str, str | None] = dict.fromkeys(unlocking())
    return Pausing("Unlock", "is locked no more", "it is not locked", _named(names), lambda *_: gone)


def _with_reason(
    verb: str, past: str, same: str, names: Iterable[str], annotation: str, reason: str, user: str
) -> Pausing:
    try:
        words_of(reason, user)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None

    def wanted(_: Subject, who: str, __: Held) -> Mapping[str, str | None]:
        return {annotation: words_of(reason, who)}

    return Pausing(verb, past, same, _named(names), wanted, reason, user)


def _named(names: Iterable[str]) -> tuple[Named, ...]:
    try:
        return tuple(Named.parse(name) for name in names)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None


async def _held(client: "Client") -> Held:
    """What automations leave alone because somebody undid it, as far as it may be seen."""
    from trimtab.api.gvk import IMAGE_UPDATE_AUTOMATION
    from trimtab.api.imageupdate import ImageUpdateAutomation
    from trimtab.kube.errors import Forbidden, UnknownKind

    try:
        resource = await client.discovery.find(IMAGE_UPDATE_AUTOMATION)
        found = (await client.list(resource, "", type=ImageUpdateAutomation)).items
    except (Forbidden, UnknownKind):
        return {}
    return {one.policy: LetGo(one.image, one.commit) for item in found for one in item.status.held}


def _undone(subject: Subject, held: Held) -> LetGo | None:
    """The image of this policy that was undone. A policy that names no namespace in git is told by its name alone."""
    namespace, name = subject.named.namespace, subject.named.name
    keys = [f"{namespace}/{name}"] if namespace else [key for key in held if key.endswith(f"/{name}")]
    return held.get(keys[0]) if len(keys) == 1 else None
