"""`trimtab history`: what an app has been through, one line for each state, the newest first."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trimtab.api.names import Reason
from trimtab.cli import output
from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform, perform_alone
from trimtab.cli.kinds import APP, RELEASE, Kind, shortened
from trimtab.cli.questions.wait import named

if TYPE_CHECKING:
    from trimtab.cli.questions.chronicle import Commit, Entry
    from trimtab.cli.questions.past import Unknown
    from trimtab.health.stages import Source
    from trimtab.kube.client import Client
    from trimtab.manifests.refs import Body

_EXAMPLES = """\b
Examples:
  trimtab history shop
  trimtab history shop -n team-a --commits
  trimtab history helmrelease podinfo
  trimtab history shop -o json
  trimtab history --ledger /data/ledger shop --since 7d
  trimtab history --ledger /data/ledger --object Deployment/web -o json
  trimtab history --ledger /data/ledger --verify
"""
_UNKNOWN = "unknown"


@click.command("history", epilog=_EXAMPLES)
@click.argument("words", nargs=-1, metavar="APP | helmrelease NAME")
@click.option("--commits", "with_commits", is_flag=True, help="Ask git for the commits between, which were skipped.")
@click.option("--objects", is_flag=True, help="Also name objects that were changed.")
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Read this ledger instead of asking the cluster; then APP may be left out.",
)
@click.option("--object", "about", default="", metavar="KIND/NAME", help="With --ledger: what happened to one object.")
@click.option("--since", default="", help="With --ledger: from then on, such as 7d, 24h or 2026-11-27T01:30:00Z.")
@click.option("--until", default="", help="With --ledger: before then.")
@click.option("--verify", is_flag=True, help="With --ledger: say whether it is what was written.")
@click.option("-o", "--output", "form", type=click.Choice(output.FORMS), default="text", help="How to print.")
@cluster_options
def history(
    options: Options,
    words: tuple[str, ...],
    with_commits: bool,
    objects: bool,
    ledger: Path | None,
    about: str,
    since: str,
    until: str,
    verify: bool,
    form: output.Form,
) -> None:
    """List the states an app has been through: revision, when, outcome, what changed, and whose commit it was.

    What the controller has on record is told, at most five states of an app; what nobody recorded is unknown. A commit
    that changed nothing of the app, or was overtaken by the next one, is no state: --commits asks git for those, with
    the credentials of the source, and shows them where they belong.

    With --ledger nobody is asked: it is the directory that `trimtab run` keeps of all that it intended and did, or a
    copy of it. What is chosen is told oldest first, and -o json has all of it. --verify looks at every line, names the
    file and line where a chain breaks first, and prints the hash that each ends with.

    Exit codes: 0 told, 2 a chain of the ledger is broken (--verify), 3 the cluster cannot be asked, or git (--commits),
    or the ledger cannot be read, 1 an error.
    """
    if ledger is not None and (with_commits or objects):
        raise click.UsageError("--commits and --objects ask the cluster; a ledger tells of objects anyway")
    if ledger is not None:
        perform_alone(partial(_of_ledger, options, words, ledger, (about, since, until), form, verify=verify))
    if verify or about or since or until:
        raise click.UsageError("--object, --since, --until and --verify are about a ledger: name it with --ledger")
    if not words:
        raise click.UsageError("name an app, or `helmrelease` and a name; with --ledger, both may be left out")
    kind, name = _told_of(words)

    async def work(client: "Client") -> int:
        from trimtab.cli.questions import chronicle
        from trimtab.cli.questions.looking import Looking
        from trimtab.cli.questions.past import Unknown

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


def _told_of(words: Sequence[str]) -> tuple[Kind, str]:
    kind, name = named(words)
    if kind not in (APP, RELEASE):
        raise click.UsageError(f"a {kind.human} has no history: name an app, or a helmrelease")
    return kind, name


async def _of_ledger(
    options: Options,
    words: Sequence[str],
    directory: Path,
    filters: tuple[str, str, str],
    form: output.Form,
    *,
    verify: bool,
) -> int:
    from trimtab.cli.questions import ledger

    if verify:
        if words or any(filters):
            raise Failure(Code.WRONG, "--verify is about the whole ledger: leave out what chooses some of it")
        return ledger.check(directory, form, quiet=options.quiet)
    about, since, until = filters
    kind, name = ("", "") if not words else (named(words)[0].gvk.kind, named(words)[1])
    choice = ledger.Choice(
        kind,
        options.namespace if words else options.asked,
        name,
        about,
        ledger.moment(since, "--since") if since else "",
        ledger.moment(until, "--until") if until else "",
    )
    return ledger.tell(directory, choice, form)


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
    from trimtab.cli.questions.past import Unknown, past

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
