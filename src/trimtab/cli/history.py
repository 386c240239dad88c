"""`trimtab history`: what an app has been through, one line for each state, the newest first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from trimtab.api.names import Reason
from trimtab.cli import output
from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform
from trimtab.cli.kinds import APP, RELEASE, Kind, shortened
from trimtab.cli.wait import named

if TYPE_CHECKING:
    from trimtab.cli.chronicle import Commit, Entry
    from trimtab.cli.past import Unknown
    from trimtab.health.stages import Source
    from trimtab.kube.client import Client
    from trimtab.manifests.refs import Body

_EXAMPLES = """\b
Examples:
  trimtab history shop
  trimtab history shop -n team-a --commits
  trimtab history helmrelease podinfo
  trimtab history shop -o json
"""
_UNKNOWN = "unknown"


@click.command("history", epilog=_EXAMPLES)
@click.argument("words", nargs=-1, required=True, metavar="APP | helmrelease NAME")
@click.option("--commits", "with_commits", is_flag=True, help="Ask git for the commits between, which were skipped.")
@click.option("--objects", is_flag=True, help="Also name objects that were changed.")
@click.option("-o", "--output", "form", type=click.Choice(output.FORMS), default="text", help="How to print.")
@cluster_options
def history(options: Options, words: tuple[str, ...], with_commits: bool, objects: bool, form: output.Form) -> None:
    """List the states an app has been through: revision, when, outcome, what changed, and whose commit it was.

    What the controller has on record is told, at most five states of an app; what nobody recorded is unknown. A commit
    that changed nothing of the app, or was overtaken by the next one, is no state: --commits asks git for those, with
    the credentials of the source, and shows them where they belong.

    Exit codes: 0 told, 3 the cluster cannot be asked, or git (--commits), 1 an error.
    """
    kind, name = named(words)
    if kind not in (APP, RELEASE):
        raise click.UsageError(f"a {kind.human} has no history: name an app, or a helmrelease")

    async def work(client: "Client") -> int:
        from trimtab.cli import chronicle
        from trimtab.cli.looking import Looking
        from trimtab.cli.past import Unknown

        body = await found(client, kind, options.namespace, name)
        source = await Looking(client).source(body)
        rows, problem = chronicle.with_commits(chronicle.entries(body), chronicle.newest(source)), ""
        if with_commits:
            log = await _log(client, source, rows)
            if isinstance(log, Unknown):
                problem = log.why
            else:
                rows = chronicle.with_commits(rows, log)
        if form == "text":
            _print(kind, rows, objects=objects)
        else:
            document = {
                "app": {"kind": kind.gvk.kind, "namespace": options.namespace, "name": name},
                "entries": [chronicle.structured(one) for one in rows],
                "problem": problem or None,
            }
            click.echo(output.document(document, form))
        if problem:
            output.say("✗", f"the commits between are not known: {problem}")
        return Code.UNKNOWN if problem else Code.OK

    perform(options, work)


def _outcome(one: "Entry") -> str:
    return "succeeded" if one.outcome == Reason.RECONCILIATION_SUCCEEDED else one.outcome


async def found(client: "Client", kind: Kind, namespace: str, name: str) -> "Body":
    """The object. Raises Failure where there is none."""
    from trimtab.kube.errors import NotFound

    try:
        body = await client.get(await client.discovery.find(kind.gvk), name, namespace, type=dict)
    except NotFound:
        words = f"there is no {kind.human} {name} in namespace {namespace}: `trimtab get all -A` lists what there is"
        raise Failure(Code.WRONG, words) from None
    return {"apiVersion": kind.gvk.api_version, "kind": kind.gvk.kind, **body}


async def _log(client: "Client", source: "Source", rows: "Sequence[Entry]") -> "Sequence[Commit] | Unknown":
    from trimtab.cli.past import Unknown, past

    if source.body is None:
        return Unknown(f"{source.ref} {source.problem or 'does not exist'}")
    async with past(client) as git:
        return await git.log(source.body, [one.revision for one in rows if one.revision])


def _print(kind: Kind, rows: "Sequence[Entry]", *, objects: bool) -> None:
    if not rows:
        click.echo("nothing is on record yet", err=True)
        return
    releases = kind is RELEASE
    header = ["REVISION", *(["CHART"] if releases else []), "WHEN", "OUTCOME", "CHANGES", "AUTHOR", "SUBJECT"]
    cells = []
    for one in rows:
        revision = f"{shortened(one.revision) or '-'}{' (now)' if one.now else ''}"
        when = one.last_at or (one.committed and f"({one.committed})") or _UNKNOWN
        changed = one.changes or _UNKNOWN
        known = one.recorded or one.outcome == "unchanged"
        cells.append(
            [
                revision,
                *([one.chart] if releases else []),
                when,
                f"{_outcome(one)}{f' ({one.total}×)' if one.total > 1 else ''}",
                changed if one.recorded else "none" if known else "-",
                one.author or _UNKNOWN,
                one.subject or one.message or _UNKNOWN,
            ]
        )
    if releases:
        # whose wish a chart or its values are no record of Helm's tells
        header, cells = header[:-2], [row[:-2] for row in cells]
    if objects:
        header, cells = (
            [*header, "OBJECTS"],
            [[*cell, " ".join(one.objects) or "-"] for cell, one in zip(cells, rows, strict=True)],
        )
    click.echo(output.table(header, cells))
