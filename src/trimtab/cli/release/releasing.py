"""What `trimtab release` does: look, ask, plan, show, and commit the steps that are left."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from trimtab.cli import output
from trimtab.cli.connect import Code, Failure
from trimtab.cli.git.committing import Pen, requester, tell
from trimtab.cli.release.candidates import Candidates
from trimtab.commits import HELD, REQUESTED_BY, Changes, Message, Planned, Snapshot, Written
from trimtab.controllers.bumping import POLICY
from trimtab.images.deciding import Policies
from trimtab.images.named import Named
from trimtab.images.reaching import Files
from trimtab.images.reference import name_of
from trimtab.images.releasing import (
    Asked,
    Choice,
    Pick,
    Refusal,
    Result,
    Status,
    Step,
    carry_out,
    plan,
    questions,
    sharers,
    stepped,
    steps_of,
)
from trimtab.images.workloads import Workload, workloads

if TYPE_CHECKING:
    from trimtab.api.image import ImagePolicy, ImageRepository
    from trimtab.cli.git.ground import Ground
    from trimtab.kube.client import Client
    from trimtab.manifests.refs import Key

RELEASE: Final = "Trimtab-Release"
"""The trailer that says which container changed, one line each."""
_COLUMNS: Final = ("WORKLOAD", "CONTAINER", "IMAGE", "STATUS", "UPDATES")
_MOST_TOLD: Final = 50


class Manner(NamedTuple):
    """How it is done, and how it is told."""

    check: bool = True
    interactive: bool = False
    ignored: bool = False
    form: str = "text"
    quiet: bool = False
    user: str = ""


def asked_of(names: Iterable[str], images: Iterable[str], excludes: Iterable[str], *, force: bool) -> Asked:
    """What the command line asks for. Raises Failure."""
    found: dict[Named, str] = {}
    try:
        for text in names:
            name, _, container = text.partition(":")
            found[Named.parse(name)] = container
        picks = tuple(Pick.parse(text) for text in images)
        without = tuple(Named.parse(text) for text in excludes)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None
    return Asked(tuple(found), {named: name for named, name in found.items() if name}, picks, without, force)


async def released(ground: "Ground", asked: Asked, manner: Manner, pen: Pen) -> Code:
    """Release, and return the exit code. Raises Failure, Transient and Terminal."""
    snapshot = await ground.look()
    files = Files(snapshot.contents)
    found, policies = _bounded(files, ground.within)
    if ground.client is not None:
        policies = policies.over(*await _in_cluster(ground.client))
    async with Candidates(policies, ground.client, force=asked.force) as candidates:
        answers = await candidates.choices(questions(found, asked), asked, check=manner.check)
        results = plan(found, asked, lambda workload, container: answers[workload.key(container)])
        if manner.form == "text":
            _show(results, ignored=manner.ignored, quiet=manner.quiet)
        _refuse(results, asked)
        steps = steps_of(results)
        if vain := {name_of(step.current) for step in steps} & ground.overridden:
            raise Failure(
                Code.WRONG,
                f"the tag of {', '.join(sorted(vain))} is set by spec.images of the Kustomization, over all files: "
                "change it there (`trimtab images edit PATH --kustomize NAME=IMAGE:TAG`). Nothing is released",
            )
        if manner.interactive:
            steps = await _chosen(steps, found, candidates)
    for name in sharers(workloads(files), steps):
        output.say("◎", f"{name} gets its image from the same place, and changes too")
    if not steps:
        output.say("✔", "there is nothing to release", quiet=manner.quiet)
        if manner.form == "json":
            click.echo(output.document(_json(results, None), "json"))
        return _code(results)

    def edit(now: Snapshot) -> Changes:
        return Changes(contents=carry_out(now.contents, steps, within=ground.within, force=asked.force).contents)

    message = message_of(steps, pen.message or "", requester(manner.user))
    outcome = await ground.write(edit, message, dry=pen.dry_run)
    if manner.form == "json":
        commit = outcome.commit if isinstance(outcome, Written) else None
        click.echo(output.document(_json(results, commit), "json"))
        code = Code.DIFFERS if isinstance(outcome, Planned) else Code.OK
    else:
        code = tell(outcome, quiet=manner.quiet, same="somebody released just that")
    return code or _code(results)


def message_of(steps: Sequence[Step], text: str, who: str) -> Message:
    """What the commit says: which images for whom, in words of the person if there are any, and as trailers."""
    images = list(dict.fromkeys(step.new for step in steps))
    names = list(dict.fromkeys(step.workload for step in steps))
    what = images[0] if len(images) == 1 else f"{len(images)} images"
    whom = ", ".join(names) if len(names) <= 3 else f"{len(names)} workloads"
    lines = [
        f"- {step.workload}:{step.container} {step.current} -> {step.image.version}" for step in steps[:_MOST_TOLD]
    ]
    if len(steps) > _MOST_TOLD:
        lines.append(f"- and {len(steps) - _MOST_TOLD} more")
    told = [
        (RELEASE, f"{step.workload}:{step.container} {step.new} (was {step.version or 'without a tag'})")
        for step in steps[:_MOST_TOLD]
    ]
    # what its policy chose is as if the automation had written it: undone, it is held. What somebody left for another
    # tag is not to come back by the policy of its marker.
    held = [
        (POLICY, f"{step.mark.policy} {step.new} (was {step.current})")
        if step.policy == step.mark.policy
        else (HELD, f"{step.mark.policy} {step.mark.value or step.current}")
        for step in steps
        if step.mark is not None
    ]
    body = "\n".join(lines)
    words = text or (f"Release {what} to {whom}\n\n{body}" if len(steps) > 1 else f"Release {what} to {whom}")
    return Message(words, (*told, *dict.fromkeys(held), (REQUESTED_BY, who)))


def _bounded(files: Files, within: str) -> tuple[list[Workload], Policies]:
    try:
        return workloads(files, within), Policies.among(files)
    except ValueError as problem:
        raise Failure(Code.WRONG, str(problem)) from None


def _refuse(results: Iterable[Result], asked: Asked) -> None:
    """Raises Failure if a workload that was named cannot be released: then nothing is."""
    if not asked.workloads:
        return
    wrong = [one for one in results if one.status in (Status.FAILED, Status.UNKNOWN)]
    wrong += [one for one in results if one.status is Status.SKIPPED and one.paused]
    wrong += [one for one in results if one.status is Status.IGNORED]
    if wrong:
        words = "\n".join(f"{one.workload}: {one.reason}" for one in wrong)
        code = Code.UNKNOWN if any(one.unasked for one in wrong) else Code.WRONG
        raise Failure(code, f"{words}\nnothing is released")


def _code(results: Iterable[Result]) -> Code:
    """Of a release of all: whether something could not be judged."""
    wrong = [one for one in results if one.status in (Status.FAILED, Status.UNKNOWN)]
    if any(one.unasked for one in wrong):
        return Code.UNKNOWN
    return Code.WRONG if wrong else Code.OK


def _show(results: Iterable[Result], *, ignored: bool, quiet: bool) -> None:
    rows: list[tuple[str, str, str, str, str]] = []
    for one in results:
        if one.status is Status.IGNORED and not ignored:
            continue
        for step in one.steps:
            why = f" ({step.why})" if step.why else ""
            jump = f", {step.jump}" if step.jump else ""
            rows.append((one.workload, step.container, step.current, one.status, f"→ {step.image.version}{jump}{why}"))
        if not one.steps or one.reason:
            rows.append((one.workload, "", "", one.status if not one.steps else "", one.reason))
    if rows and not quiet:
        click.echo(output.table(_COLUMNS, rows), err=True)


async def _chosen(steps: Sequence[Step], found: Any, candidates: Candidates) -> list[Step]:
    """The steps that a person agrees with, each perhaps to another tag."""
    places = {workload.key(container): (workload, container) for workload in found for container in workload.containers}
    kept: list[Step] = []
    for step in steps:
        while True:
            shown = output.escape(f"{step.workload}:{step.container}  {step.current} → {step.image.version}")
            others = f", such as {', '.join(step.others)}" if step.others else ""
            words = f"{shown}\n  [y]es, [n]o, [q]uit, or another tag{output.escape(others)}"
            said = click.prompt(words, default="y", err=True).strip()
            if said.lower() in ("q", "quit"):
                raise click.Abort
            if said.lower() in ("n", "no"):
                break
            if said.lower() not in ("y", "yes"):
                workload, container = places[step.key]
                chosen = await candidates.exists(workload, container, said)
                if not isinstance(chosen, Choice):
                    output.say("✗", chosen.why)
                    continue
                made = stepped(workload, container, chosen)
                if isinstance(made, Refusal):
                    output.say("✗", made.why)
                    continue
                if made is not None:
                    kept.append(made)
                break
            kept.append(step)
            break
    return kept


async def _in_cluster(
    client: "Client",
) -> "tuple[Mapping[Key, ImagePolicy], Mapping[Key, ImageRepository]]":
    """The policies and repositories that the person may see; none where there are no such kinds."""
    from trimtab.api.gvk import IMAGE_POLICY, IMAGE_REPOSITORY
    from trimtab.api.image import ImagePolicy, ImageRepository
    from trimtab.kube.errors import Forbidden, UnknownKind

    async def listed(gvk: Any, kind: Any) -> Any:
        try:
            items = (await client.list(await client.discovery.find(gvk), "", type=kind)).items
        except (Forbidden, UnknownKind):
            return {}
        return {one.metadata.key: one for one in items}

    return await listed(IMAGE_POLICY, ImagePolicy), await listed(IMAGE_REPOSITORY, ImageRepository)


def _json(results: Iterable[Result], commit: str | None) -> dict[str, Any]:
    return {
        "commit": commit,
        "results": [
            {
                "workload": one.workload,
                "place": one.place,
                "status": str(one.status),
                "reason": one.reason,
                "updates": [
                    {
                        "container": step.container,
                        "file": step.slot.path,
                        "line": step.line,
                        "old": step.current,
                        "new": step.new,
                        "jump": step.jump,
                        "why": step.why,
                    }
                    for step in one.steps
                ],
            }
            for one in results
        ],
    }
