"""`trimtab wait`: until a revision is fetched, rendered, applied and healthy; else why it is not."""

import asyncio
import contextlib
import re
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli import output
from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform
from trimtab.cli.kinds import APP, RELEASE, SOURCES, Kind, on_one_line, one, shortened

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from trimtab.cli.questions.past import Past
    from trimtab.cli.questions.stations import Stations, View
    from trimtab.health.blockers import Blocker
    from trimtab.health.stages import Stage
    from trimtab.kube.client import Client

_NAMED = "APP | helmrelease NAME | source git|oci|bucket|helm|chart NAME"
_EXAMPLES = """\b
Examples:
  trimtab wait shop
  trimtab wait shop --revision 67e2c98a --timeout 10m
  trimtab wait shop -n team-a --revision main@sha1:67e2c98a --for applied
  trimtab wait helmrelease podinfo --revision 6.5.4 -o json
  git push && trimtab wait shop --revision $(git rev-parse HEAD)
"""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)
_GOALS = ("ready", "fetched", "rendered", "applied", "healthy")
_SHOWN = 20


class Outcome(StrEnum):
    """How the wait ended."""

    REACHED = "reached"
    WAITING = "waiting"  # the time is over
    STUCK = "stuck"  # it will not come by waiting
    UNKNOWN = "unknown"


_CODES = {
    Outcome.REACHED: Code.OK,
    Outcome.WAITING: Code.DIFFERS,
    Outcome.STUCK: Code.DIFFERS,
    Outcome.UNKNOWN: Code.UNKNOWN,
}


@click.command("wait", epilog=_EXAMPLES)
@click.argument("words", nargs=-1, required=True, metavar=_NAMED)
@click.option(
    "--revision",
    default="",
    metavar="REVISION",
    help="A commit or its beginning, a tag, a version of a chart, or main@sha1:…. (What the source has now.)",
)
@click.option(
    "--for", "goal", type=click.Choice(_GOALS), default="ready", show_default=True, help="How far; ready is healthy."
)
@click.option("-o", "--output", "form", type=click.Choice(output.FORMS), default="text", help="How to print.")
@cluster_options
def wait(options: Options, words: tuple[str, ...], revision: str, goal: str, form: output.Form) -> None:
    """Wait until a revision is live: fetched by the source, rendered, applied, and all its objects healthy.

    A later commit that contains the one asked for counts, where git can be asked. An object that does not exist yet is
    waited for. What is suspended, or refused for good, is not: the command says so and ends.

    Exit codes: 0 it is, 2 it is not (listed: what each lagging object waits for), 3 it cannot be known, 1 an error.
    """
    from trimtab.health.revisions import complaint

    kind, name = named(words)
    if kind not in (APP, RELEASE, *SOURCES):
        raise click.UsageError(f"a {kind.human} has no revision to wait for: name an app, a helmrelease or a source")
    if revision and (wrong := complaint(revision)):
        raise click.BadParameter(wrong, param_hint="--revision")

    async def work(client: "Client") -> int:
        from trimtab.cli.questions.stations import Stations
        from trimtab.health.revisions import Wish
        from trimtab.health.stages import Stage
        from trimtab.manifests.refs import Ref

        stage = Stage.HEALTHY if goal == "ready" else Stage(goal)
        ref = Ref(kind.gvk.group, kind.gvk.kind, options.namespace, name)
        async with _past(client, revision) as git:
            stations = Stations(client, kind, ref, Wish(revision), git, stage)
            outcome, view = await _until(stations, stage, options)
        blockers = await _blockers(client, stations, view) if outcome is not Outcome.REACHED else ()
        if form == "text":
            click.echo("\n".join(told(stations, view, outcome, stage, blockers)))
        else:
            click.echo(output.document(structured(stations, view, outcome, stage, blockers), form))
        return _CODES[outcome]

    perform(options, work)


def _past(client: "Client", revision: str) -> "AbstractAsyncContextManager[Past | None]":
    """What asks git, where there is something to ask."""
    if not revision:
        return contextlib.nullcontext()
    from trimtab.cli.questions.past import past

    return past(client)


def named(words: Sequence[str]) -> tuple[Kind, str]:
    """What `words` name. Raises UsageError, also for what cannot be a name: it becomes part of a selector."""
    try:
        kind, name = one(words)
    except Failure as failure:
        raise click.UsageError(failure.message) from failure
    if not _NAME.fullmatch(name):
        raise click.UsageError(
            f"{name[:80]!a} is not the name of an object: it has lower case letters, digits, `-` and `.` only"
        )
    return kind, name


async def _until(stations: "Stations", goal: "Stage", options: Options) -> "tuple[Outcome, View]":
    """Follow until it is decided, or the time is over."""
    view, progress = None, Progress(shown=sys.stderr.isatty() and not options.quiet)
    awaited = options.quiet
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(options.timeout_s), contextlib.aclosing(stations.follow()) as views:
            async for view in views:
                progress.tell(view)
                if view.app is None and not awaited:
                    # also where nobody looks on: a name that is misspelt would be waited for in silence
                    output.say("◎", f"{stations.ref} does not exist (yet): `trimtab get all -A` lists what does")
                    awaited = True
                if (outcome := decided(view, goal)) is not None:
                    return outcome, view
    # a watch that has broken off is silent: what cannot be reached any more is not known
    await stations.now()
    if view is None:
        raise Failure(Code.UNKNOWN, f"{stations.ref}: no answer within {options.timeout_s:g} s (--timeout)")
    return overdue(view, goal), view


def decided(view: "View", goal: "Stage") -> Outcome | None:
    """How it ends, if it does now."""
    from trimtab.health.stages import Mark

    if view.app is None:
        return None
    if view.account.reached(goal):
        return Outcome.REACHED
    step = view.account.blocked(goal)
    if step is not None and step.mark is Mark.UNKNOWN:
        return Outcome.UNKNOWN
    return Outcome.STUCK if any(step.stuck for step in view.account.upto(goal)) else None


def overdue(view: "View", goal: "Stage") -> Outcome:
    """How it ends when the time is over. Where the app is at a revision that nobody can place, nothing is known."""
    from trimtab.health.stages import Mark, Stage

    if (outcome := decided(view, goal)) is not None:
        return outcome
    step = view.account.blocked(goal)
    waits = step is not None and step.stage in (Stage.FETCHED, Stage.RENDERED) and step.mark is Mark.WAITING
    return Outcome.UNKNOWN if view.doubts and waits else Outcome.WAITING


class Progress:
    """Tells what happens while it happens: to people, on a terminal."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._said: set[str] = set()

    def tell(self, view: "View") -> None:
        """A line for each stage that is done now, and for what is waited for."""
        from trimtab.health.stages import Mark

        if not self._shown:
            return
        for step in view.account.steps:
            text = f"{step.stage}{f': {on_one_line(step.message)}' if step.message else ''}"
            if text not in self._said and (step.mark is Mark.DONE or step.message):
                self._said.add(text)
                output.say("✔" if step.mark is Mark.DONE else "✗" if step.mark is Mark.FAILED else "◎", text)
            if step.mark is not Mark.DONE:
                break


async def _blockers(client: "Client", stations: "Stations", view: "View") -> "Sequence[Blocker]":
    from trimtab.cli.questions.looking import Looking

    return await Looking(client).blockers(stations.ref) if view.app is not None else ()


_SIGNS = {"done": "✔", "waiting": "◎", "failed": "✗", "unknown": "?"}
_COLOURS = {"done": "green", "waiting": "yellow", "failed": "red", "unknown": "magenta"}


def told(
    stations: "Stations", view: "View", outcome: Outcome, goal: "Stage", blockers: "Sequence[Blocker]"
) -> list[str]:
    """The end in words: the stages, what lags behind, and what to do."""
    from trimtab.health.stages import Stage

    wish, of = stations.wish.asked, f"{stations.kind.human} {stations.ref.namespace}/{stations.ref.name}"
    at = view.account.revision
    what = "waits" if outcome is Outcome.WAITING else "is stuck" if outcome is Outcome.STUCK else "is unknown"
    if outcome is Outcome.REACHED:
        later = f", which contains {shortened(wish)}" if wish and not stations.wish.exactly(at) else ""
        reached = "fetched" if stations.kind in SOURCES else goal.value
        lines = output.hanging(of, f"is {reached} at {shortened(at)}{later}")
    else:
        lines = output.hanging(of, f"{what}: not {goal}{f' at {shortened(wish)}' if wish else ''}")
    lines += stages(view)
    if view.objects is not None:
        for laggard in view.objects.laggards[:_SHOWN]:
            state, message = laggard.verdict
            lines += output.hanging(f"    {laggard.ref}  {state}", message)
        if (more := len(view.objects.laggards) - _SHOWN) > 0:
            lines.append(f"    and {more} more: `trimtab tree {stations.ref.name} -n {stations.ref.namespace}`")
    if outcome is not Outcome.REACHED:
        for revision, contains in stations.wish.contains.items():
            if contains is False and revision == published(view) and not view.account.reached(Stage.FETCHED):
                lines += output.hanging("  ✗", f"{shortened(revision)} does not contain {shortened(wish)}")
        for revision, why in view.doubts.items():
            doubt = f"whether {shortened(revision)} contains {shortened(wish)} is not known: {why}"
            lines += output.hanging("  ?", doubt)
        lines += blocked(blockers)
    return lines


def published(view: "View") -> str:
    """The revision that the source has now."""
    from trimtab.health.shape import section

    body = view.source.body if view.source is not None else None
    return str(section(body or {}, "status", "artifact").get("revision") or "")


def stages(view: "View") -> list[str]:
    """A line for each stage."""
    from trimtab.health.stages import Mark

    lines = []
    sources = view.source is not None and view.source.body is view.app
    for step in view.account.steps[:1] if view.app is None or sources else view.account.steps:
        if step.mark is Mark.WAITING and not step.message:
            break  # what comes after a stage that is not done waits for that one
        seen = view.seen.get(step.stage, "")
        when = step.at or (f"seen {seen}" if seen else "")
        sign = click.style(_SIGNS[step.mark], fg=_COLOURS[step.mark])
        words = "  ".join(filter(None, (when, on_one_line(step.message))))
        lines += output.hanging(f"  {sign} {step.stage:<9}", words)
    return lines


def blocked(blockers: "Sequence[Blocker]") -> list[str]:
    """What is in the way, each below what waits for it, and where to begin."""
    from trimtab.health.blockers import root

    if not blockers:
        return []
    lines = ["  in the way:"]
    for blocker in blockers:
        lines += output.hanging(f"    {'  ' * blocker.depth}{blocker.ref}:", on_one_line(blocker.why))
    first = root(tuple(blockers))
    if first is not None:
        lines += output.hanging(f"  way out: {first.ref}:", first.way_out)
    return lines


def structured(
    stations: "Stations", view: "View", outcome: Outcome, goal: "Stage", blockers: "Sequence[Blocker]"
) -> dict[str, Any]:
    """The end for programs (docs/questions.md)."""
    ref = stations.ref
    return {
        "object": _named(ref),
        "asked": stations.wish.asked,
        "goal": goal.value,
        "outcome": outcome.value,
        "revision": view.account.revision,
        "at": view.revision,
        **document(view, blockers),
        "doubts": [{"revision": revision, "why": why} for revision, why in view.doubts.items()],
    }


def document(view: "View", blockers: "Sequence[Blocker]") -> dict[str, Any]:
    """What is known at one moment, for programs."""
    objects = view.objects
    return {
        "stages": [
            {
                "stage": step.stage.value,
                "state": step.mark.value,
                "at": step.at,
                "seenAt": view.seen.get(step.stage, ""),
                "message": step.message,
            }
            for step in view.account.steps
        ],
        "objects": None
        if objects is None
        else {
            "total": objects.total,
            "problem": objects.problem,
            "laggards": [
                {**_named(one.ref), "state": one.verdict.state.value, "message": one.verdict.message}
                for one in objects.laggards
            ],
        },
        "blockers": [
            {"object": _named(one.ref), "why": one.why, "wayOut": one.way_out, "depth": one.depth} for one in blockers
        ],
    }


def _named(ref: Any) -> dict[str, str]:
    return {"group": ref.group, "kind": ref.kind, "namespace": ref.namespace, "name": ref.name}
