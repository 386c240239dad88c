"""What a release changes: of each workload in question which image becomes which, or why none does. Pure.

As in Flux v1, the new tag goes onto the name of the image as it is written: `nginx` stays `nginx`. What is planned is
a list of steps, each with the image that has to be there: if somebody was faster, the step is not made.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from trimtab.base.errors import Terminal
from trimtab.images.editing import Change, Kind, Wish, edit
from trimtab.images.named import Named
from trimtab.images.ordering import parse_version
from trimtab.images.pauses import Kind as Paused
from trimtab.images.reaching import Files, Marked
from trimtab.images.reference import Image, name_of
from trimtab.images.running import canonical
from trimtab.images.workloads import Container, Slot, Workload, WorkloadKey, workloads
from trimtab.manifests.refs import Key


class Choice(NamedTuple):
    """A tag to run, the digest that it stands for where that is known, why it is this one, and by which ImagePolicy."""

    tag: str
    digest: str = ""
    why: str = ""
    policy: Key | None = None
    others: tuple[str, ...] = ()
    """The next best tags."""


class Refusal(NamedTuple):
    """Why there is no tag to run. `mild`: nobody asked for one either, unless this container was meant. `unasked`: a
    registry could not be asked, so that nothing is known.
    """

    why: str
    mild: bool = False
    unasked: bool = False


Chosen: TypeAlias = Choice | Refusal


class Pick(NamedTuple):
    """An image that is released: by name, as everybody writes it. Without a tag its policy chooses."""

    name: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> "Pick":
        """Read `NAME[:TAG[@DIGEST]]`. Raises ValueError."""
        name = name_of(text)
        if name == text:
            Image.of(name, "x")
            return cls(name)
        image = Image.parse(text)
        return cls(image.name, image.tag, image.digest)


class Asked(NamedTuple):
    """What is to be released. No workloads: all. No images: all that are used. `force` goes over holds.

    `containers` are names of containers by workload, where only those are meant.
    """

    workloads: tuple[Named, ...] = ()
    containers: Mapping[Named, str] = {}
    images: tuple[Pick, ...] = ()
    excludes: tuple[Named, ...] = ()
    force: bool = False


class Status(StrEnum):
    """What becomes of a workload."""

    RELEASE = "release"
    SKIPPED = "skipped"
    IGNORED = "ignored"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Step(NamedTuple):
    """One container whose image changes from `current`, which has to be there, to `image`."""

    workload: str
    container: str
    slot: Slot
    line: int
    current: str
    image: Image
    key: WorkloadKey
    why: str = ""
    mark: Marked | None = None
    policy: Key | None = None
    others: tuple[str, ...] = ()

    @property
    def jump(self) -> str:
        """How far it is from one version to the other; nothing where one of them is none."""
        old, new = parse_version(self.version.partition("@")[0]), parse_version(self.image.tag)
        if old is None or new is None:
            return ""
        parts = (("major", old.major, new.major), ("minor", old.minor, new.minor), ("patch", old.patch, new.patch))
        size = next((word for word, before, after in parts if before != after), "")
        back = new.precedence < old.precedence
        return " ".join(word for word in (size, "back" if back else "") if word)

    @property
    def version(self) -> str:
        """What is left behind."""
        return self.current[len(name_of(self.current)) :].removeprefix(":").removeprefix("@")

    @property
    def new(self) -> str:
        """The image as it comes out."""
        return f"{name_of(self.current)}:{self.image.version}"


class Result(NamedTuple):
    """What becomes of one workload, and why."""

    workload: str
    status: Status
    reason: str
    steps: tuple[Step, ...] = ()
    place: str = ""
    paused: bool = False
    unasked: bool = False


def questions(found: Iterable[Workload], asked: Asked) -> list[tuple[Workload, Container]]:
    """The containers for which it has to be known which tag is to run, because the release may change them."""
    return [
        (workload, container)
        for workload in found
        if _in_question(workload, asked) and not _blocked(workload, asked)
        for container in _containers(workload, asked)
    ]


def plan(found: Sequence[Workload], asked: Asked, choose: Callable[[Workload, Container], Chosen]) -> list[Result]:
    """What becomes of every workload: those that were named first, then the others in their order."""
    results: list[Result] = []
    for named in asked.workloads:
        tops = {one.top: one for one in found if one.fits(named)}
        if not tops:
            results.append(Result(str(named), Status.UNKNOWN, "it is not in the repository"))
        elif len({str(one) for one in tops.values()}) > 1:
            several = ", ".join(sorted({str(one) for one in tops.values()}))
            results.append(Result(str(named), Status.FAILED, f"it can be {several}: name one of them"))
        elif len(tops) > 1:
            several = ", ".join(sorted(top or "." for top in tops))
            reason = f"it is part of several apps ({several}): say by --path which is meant"
            results.append(Result(str(named), Status.FAILED, reason))
    doubtful = [result.workload for result in results if result.status is Status.FAILED]
    for workload in found:
        if any(workload.fits(named) and str(named) in doubtful for named in asked.workloads):
            continue
        if not _in_question(workload, asked):
            if not asked.workloads:
                results.append(Result(str(workload), Status.IGNORED, "it is excluded", place=_place(workload)))
            continue
        results.append(_result(workload, asked, choose))
    return results


def steps_of(results: Iterable[Result]) -> list[Step]:
    """All steps, in their order. Raises Terminal if two of them want one place to read two things."""
    found: dict[Slot, Step] = {}
    for result in results:
        for step in result.steps if result.status is Status.RELEASE else ():
            other = found.setdefault(step.slot, step)
            if other.image.version != step.image.version:
                raise Terminal(
                    "UpdateFailed",
                    f"{other.workload} and {step.workload} get their image from one place, "
                    f"{step.slot.path}:{step.line}, and would get {other.image.version} and {step.image.version}: "
                    "name one tag with --image",
                )
    return list(found.values())


class Carried(NamedTuple):
    """What the steps make of the files: their new contents, and every value that changed."""

    contents: Mapping[str, bytes]
    changes: tuple[tuple[str, Change], ...]


def carry_out(
    contents: Mapping[str, bytes], steps: Iterable[Step], *, within: str = "", force: bool = False
) -> Carried:
    """Make the steps, all or none. Raises Terminal: for what is there by now, or for what cannot be written."""
    steps = list(steps)
    now = {
        (container.slot, container.name): (container.image, workload)
        for workload in workloads(Files(contents), within)
        for container in workload.containers
    }
    by_path: dict[str, dict[Wish, Image]] = {}
    for step in steps:
        found = now.get((step.slot, step.container))
        if found is None:
            raise _faster(step, "it is not there any more")
        current, workload = found
        if (pause := workload.pause) is not None and not (force and pause.kind is Paused.HOLD):
            raise Terminal("UpdateFailed", f"{workload} is {pause}; nothing is released")
        if current == step.new:
            continue  # somebody released just that
        if current != step.current:
            raise _faster(step, f"it runs {current} by now")
        by_path.setdefault(step.slot.path, {})[step.slot.where] = step.image
    changed: dict[str, bytes] = {}
    changes: list[tuple[str, Change]] = []
    for path, wishes in sorted(by_path.items()):
        edited = edit(contents[path], wishes, (Paused.HOLD,) if force else ())
        for note in edited.notes:
            if note.kind in (Kind.REFUSED, Kind.SKIPPED, Kind.PAUSED):
                raise Terminal("UpdateFailed", f"{path}:{note.line}: {note.text}; nothing is released")
        for wish in wishes:
            if wish not in edited.served:
                raise Terminal("UpdateFailed", f"{path}: {wish} is not found there; nothing is released")
        if edited.changes:
            changed[path] = edited.data
            changes += [(path, change) for change in edited.changes]
    return Carried(changed, tuple(changes))


def _faster(step: Step, words: str) -> Terminal:
    return Terminal(
        "UpdateFailed",
        f"{step.workload}:{step.container} was to go from {step.current} to {step.new}, and {words}: somebody was "
        "faster. Nothing is released; look, and release again",
    )


def _in_question(workload: Workload, asked: Asked) -> bool:
    if any(workload.fits(named) for named in asked.excludes):
        return False
    return not asked.workloads or any(workload.fits(named) for named in asked.workloads)


def _blocked(workload: Workload, asked: Asked) -> str:
    """Why nothing of the workload may change; nothing if it may."""
    pause = workload.pause
    if pause is None or (pause.kind is Paused.HOLD and asked.force):
        return ""
    way = {
        Paused.HOLD: "--force releases it all the same, `trimtab unhold` for good",
        Paused.LOCK: "`trimtab unlock` ends that",
        Paused.IGNORE: f"remove {pause.annotation}",
    }[pause.kind]
    return f"{pause}; {way}"


def _containers(workload: Workload, asked: Asked) -> Iterator[Container]:
    """Those that were meant: by their name, and by their image."""
    only = {name for named, name in asked.containers.items() if workload.fits(named)}
    wanted = {canonical(pick.name) for pick in asked.images}
    for container in workload.containers:
        if (not only or container.name in only) and (not wanted or canonical(name_of(container.image)) in wanted):
            yield container


def _result(workload: Workload, asked: Asked, choose: Callable[[Workload, Container], Chosen]) -> Result:
    name, place = str(workload), _place(workload)
    only = {container for named, container in asked.containers.items() if workload.fits(named)}
    if missing := only - {container.name for container in workload.containers}:
        there = ", ".join(container.name for container in workload.containers)
        reason = f"it has no container {', '.join(sorted(missing))}; it has {there}"
        return Result(name, Status.FAILED, reason, place=place)
    containers = list(_containers(workload, asked))
    if not containers:
        return Result(name, Status.IGNORED, "it does not use the image", place=place)
    if why := _blocked(workload, asked):
        return Result(name, Status.SKIPPED, why, place=place, paused=True)
    steps: list[Step] = []
    undecided: list[str] = []
    same = 0
    for container in containers:
        made = _step(workload, container, asked, choose)
        if isinstance(made, Step):
            steps.append(made)
        elif made is None:
            same += 1
        elif made.mild and not asked.images and not only:
            undecided.append(f"{container.name}: {made.why}")
        else:
            reason = f"{container.name}: {made.why}"
            return Result(name, Status.FAILED, reason, place=place, unasked=made.unasked)
    words = "; ".join(undecided)
    if steps:
        return Result(name, Status.RELEASE, words, tuple(steps), place)
    if same:
        return Result(name, Status.SKIPPED, "; ".join(["it is up to date", *undecided]), place=place)
    return Result(name, Status.FAILED if asked.workloads else Status.IGNORED, words, place=place)


def _step(
    workload: Workload, container: Container, asked: Asked, choose: Callable[[Workload, Container], Chosen]
) -> Step | Refusal | None:
    """The step that `container` takes; nothing if it is where it should be."""
    full = canonical(name_of(container.image))
    pick = next((pick for pick in asked.images if canonical(pick.name) == full and pick.tag), None)
    chosen = choose(workload, container)
    if pick is not None:
        known = chosen.digest if isinstance(chosen, Choice) and chosen.tag == pick.tag else ""
        chosen = Choice(pick.tag, pick.digest or known)
    if isinstance(chosen, Refusal):
        return chosen
    return stepped(workload, container, chosen, pin=pick is not None and bool(pick.digest))


def stepped(workload: Workload, container: Container, chosen: Choice, *, pin: bool = False) -> Step | Refusal | None:
    """The step to `chosen`; nothing if that is there. `pin` it to its digest also where no digest is written."""
    if "$" in container.image:
        return Refusal(f"it is made of a variable, {container.image}: change what that stands for")
    pinned = container.is_pinned
    if pinned and not chosen.digest:
        if container.version.partition("@")[0] == chosen.tag:
            return None
        return Refusal(
            f"it is pinned to a digest, and that of {chosen.tag} is not known: give --image {name_of(container.image)}:"
            f"{chosen.tag}@sha256:..."
        )
    try:
        image = Image.of(container.slot.name, chosen.tag, chosen.digest if pinned or pin else "")
    except ValueError as problem:
        return Refusal(str(problem))
    if container.version == image.version:
        return None
    return Step(
        str(workload),
        container.name,
        container.slot,
        container.line,
        container.image,
        image,
        workload.key(container),
        chosen.why,
        container.mark,
        chosen.policy,
        chosen.others,
    )


def sharers(found: Iterable[Workload], steps: Iterable[Step]) -> list[str]:
    """The workloads that change as well, because they get an image from a place that is set."""
    slots = {step.slot for step in steps}
    own = {step.workload for step in steps}
    others = {
        str(workload)
        for workload in found
        if str(workload) not in own and any(container.slot in slots for container in workload.containers)
    }
    return sorted(others)


def _place(workload: Workload) -> str:
    return f"{workload.path}:{workload.line}"
